"""The look at each tick at everything that no notification reports: which workers are alive, and other facts about the server
that concern a worker.
"""

import time
from collections.abc import Awaitable, Callable

import asyncpg
import structlog

from crm_sync import events
from crm_sync.errors import DatabaseTroubleError
from crm_sync.log import Trouble
from crm_sync.postgres.registration import Registration
from crm_sync.postgres.strangers import Strangers

CLOCK_BACK_S = 1.0  # a smaller difference is a slow answer
FULL_QUEUE = 0.5  # share of the NOTIFY queue in use above which it is reported
QUEUE_FILLS = (
    "the server's NOTIFY queue is more than half full, and once it is full, commits that notify fail: "
    "a session that listens has been in one transaction for a long time, see pg_stat_activity"
)

log = structlog.get_logger()


class SafetyLook:
    """fetch: runs a statement on the session. on_clock_back is called when the database's clock was set back."""

    def __init__(
        self,
        fetch: Callable[..., Awaitable[list[asyncpg.Record]]],
        registration: Registration,
        *,
        on_clock_back: Callable[[], None],
    ) -> None:
        self.alive = 1  # workers, at the last look
        self.with_deletions: frozenset[str] = frozenset()  # CRMs with tombstones that were due, at the last look
        self.table_now: str | None = None  # a fingerprint of the contacts table at the last look
        self._fetch = fetch
        self._registration = registration
        self._on_clock_back = on_clock_back
        self._ahead_s: float | None = None  # the database's clock minus ours, at the last look
        self._queue_trouble = Trouble(loop="session")
        self._strangers = Strangers()

    async def dead_workers(self) -> list[int]:
        """The ids of dead workers. If the row of this one is gone, it is registered again. Raises as fetch does, and if the
        database is read-only.
        """
        worker = self._registration.worker_id
        look = (await self._fetch("find_dead_workers", worker))[0]
        if look["read_only"]:
            raise DatabaseTroubleError("the database is read-only: a standby, or default_transaction_read_only is on")
        if look["notify_queue"] > FULL_QUEUE:
            self._queue_trouble.tell(DatabaseTroubleError(QUEUE_FILLS))
        else:
            self._queue_trouble.over()
        if not look["is_registered"]:
            log.warning(events.REGISTERED_AGAIN, worker=worker, note="its row in crm_sync.workers was missing")
            await self._registration.register()
        self._strangers.tell(look["strangers"])
        self._compare_clocks(look["now"])
        self.alive = max(look["alive"], 1)
        self.with_deletions = frozenset(look["with_deletions"])
        self.table_now = look["table_now"]
        return [one for one in look["dead"] if one != worker]

    def _compare_clocks(self, now: float) -> None:
        ahead_s, before_s = now - time.monotonic(), self._ahead_s
        self._ahead_s = ahead_s
        if before_s is not None and ahead_s < before_s - CLOCK_BACK_S:
            log.warning(
                events.CLOCK_SET_BACK, seconds=round(before_s - ahead_s, 1), note="contacts flipped before that are due now"
            )
            self._on_clock_back()
