"""A worker's counts, written to `crm_sync.minutes` once a minute. An idle minute costs nothing.

Counts are kept in memory until they are written: if a worker is killed, those of its last minute are lost.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from crm_sync.core.tally import Counts, Tally
from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import CrmSyncError
from crm_sync.log import Trouble
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query

# Columns by the outcome that they count.
OUTCOMES = {
    "delivered": "delivered",
    "retried": "retry",
    "rejected": "rejected",
    "deferred": "deferred",
    "orphaned": "orphaned",
    "lost": "lost",
}


class Minutes:
    """tallies: by CRM; more may be added. worker: the id of this one, None before it has one."""

    def __init__(
        self, tallies: Mapping[str, Tally], database: Database, worker: Callable[[], int | None], waits: Waits = USUAL
    ) -> None:
        self._tallies = tallies
        self._database = database
        self._worker = worker
        self._minute_s = waits.minute_s
        self._since = time.monotonic()
        self._trouble = Trouble(loop="minutes")

    async def run(self) -> None:
        """Writes, forever."""
        while True:
            await asyncio.sleep(self._minute_s)
            await self.write()

    async def write(self) -> None:
        """Writes what was counted since the last time. Counts that cannot be written are added to the next. Raises nothing."""
        worker = self._worker()
        taken = {crm: counts for crm, tally in [*self._tallies.items()] if (counts := tally.take())}
        age_s, self._since = time.monotonic() - self._since, time.monotonic()
        if not taken:
            return
        try:
            if worker is not None:
                rows = json.dumps([_row(crm, counts) for crm, counts in taken.items()])
                await self._database.fetch(query("write_minutes"), worker, age_s, rows)
                self._trouble.over()
                return
        except CrmSyncError as error:
            self._trouble.tell(error)
        for crm, counts in taken.items():
            self._tallies[crm].put_back(counts)


def _row(crm: str, counts: Counts) -> dict[str, Any]:
    return {
        "crm": crm,
        **{column: counts.outcomes[outcome] for column, outcome in OUTCOMES.items()},
        "deleted": counts.deleted,
        "requests": counts.requests,
        "throttled": counts.throttled,
        "unrecorded": counts.unrecorded,
        "strays": counts.strays,
        "latency": counts.latency,
        "codes": counts.codes,
    }
