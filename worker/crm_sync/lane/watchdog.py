"""Whether the loops make progress: the basis of the watchdog, besides the event loop itself.

watched        moves when                                   may wait, for any time
session        a step of its tick ends                      while no session is open: Postgres
lane           a claim begins, as somebody told it to       while no session is open: Postgres; while the CRM must not be called
               look (the bell, a flip, the tick)            or has a request: the CRM; while outcomes are being written: Postgres;
                                                            while nobody told it to look: there is nothing to do

The tick tells every lane with contacts due to look. So a lane that is stuck because of a bug of ours is detected by the work that
waits, at the latest a tick and stuck_s after its first contact was due. Not watched: requests, which have their own timeout; the
writer, which is busy as long as it holds outcomes; the full look, which only repairs what others did.
"""

import time

from crm_sync.core.waits import USUAL, Waits


class Progress:
    """Seconds since something last moved, or last had no need to."""

    def __init__(self, waits: Waits = USUAL) -> None:
        self._stuck_s = waits.stuck_s
        self._moved_at = time.monotonic()

    def moved(self) -> None:
        self._moved_at = time.monotonic()

    def stuck(self, *, waiting: bool) -> bool:
        """waiting: it need not move now. Call it regularly: waiting counts as movement only at the times of the calls."""
        if waiting:
            self.moved()
        return time.monotonic() - self._moved_at > self._stuck_s
