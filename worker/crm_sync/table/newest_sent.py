"""The newest flip that was sent in a lane, for the worker that comes after: see `crm_sync.core.overtaking`.

It is noted before outcomes are written, so a worker that is killed leaves no delivered contact that is newer. What it has sent
without writing the outcome is sent again.
"""

import time
from collections.abc import Iterable
from datetime import datetime

from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Finish
from crm_sync.core.overtaking import Ahead
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query


class NewestSent:
    """Of one lane. Every method raises as Database.fetch does."""

    def __init__(self, database: Database, crm: str, *, keeps_records: bool) -> None:
        """keeps_records: as in Client. Without records nothing is looked up, so nothing is noted."""
        self._database = database
        self._crm = crm
        self._on = keeps_records
        self._ahead = Ahead()

    async def read(self) -> datetime:
        """What all workers have noted."""
        return (await self._database.value(query("read_newest_sent"), self._crm) if self._on else None) or BEGINNING

    async def note(self, finishes: Iterable[Finish]) -> None:
        """These outcomes are about to be written."""
        if not self._on:
            return
        newest = max((one.flipped_at for one in finishes if one.sent and one.flipped_at is not None), default=BEGINNING)
        now = time.monotonic()
        until = self._ahead.until(newest, now)
        if until is None:
            return
        noted = await self._database.value(query("note_newest_sent"), self._crm, until)
        if noted is not None:
            self._ahead.noted(noted, now)
