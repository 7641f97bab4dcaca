"""The circuit breaker of a lane: when to leave a CRM alone, and how to come back.

    closed ──(FAILURES in a row, or a refusal)──▶ open ──(its wait is over)──▶ probing
      ▲                                            ▲                            │
      └────────────── the probe succeeds ──────────┼────── the probe fails ─────┘

A probe is one delivery. After it the lane ramps up: twice as many with each success, until nothing limits it.
"""

from dataclasses import dataclass

FAILURES = 3
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
LAST_STEP = 64  # more deliveries at a time than any CRM gets: the ramp ends here


@dataclass(slots=True)
class Breaker:
    """All times in seconds of one clock of the caller's."""

    failures: int = 0  # in a row
    openings: int = 0  # in a row
    open_until: float | None = None  # None: closed
    allowed: int | None = None  # deliveries at a time while ramping up; None: unlimited

    @property
    def closed(self) -> bool:
        return self.open_until is None

    def wait_s(self, now: float) -> float:
        """Seconds until the next probe may start; 0 if deliveries may."""
        return 0.0 if self.open_until is None else max(0.0, self.open_until - now)

    def succeeded(self) -> bool:
        """A delivery was answered. True if that closed the breaker."""
        closes = not self.closed
        self.failures = self.openings = 0
        self.open_until = None
        if closes:
            self.allowed = 2
        elif self.allowed is not None:
            self.allowed = self.allowed * 2 if self.allowed < LAST_STEP else None
        return closes

    def failed(self, now: float, chance: float, *, at_once: bool = False) -> bool:
        """A delivery said nothing about its contacts. at_once: no need to see it again. True if that opened the breaker.

        The wait doubles with each opening in a row, up to LONGEST_WAIT_S, less up to half of it by chance in [0, 1).
        """
        self.failures += 1
        if self.closed and not at_once and self.failures < FAILURES:
            return False
        if self.wait_s(now) > 0:
            return False  # a straggler from before it opened
        opens = self.closed
        wait_s = min(FIRST_WAIT_S * 2 ** min(self.openings, 30), LONGEST_WAIT_S)
        self.open_until = now + wait_s * (1 - chance / 2)
        self.openings += 1
        self.allowed = 1
        return opens

    @property
    def unlimited(self) -> bool:
        return self.allowed is None

    def limit(self, most: int) -> int:
        """How many deliveries may be in flight at a time, of at most so many."""
        return most if self.allowed is None else min(most, self.allowed)
