"""The request limits of an account, shared by all workers: who may send a request, and when.

Usage is kept in one small Budget. Anyone who wants to send takes slots from it and writes it back; a slot is the time at which
one request may leave.

Short windows (at most SPACED_S) are enforced by spacing: the generic cell rate algorithm without tolerance for bursts (GCRA, ATM
Forum Traffic Management 4.0). Slots are at least interval_s = (seconds + slack) / limit apart. If every request reaches the CRM
within [slot, slot + slack), the first and the last slot of n requests that meet in one half-open window are less than seconds +
slack apart, and at least (n - 1) * interval_s: so n - 1 < limit. 96 % of the limit can be used. Bursts are not allowed: a full
bucket followed by the full rate would be twice the limit in one window.

Long windows are counted (a sliding window made of sub-windows): seconds + slack is divided into PARTS. A slot belongs to the part
that contains its time, and is given only if that part and the PARTS before it stay within the limit: together they hold every
slot of the requests that can meet in one window. PARTS out of PARTS + 1 can be used; with the slack, that is over 95 % of the
limit.

All times are seconds by one clock of the caller's (the database's). It may step: a time further ahead than possible counts as
now.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

SPACED_S = 10.0  # the longest window that is enforced by spacing
SLACK = 0.04  # share of a window, for requests that come later or earlier than their slot,
LONGEST_SLACK_S = 0.25  # but at most this
PARTS = 60
LONGEST_AHEAD_S = 10.0
STEPPED_S = 25.0  # the next slot cannot be further ahead than LONGEST_AHEAD_S and one interval: if it is, the clock was set back
LONGEST_WAIT_S = 60.0  # so that a corrected budget or changed limits are noticed

EXPECTED = 'requests per window, e.g. "100/10s 250000/day" (s, second, min, minute, h, hour, day), each window once, or "none"'
WINDOW = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,5})?(s|seconds?|min|minutes?|h|hours?|days?)")
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Window:
    """At most this many requests in any window of this many seconds. Requests may reach the CRM up to `slack` before or after
    their slots.
    """

    limit: int
    seconds: float

    @property
    def spaced(self) -> bool:
        return self.seconds <= SPACED_S

    @property
    def span_s(self) -> float:
        """The window and its slack: the largest distance between slots of requests that can meet in one window."""
        return self.seconds + min(SLACK * self.seconds, LONGEST_SLACK_S)

    @property
    def interval_s(self) -> float:
        return self.span_s / self.limit

    @property
    def part_s(self) -> float:
        return self.span_s / PARTS

    @property
    def key(self) -> str:
        """As JSON. Without the limit: usage stays counted when the limit changes."""
        return f"{self.seconds:g}"

    def part(self, time: float) -> int:
        return int(time // self.part_s)


class Remaining(NamedTuple):
    """How many requests of one window are left, according to the CRM."""

    seconds: float
    requests: int


def parse(text: str) -> tuple[Window, ...]:
    """Windows such as "100/10s 250000/day", commas allowed. "none" and "0" mean no limits.

    Raises ValueError that says what is expected.
    """
    text = text.strip().lower()
    if text in {"none", "0"}:
        return ()
    windows: dict[float, Window] = {}
    for word in re.split(r"[\s,]+", text):
        found = WINDOW.fullmatch(word)
        seconds = int(found[2] or 1) * UNITS_S[found[3][0]] if found else 0.0
        if found is None or seconds in windows:
            raise ValueError(f"expected {EXPECTED}")
        windows[seconds] = Window(int(found[1]), seconds)
    return tuple(windows.values())


def written(windows: Sequence[Window]) -> str:
    """In the form that `parse` reads."""
    return " ".join(f"{window.limit}/{window.seconds:g}s" for window in windows) or "none"


@dataclass(frozen=True, slots=True)
class Budget:
    """What all workers together have used."""

    next_slot: float = 0.0  # the earliest next slot, by spacing
    counts: Mapping[float, Mapping[int, int]] = field(default_factory=dict)  # requests, by seconds of the window and by part

    def used(self, window: Window, time: float) -> int:
        """Requests that count towards the window at that time, including later ones."""
        oldest = window.part(time) - PARTS
        return sum(count for part, count in self.counts.get(window.seconds, {}).items() if part >= oldest)

    def room_at(self, window: Window, time: float) -> float:
        """The first time, not before `time`, with room for a request in this window."""
        used, oldest = self.used(window, time), window.part(time) - PARTS
        for part, count in sorted(self.counts.get(window.seconds, {}).items()):
            if used < window.limit:
                break
            if part >= oldest:
                used -= count
                time = (part + PARTS + 1) * window.part_s + 0.001  # the product alone may be rounded down into the previous part
        return time

    def charged(self, window: Window, requests: Mapping[int, int]) -> "Budget":
        """With this many more requests, by part."""
        parts = Counter(self.counts.get(window.seconds, {}))
        parts.update(requests)
        return replace(self, counts={**self.counts, window.seconds: parts})

    def settled(self, windows: Sequence[Window], now: float) -> "Budget":
        """Without requests that no longer count; those that a stepped clock left in the future count as now."""
        next_slot = self.next_slot if self.next_slot <= now + STEPPED_S else now
        counts = {}
        for window in windows:
            current, newest = window.part(now), window.part(max(now, next_slot))
            parts: Counter[int] = Counter()
            for part, count in self.counts.get(window.seconds, {}).items():
                if part >= current - PARTS:
                    parts[part if part <= newest else current] += count
            if parts:
                counts[window.seconds] = parts
        return Budget(next_slot, counts)

    def to_json(self) -> dict[str, Any]:
        """{"next": time, "counts": {seconds: [first part, requests in it, in the next one, ...]}}"""
        counts = {}
        for seconds, parts in self.counts.items():
            first = min(parts, default=0)
            counts[Window(1, seconds).key] = [first, *(parts.get(part, 0) for part in range(first, max(parts, default=-1) + 1))]
        return {"next": self.next_slot, "counts": counts}

    @classmethod
    def from_json(cls, value: object, windows: Sequence[Window]) -> "Budget":
        """Entries that are not understood, and windows that are not among `windows`, are left out."""
        stored = value if isinstance(value, dict) else {}
        next_slot, lists = stored.get("next"), stored.get("counts")
        counts = {}
        for window in windows:
            match lists.get(window.key) if isinstance(lists, dict) else None:
                case [int() as first, *rest] if any(rest) and all(isinstance(count, int) and count >= 0 for count in rest):
                    counts[window.seconds] = {first + number: count for number, count in enumerate(rest) if count}
        return cls(next_slot if isinstance(next_slot, int | float) and next_slot >= 0 else 0.0, counts)


@dataclass(frozen=True, slots=True)
class Taken:
    """Slots for this many requests, starting at `first`, interval_s apart. 0 requests: nothing to store, ask again in wait_s
    seconds.
    """

    budget: Budget
    first: float
    interval_s: float
    count: int
    wait_s: float = 0.0

    @property
    def slots(self) -> list[float]:
        return [self.first + number * self.interval_s for number in range(self.count)]


def take(windows: Sequence[Window], budget: Budget, now: float, wanted: int, ahead_s: float, *, lead_s: float = 0.0) -> Taken:
    """Up to `wanted` (at least 1) slots, none less than lead_s and none more than ahead_s (at most LONGEST_AHEAD_S) from now."""
    budget = budget.settled(windows, now)
    spaced, counted = [w for w in windows if w.spaced], [w for w in windows if not w.spaced]
    interval_s = max((w.interval_s for w in spaced), default=0.0)
    free = max(now + lead_s, budget.next_slot)
    first = max([free, *(budget.room_at(w, free) for w in counted)])
    last = now + min(ahead_s, LONGEST_AHEAD_S)
    if first > last:
        return Taken(budget, first, interval_s, 0, min(first - last, LONGEST_WAIT_S))
    # All slots are judged by the part of the first one: room in a later part is left to the next caller.
    count = min([wanted, *(w.limit - budget.used(w, first) for w in counted)])
    if interval_s:
        count = min(count, 1 + int((last - first) / interval_s))
    taken = Taken(budget, first, interval_s, count)
    for window in windows:
        budget = budget.charged(window, Counter(map(window.part, taken.slots)))
    return replace(taken, budget=replace(budget, next_slot=first + count * interval_s))


def correct(windows: Sequence[Window], budget: Budget, now: float, seconds: float, remaining: int) -> Budget:
    """Takes in what the CRM says is left in its window of this many seconds. Fewer than we count: other programs use the account
    too.

    Their requests are charged, and delay the next slot as long as ours would, at most to one whole window from now. More than we
    count changes nothing: some of our requests are still in flight.
    """
    current = budget.settled(windows, now)
    for window in (w for w in windows if w.seconds == seconds):
        others = window.limit - current.used(window, now) - max(0, remaining)
        if others > 0:
            budget = current.charged(window, {window.part(now): others})
            if window.spaced:
                delayed = min(max(now, budget.next_slot) + others * window.interval_s, now + window.span_s)
                budget = replace(budget, next_slot=max(budget.next_slot, delayed))
    return budget
