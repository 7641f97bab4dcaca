"""The snapshot: how many contacts of each CRM are in which state, counted in one pass over the table for all CRMs.

One worker counts: the one that holds the lock for counting. It starts a pass when the last one is older than 60 s and than 100
times its duration, so that counting takes at most a hundredth of one connection, however large the table is. A pass is one
statement; it reads the table once and writes a row for each CRM and state.

Between two passes, finishes update the numbers (`crm_sync.core.moves`).
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import ConfigurationError, CrmSyncError, TooSlowError
from crm_sync.log import Trouble
from crm_sync.postgres.locks import CONTACTS
from crm_sync.postgres.pool import Database
from crm_sync.postgres.session import Session
from crm_sync.postgres.statements import query

STATES = (
    *("new", "selected", "skipped", "ready", "waiting", "unseen"),
    *("in flight", "complete", "error", "silent", "other"),
)
SHARE = 100  # the time between two passes is at least this many times the duration of one


class Snapshot:
    """The part of a worker that counts, if it is its turn."""

    def __init__(self, database: Database, session: Session, settled: Sequence[asyncio.Event], waits: Waits = USUAL) -> None:
        """settled: set once the lanes have delivered what they found in line at the start; the first count waits for a moment."""
        self._database = database
        self._session = session
        self._settled = settled
        self._waits = waits
        self._trouble = Trouble(loop="snapshot")

    async def run(self) -> None:
        """Counts, forever. A failure is logged once, and does not affect the lanes."""
        await self._session.opened.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._waits.backlog_first_s):
                for settled in self._settled:
                    await settled.wait()
        while True:
            await self._session.opened.wait()
            started = time.monotonic()
            try:
                pause_s = await self._count_in_turn()
                self._trouble.over()
            except ConfigurationError as error:
                # A right that the role does not have yet. Another worker's role may have it.
                self._trouble.tell(error)
                await self._session.leave_count(CONTACTS)
                pause_s = self._waits.count_s
            except TooSlowError as error:
                self._trouble.tell(error)
                pause_s = SHARE * (time.monotonic() - started)
            except CrmSyncError as error:
                self._trouble.tell(error)
                pause_s = self._waits.count_s
            await asyncio.sleep(pause_s)

    async def _count_in_turn(self) -> float:
        """Returns the seconds until the next check."""
        if not await self._session.may_count(CONTACTS):
            return self._waits.count_s
        age_s, took_s = (await self._database.fetch(query("age_snapshot")))[0]
        if age_s is not None:
            left_s = max(self._waits.count_s, SHARE * took_s) - age_s
            if left_s > 0:
                return float(left_s)
        took_s = await count(self._database, self._waits.count_patience_s)
        return max(self._waits.count_s, SHARE * took_s)


async def count(database: Database, patience_s: float) -> float:
    """Makes a snapshot now. Returns the seconds that the pass took. Raises as Database.fetch does, TooSlowError after patience_s
    seconds.
    """
    before = {(row["crm"], row["state"]): row["contacts"] for row in await database.fetch(query("read_snapshot"))}
    started = time.monotonic()
    rows = await database.fetch_within(patience_s, query("count_contacts"))
    took_s = time.monotonic() - started
    counted: dict[tuple[str, str], dict[str, Any]] = {(row["crm"], row["state"]): dict(row) for row in rows}
    if not rows:
        return took_s
    keys = [(crm, state) for crm in sorted({row["crm"] for row in rows}) for state in STATES]
    found = [counted.get(key, {}) for key in keys]
    await database.fetch(
        query("write_snapshot"),
        [crm for crm, _ in keys],
        [state for _, state in keys],
        [one.get("contacts", 0) for one in found],
        [one.get("latest") for one in found],
        [before.get(key, 0) for key in keys],
        rows[0]["at"],
        took_s,
    )
    return took_s
