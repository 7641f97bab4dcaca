"""What happens to lanes and workers, written to `crm_sync.events` as it is logged: one tap on the log, unknown to the code that
logs.

Events are written in the background, in batches; the log has them in any case. If an event repeats within a minute for the same
CRM, it is written once with a count, so that an unstable lane does not fill the table.
"""

import asyncio
import json
import math
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from crm_sync import events
from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import CrmSyncError
from crm_sync.log import Trouble
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.telling.deeds import WORKER

# Of the log events, those about a lane or a worker, not about single contacts.
KEPT = frozenset(
    {
        events.WORKER_STARTED,
        events.WORKER_STOPPING,
        events.WORKER_STOPPED,
        events.CONFIGURATION_RELOADED,
        events.CONFIGURATION_REFUSED,
        events.LANE_WITHOUT_CREDENTIALS,
        events.LANE_FAULTY,
        events.LANE_MENDED,
        events.SESSION_OPENED,
        events.SESSION_LOST,
        events.CLOCK_SET_BACK,
        events.REGISTERED_AGAIN,
        events.LOCKS_TAKEN,
        events.TOO_MANY_NOTIFICATIONS,
        events.CONTACTS_OVERWRITTEN,
        events.ORPHANS_RECOVERED,
        events.STRAYS_LINED_UP,
        events.LANE_PAUSED,
        events.BREAKER_OPENED,
        events.BREAKER_CLOSED,
        events.CLIENT_FAILED,
        events.REQUESTS_REFUSED,
        events.LOOP_FAILED,
        events.HISTORY_NOT_WRITTEN,
        events.HISTORY_WRITTEN_AGAIN,
        events.HISTORY_UNTIDY,
        events.METRICS_UNAVAILABLE,
        events.ALERT_RAISED,
        events.ALERT_OVER,
        events.ALERT_NOT_TOLD,
        events.TRACES_LOST,
    }
)
MOST_WAITING = 1_000  # while the database is unreachable; the oldest are dropped first
AGAIN_S = 60.0
_NO_DETAILS = {"event", "crm", "level", "timestamp", "exc_info", "exception", "stack_info", "tap_failed", "lines_lost"}


@dataclass(slots=True)
class Happened:
    """at: by the monotonic clock. times: occurrences since the last one was written."""

    at: float
    event: str
    crm: str | None
    details: dict[str, Any]
    times: int = 1

    @property
    def key(self) -> tuple[str, str | None]:
        return self.event, self.crm

    @property
    def written(self) -> str:
        return json.dumps({**self.details, **({"times": self.times} if self.times > 1 else {})}, default=str, ensure_ascii=False)


class EventsLog:
    """worker: the id of this one, None before it has one. clock: in seconds."""

    def __init__(
        self,
        database: Database,
        worker: Callable[[], int | None],
        waits: Waits = USUAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._database = database
        self._worker = worker
        self._gather_s = waits.tell_events_s
        self._waiting: deque[Happened] = deque(maxlen=MOST_WAITING)
        self._held: dict[tuple[str, str | None], Happened] = {}  # that repeated too soon
        self._last: dict[tuple[str, str | None], float] = {}
        self._arrived = asyncio.Event()
        self._trouble = Trouble(loop="events")

    def hear(self, event: Mapping[str, Any]) -> None:
        """A tap on the log."""
        if event.get("event") not in KEPT:
            return
        details = {name: value for name, value in event.items() if name not in _NO_DETAILS}
        if event["event"] == events.WORKER_STARTED:
            details["host"] = socket.gethostname()
        happened = Happened(self._clock(), event["event"], event.get("crm"), details)
        if before := self._held.pop(happened.key, None):
            happened.times += before.times
        if happened.at - self._last.get(happened.key, -math.inf) < AGAIN_S:
            self._held[happened.key] = happened
        else:
            self._put(happened)
        self._arrived.set()

    async def run(self) -> None:
        """Writes, forever."""
        while True:
            await self._wait()
            await asyncio.sleep(self._gather_s)
            self._arrived.clear()
            self._release(self._clock())
            await self.write()

    async def write(self, *, all_of_them: bool = False) -> None:
        """Writes waiting events, and at the end also those that repeated too soon. Raises nothing: what cannot be written is
        tried again.
        """
        if all_of_them:
            self._release(math.inf)
        rows = sorted(self._waiting, key=lambda one: one.at)
        if not rows:
            return
        now, worker = self._clock(), self._worker()
        columns = ([now - one.at for one in rows], [one.event for one in rows], [one.crm for one in rows])
        actor = "worker" if worker is None else f"worker {worker}"
        details = [one.written for one in rows]
        try:
            await self._database.fetch(query("write_events"), *columns, actor, WORKER, worker, details)
        except CrmSyncError as error:
            self._trouble.tell(error)
            return
        self._trouble.over()
        for row in rows:
            if row in self._waiting:
                self._waiting.remove(row)

    async def _wait(self) -> None:
        """Waits for an event, for further ones to write together, or for the next try."""
        until = [self._last[key] + AGAIN_S for key in self._held]
        if self._waiting:
            until.append(self._clock() + AGAIN_S)
        if not until:
            await self._arrived.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, min(until) - self._clock())):
                await self._arrived.wait()
        except TimeoutError:
            pass

    def _release(self, now: float) -> None:
        for key, happened in [*self._held.items()]:
            if now - self._last[key] >= AGAIN_S:
                del self._held[key]
                self._put(happened)

    def _put(self, happened: Happened) -> None:
        self._last[happened.key] = self._clock()
        self._waiting.append(happened)
