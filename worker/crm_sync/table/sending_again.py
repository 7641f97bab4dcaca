"""Contacts that crm-sync flips by itself, so that they are sent once more: they keep the time of the application's flip.

By these times, of rows with one address the one flipped last is sent last. A contact that is sent once more would pass for newer
than a row whose flip was not committed yet, or of two of them the older one for the newer.
"""

from collections.abc import Mapping, Sequence

import asyncpg

from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render


class SendingAgain:
    """For one CRM. variables: those of its table."""

    def __init__(self, database: Database, variables: Mapping[str, str]) -> None:
        self._database = database
        self._keep = render("keep_flip_times", variables)

    async def flip(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of a statement that flips contacts, with id, flipped_at and is_flipped. Raises as Database.fetch does."""
        return await self._database.fetch_together(statement, *arguments, then=self._keep_times)

    def _keep_times(self, rows: Sequence[asyncpg.Record]) -> tuple[str, Sequence[object]] | None:
        times = {row["id"]: row["flipped_at"] for row in rows if row["is_flipped"]}
        return (self._keep, [[*times], [*times.values()]]) if times else None
