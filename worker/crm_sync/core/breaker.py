"""The circuit breaker of a lane, which all workers share: when to leave a CRM alone, and how to come back.

    closed ──(it is down, or refuses everyone)───▶ open ───────┐
      │                                                        ├──(next_probe is there)──▶ half-open ──(answered)──▶ closed
      └──────(it says "too many requests")───────▶ throttled ──┘                               │
                                                   open, throttled ◀──(failed, throttled)──────┘

A probe is one delivery by one worker. After it, every worker ramps up: each answer doubles the number of deliveries, until
nothing limits it. All times are in seconds of one clock, the database's.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from crm_sync.core.waits import USUAL, Waits

FAILURES = 3  # in a row, in one worker, before the breaker opens for a failure that may be transient
LAST_STEP = 64  # more concurrent deliveries than any CRM gets: the ramp ends here


class State(StrEnum):
    CLOSED = "closed"
    THROTTLED = "throttled"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class Breaker:
    """since: when it was last closed, or closed again. reason: why it is not closed. openings: how many in a row."""

    state: State = State.CLOSED
    since: float = 0.0
    reason: str | None = None
    next_probe: float | None = None  # None while closed
    openings: int = 0

    @property
    def closed(self) -> bool:
        return self.state is State.CLOSED

    def failed(
        self, now: float, chance: float, reason: str, *, refused: bool = False, probe: bool = False, waits: Waits = USUAL
    ) -> "Breaker":
        """The CRM is down, or refuses every contact. While the breaker is not closed, only the probe changes anything: other
        failing requests were sent earlier, and may take a long time to fail.

        The wait doubles with each consecutive opening, up to a maximum, less up to half of it by `chance`, which is in [0, 1).
        """
        longest_s = waits.longest_refused_probe_s if refused else waits.longest_probe_s
        if not self.closed and not (probe and self.state is State.HALF_OPEN):
            return self
        wait_s = min(waits.first_probe_s * 2 ** min(self.openings, 30), longest_s) * (1 - chance / 2)
        return Breaker(State.OPEN, now if self.closed else self.since, reason, now + wait_s, self.openings + 1)

    def throttled(self, now: float, pause_s: float, reason: str) -> "Breaker":
        """No worker calls for this many seconds. A longer pause already in effect is kept."""
        until = now + pause_s
        if self.state in (State.OPEN, State.THROTTLED) and self.next_probe is not None:
            return self if until <= self.next_probe else replace(self, next_probe=until)
        return Breaker(State.THROTTLED, now if self.closed else self.since, reason, until, self.openings)

    def probed(self, now: float, waits: Waits = USUAL) -> "Breaker | None":
        """A worker starts the probe; None if it is not time for one."""
        if self.next_probe is None or now < self.next_probe:
            return None
        return replace(self, state=State.HALF_OPEN, next_probe=now + waits.probe_lease_s)

    def given_back(self, now: float, waits: Waits = USUAL) -> "Breaker":
        """There was nothing to probe with."""
        if self.state is not State.HALF_OPEN:
            return self
        return replace(self, state=State.OPEN if self.openings else State.THROTTLED, next_probe=now + waits.first_probe_s)

    def answered(self, now: float) -> "Breaker":
        """The probe was answered."""
        return Breaker(since=now) if self.state is State.HALF_OPEN else self


@dataclass(slots=True)
class Ramp:
    """How many deliveries one worker has in flight at once after the breaker has closed."""

    allowed: int | None = None  # None: unlimited

    def start(self) -> None:
        self.allowed = 2

    def answered(self) -> None:
        if self.allowed is not None:
            self.allowed = self.allowed * 2 if self.allowed < LAST_STEP else None

    def limit(self, most: int) -> int:
        """The current limit, at most this many."""
        return most if self.allowed is None else min(most, self.allowed)
