"""Claims contacts by their keys, if the table refuses to have some of them claimed: a trigger raises, takes too long, or undoes
the claim.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Contact
from crm_sync.errors import DatabaseTroubleError, TooSlowError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.avoided import Avoided
from crm_sync.table.finishing import Finishing

MOST_ROUNDS = 10  # of a claim that meets only refused rows


def held(rows: Sequence[asyncpg.Record], token: int) -> list[Contact]:
    """What claim_named.sql has claimed and the table has left claimed: without fields, which are not read yet."""
    return [Contact(row[0], token, row[1], row[2], None, row[3], {}, row[4], row[5]) for row in rows if row[6]]


class CarefulClaim:
    """patience_s: of a claim of several contacts, whose rows stay locked for as long. Every method raises as Database.fetch does,
    but no errors of a row.
    """

    def __init__(self, database: Database, table: LaneTable, avoided: Avoided, finishing: Finishing, patience_s: float) -> None:
        self._database = database
        self._ready = render("find_ready", table.variables)
        self._claim = render("claim_named", table.variables)
        self._avoided = avoided
        self._patience_s = patience_s
        self._finishing = finishing

    async def claim(self, limit: int, token: int, share: int, fresh_from: datetime | None) -> tuple[list[Contact], bool]:
        """In the order of service; `share` of them fresh. Also returns whether any were refused: they are avoided from now on.

        Continues until some are claimed: refused ones may be many, and come before all others.
        """
        new: dict[Any, DatabaseTroubleError] = {}
        contacts: list[Contact] = []
        for _ in range(MOST_ROUNDS):
            refused: dict[Any, DatabaseTroubleError] = {}
            if ids := await self._ready_ids(limit, share, fresh_from):
                contacts = await self._claim_these(ids, token, refused)
            new |= self._avoided.leave(refused)
            if contacts or not refused:
                break
        self._avoided.tell(new)
        return contacts, bool(new)

    async def _ready_ids(self, limit: int, share: int, fresh_from: datetime | None) -> list[Any]:
        avoided = self._avoided.ids()
        fresh = await self._database.fetch(self._ready, avoided, fresh_from, share) if share and fresh_from else []
        oldest = await self._database.fetch(self._ready, avoided, BEGINNING, limit - len(fresh))
        return list(dict.fromkeys(row[0] for row in (*fresh, *oldest)))

    async def _claim_these(self, ids: Sequence[Any], token: int, refused: dict[Any, DatabaseTroubleError]) -> list[Contact]:
        """Halved until each refused one is isolated. Those are added to `refused`."""
        try:
            if self._is_to_be_brief(ids, refused):
                rows = await self._database.fetch_briefly(self._patience_s, self._claim, ids, token)
            else:
                rows = await self._database.fetch(self._claim, ids, token)
        except DatabaseTroubleError as error:
            if not error.of_a_row:
                raise
            if len(ids) == 1:
                refused[ids[0]] = error
                return []
            middle = len(ids) // 2
            halves = [await self._claim_these(half, token, refused) for half in (ids[:middle], ids[middle:])]
            return [contact for half in halves for contact in half]
        if kept := [row[0] for row in rows if row[6] is None]:
            refused |= dict.fromkeys(kept, await self._finishing.undone.kept())
        if taken_back := [row[0] for row in rows if row[6] is False]:
            refused |= await self._finishing.give_back(taken_back, token)
        return held(rows, token)

    @staticmethod
    def _is_to_be_brief(ids: Sequence[Any], refused: Mapping[Any, DatabaseTroubleError]) -> bool:
        """One alone may take as long as any statement, but the others do not wait for more than one such."""
        return len(ids) > 1 or any(isinstance(error, TooSlowError) for error in refused.values())
