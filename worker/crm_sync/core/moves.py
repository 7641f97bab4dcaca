"""What one lane has finished recently: how that changes the counts, and at what pace.

The snapshot (`crm_sync.snapshot`) says how many contacts were in each state when they were last counted. A finish moves a contact
from the state it was counted in to its current state:

    tried before                               from waiting: the failure moved it there
    flipped before the count                   from ready
    flipped since, with an id in the CRM       from complete
    flipped since, without one                 from new

This is the best estimate without reading the contact again. The next count corrects it.

A lane learns of a count by its own report, and an idle lane does not report. So what is finished before that is kept: what was
finished since the count began moves the numbers, too.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from crm_sync.core.outcome import Finish, Kind

SECONDS = 60  # over which a pace is measured
EARLY = 1_000  # finishes that are kept until a count is known

_UNSENT = (Kind.DEFERRED, Kind.ORPHANED)  # in line before and after


class Moves:
    """on_change is called when there is something to report. delivered_at: the latest delivery, None if there was none.

    All times in seconds are by one clock of the caller's.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._counted_at: datetime | None = None
        self.delivered_at: float | None = None
        self._on_change = on_change
        self._moves: Counter[str] = Counter()
        self._early: deque[tuple[Finish, bool, float]] = deque(maxlen=EARLY)  # whether it is in line again, and when
        self._delivered: Counter[int] = Counter()  # by second

    def add(self, written: Sequence[Finish], in_line: Collection[Any], now: float) -> None:
        """Finishes that were written, and the ids of contacts that are in line again."""
        counted_at, delivered, from_ready, rest = self._counted_at, 0, 0, []
        if counted_at is None:
            self._early.extend((finish, finish.id in in_line, now) for finish in written)
        for finish in written:
            if finish.kind is not Kind.DELIVERED:
                rest.append(finish)
                continue
            delivered += 1
            flipped_at = finish.flipped_at
            if counted_at is None or flipped_at is None:
                continue
            # The fast path for most of a backlog and for repeated flips: there may be 50,000 a second.
            if in_line or finish.attempts != 1:
                rest.append(finish)
            elif flipped_at <= counted_at:
                from_ready += 1
            elif not finish.known:
                rest.append(finish)
        self._moves["ready"] -= from_ready
        self._moves["complete"] += from_ready
        for finish in rest:
            if counted_at is not None:
                self._move(finish, finish.id in in_line)
        if delivered:
            self._delivered[int(now)] += delivered
            self.delivered_at = now
            if len(self._delivered) > 2 * SECONDS:
                self._delivered = Counter({second: count for second, count in self._delivered.items() if second > now - SECONDS})
        self._on_change()

    def deliveries(self, now: float) -> list[int]:
        """In each of the last SECONDS seconds, the newest first."""
        return [self._delivered.get(int(now) - ago, 0) for ago in range(SECONDS)]

    def untold(self) -> dict[str, int]:
        """By how much the number of contacts in each state has changed since it was last reported."""
        return {state: change for state, change in self._moves.items() if change}

    def told(self, moves: Mapping[str, int], counted_at: datetime | None, counted: float = 0.0) -> None:
        """These moves were reported, and will not be again. counted_at: when the snapshot was made, None if there is none;
        counted: the same by the caller's clock.
        """
        self._moves.subtract(moves)
        self._counted_at = counted_at
        if counted_at is None or not self._early:
            return
        for finish, in_line, at in self._early:
            if at > counted:
                self._move(finish, in_line)
        self._early.clear()
        if self.untold():
            self._on_change()

    def _move(self, finish: Finish, in_line: bool) -> None:
        if finish.kind not in _UNSENT and finish.flipped_at is not None:
            self._moves[_to(finish, in_line)] += 1
            self._moves[self._from(finish)] -= 1

    def _from(self, finish: Finish) -> str:
        if (finish.attempts or 0) > 1:
            return "waiting"
        if finish.flipped_at is not None and self._counted_at is not None and finish.flipped_at <= self._counted_at:
            return "ready"
        return "complete" if finish.known else "new"


def _to(finish: Finish, in_line: bool) -> str:
    if in_line:
        return "waiting" if finish.kind is Kind.RETRY else "ready"
    # A contact withdrawn in flight has another status; the difference is ignored here.
    return "complete" if finish.kind is Kind.DELIVERED else "error"
