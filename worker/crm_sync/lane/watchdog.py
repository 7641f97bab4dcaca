"""Whether the loops move. What the watchdog rests on, besides the event loop itself.

watched        moves when                                   may wait, for any time
session        a step of its tick ends                      while no session is open: Postgres
lane           a claim begins, as somebody told it to       while no session is open: Postgres; while the CRM must not be called
               look (the bell, a flip, the tick)            or has a request: the CRM; while outcomes are being written: Postgres;
                                                            while nobody told it to look: there is nothing to do

The tick tells every lane to look that has contacts due. So a lane that lost its way in our own code is found by work that waits:
at the latest a tick and stuck_s after its first contact was due. Not watched: a request, which has its own timeout; the writer,
which is at work as long as it holds outcomes; the full look, which only repairs what others did.
"""

import time

from crm_sync.core.waits import USUAL, Waits


class Progress:
    """Seconds since something moved, or had no need to."""

    def __init__(self, waits: Waits = USUAL) -> None:
        self._stuck_s = waits.stuck_s
        self._moved_at = time.monotonic()

    def moved(self) -> None:
        self._moved_at = time.monotonic()

    def stuck(self, *, waiting: bool) -> bool:
        """waiting: it need not move now. Asked regularly, for a wait counts as movement at the times it is asked."""
        if waiting:
            self.moved()
        return time.monotonic() - self._moved_at > self._stuck_s
