"""Whether the process is alive: measured regularly by its own event loop, because rare requests would miss delays."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from crm_sync.core.waits import USUAL, Waits

REMEMBERED_S = 60.0  # so that a scrape once a minute sees every delay


class Pulse:
    """moving: whether the loops move, see `crm_sync.lane.watchdog`; it has to be asked regularly."""

    def __init__(self, moving: Callable[[], bool], waits: Waits = USUAL) -> None:
        self.alive = True
        self._moving = moving
        self._interval_s = waits.pulse_s
        self._delays: deque[tuple[float, float]] = deque()  # (when, seconds), falling: those that may still be the longest

    @property
    def lag_s(self) -> float:
        """The longest delay of the event loop within the last minute."""
        self._forget(time.monotonic())
        return self._delays[0][1] if self._delays else 0.0

    async def run(self) -> None:
        """Runs forever."""
        while True:
            due = time.monotonic() + self._interval_s
            await asyncio.sleep(self._interval_s)
            now = time.monotonic()
            self._note(now, max(0.0, now - due))
            self.alive = self._moving()

    def _note(self, now: float, delay_s: float) -> None:
        while self._delays and self._delays[-1][1] <= delay_s:
            self._delays.pop()
        self._delays.append((now, delay_s))
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._delays and self._delays[0][0] < now - REMEMBERED_S:
            self._delays.popleft()
