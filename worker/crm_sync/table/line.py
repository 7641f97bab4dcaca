"""The line of one CRM: who is next. Claims go on where the latest one ended, and a share of them is fresh during a backlog."""

import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any, NamedTuple

import asyncpg

from crm_sync.core.fairness import MOST_FRESH, Fairness, FreshLine
from crm_sync.core.moments import BEGINNING
from crm_sync.core.waits import Waits
from crm_sync.errors import CrmSyncError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.avoided import Avoided

SWEEP = 5_000  # lines examined by one short statement

# Takes the parameters of claim_contacts.sql. Returns a row for each contact: its id, its due time, and more.
Claim = Callable[..., Awaitable[list[asyncpg.Record]]]


class NextDue(NamedTuple):
    """in_s: seconds until the earliest contact is due, zero or less if one is ready; None if none is waiting.

    revision: the breaker's. steps_over: there are lines before it, of contacts in flight or of no contact.
    """

    revision: int
    in_s: float | None
    id: Any
    steps_over: bool


class Line:
    """avoided: contacts to be stepped over. Every method raises as Database.fetch does, but no errors of a row."""

    def __init__(self, database: Database, table: LaneTable, avoided: Avoided, waits: Waits) -> None:
        self._database = database
        self._avoided = avoided
        self._next_due = render("find_next_due", table.variables)
        self._newest_due = render("find_newest_due", table.variables)
        self._stale_lines = render("drop_stale_lines", table.variables)
        self.fairness = Fairness(look_s=waits.fresh_look_s)
        self._cursor = BEGINNING
        self._full_look_s = waits.full_look_s
        self._full_look_at = 0.0
        self._steps_over = False  # the latest look stepped over lines

    async def next_due(self) -> NextDue:
        rows = await self._database.fetch(self._next_due, self._avoided.ids(), BEGINNING)
        due = NextDue(*rows[0]) if rows else NextDue(0, None, None, False)  # a lane that is being removed
        self._steps_over = due.steps_over
        return due

    async def claim_next(
        self, claim: Claim, limit: int, token: int, *, share: int, probe: bool, without: Collection[Any]
    ) -> list[asyncpg.Record]:
        """share: at most this many fresh contacts. without: keys to exclude. Also raises what the claim raises."""
        now = time.monotonic()
        if now >= self._full_look_at:
            await self.sweep()
            self._cursor = BEGINNING
        if self._cursor == BEGINNING:
            self._full_look_at = now + self._full_look_s
        rest = ([*self._avoided.ids(), *without], probe, share, self.fairness.fresh_from)
        rows = await claim(limit, token, self._cursor, *rest)
        if not rows and self._cursor != BEGINNING:
            # Contacts that the application had locked, or committed late, are behind the cursor.
            rows = await claim(limit, token, BEGINNING, *rest)
        # A fresh contact says nothing about how far the backlog has been served.
        backlog = self.fairness.of_backlog([row[1] for row in rows])
        self._cursor = max(backlog, default=self._cursor if rows else BEGINNING)
        if self.fairness.claimed(limit, share, len(backlog), len(rows) - len(backlog), now):
            await self._measure_fresh_line()
        return rows

    def begin_again(self) -> None:
        """The next claim looks from the beginning."""
        self._cursor = BEGINNING

    async def tidy(self) -> None:
        """Sweeps, if the latest look stepped over lines."""
        if self._steps_over:
            await self.sweep()

    async def sweep(self) -> None:
        """Deletes lines that represent no contact from the beginning of the line, because every look would step over them."""
        while True:
            looked_at, dropped = (await self._database.fetch(self._stale_lines, SWEEP))[0]
            if looked_at < SWEEP or not dropped:
                return

    async def _measure_fresh_line(self) -> None:
        """Finds where the backlog ends. Raises nothing, because contacts are already claimed: the next claim finds out what is
        wrong.
        """
        with suppress(CrmSyncError):
            arguments = (self._avoided.ids(), self.fairness.fresh_from, MOST_FRESH)
            rows = await self._database.fetch(self._newest_due, *arguments)
            self.fairness.measured(FreshLine(*rows[0]))
