"""What one lane has done recently, counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from crm_sync.core.codes import code_in
from crm_sync.core.latency import BOUNDS_S, buckets
from crm_sync.core.outcome import Finish, Kind

MOST_CODES = 50  # counted separately in one minute: a plug-in may have its own codes
OTHER = "OTHER"

_kind_of = attrgetter("kind")


@dataclass(slots=True)
class Counts:
    """outcomes: by kind, and "lost". codes: failures by code. unrecorded: outcomes missing from history.

    latency: delivered contacts by their time from the flip, in the buckets of `crm_sync.core.latency`. deleted: records of
    deleted contacts. throttled: requests answered with 429. strays: contacts whose flip no trigger saw.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    latency: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    deleted: int = 0
    requests: int = 0
    throttled: int = 0
    unrecorded: int = 0
    strays: int = 0

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.codes or self.deleted or self.requests or self.unrecorded or self.strays)


class Tally:
    """For one lane. Counts until the counts are taken."""

    def __init__(self) -> None:
        self._counts = Counts()

    def finished(
        self,
        written: Sequence[Finish],
        *,
        waited_ms: Mapping[int, int] | None = None,
        lost: int = 0,
        unrecorded: int = 0,
    ) -> None:
        """Outcomes that were written. waited_ms: how many contacts were delivered this many milliseconds after their flip."""
        counts = self._counts
        counts.outcomes.update(map(_kind_of, written))
        if lost:
            counts.outcomes["lost"] += lost
        self._wrong([finish for finish in written if finish.error is not None and finish.kind is not Kind.DEFERRED])
        if waited_ms:
            counts.latency = [a + b for a, b in zip(counts.latency, buckets(waited_ms), strict=True)]
        counts.unrecorded += unrecorded

    def deleted(self, written: Sequence[Finish], *, unrecorded: int = 0) -> None:
        """Outcomes of deleted contacts."""
        self._counts.deleted += sum(finish.kind is Kind.DELIVERED for finish in written)
        self._wrong([finish for finish in written if finish.error is not None])
        self._counts.unrecorded += unrecorded

    def requested(self, requests: int, throttled: int) -> None:
        self._counts.requests += requests
        self._counts.throttled += throttled

    def strayed(self, contacts: int) -> None:
        """The full look found this many flips that no trigger saw."""
        self._counts.strays += contacts

    def take(self) -> Counts:
        """What was counted since the last call."""
        counts, self._counts = self._counts, Counts()
        return counts

    def put_back(self, counts: Counts) -> None:
        """Counts that could not be written."""
        now = self._counts
        now.outcomes.update(counts.outcomes)
        now.codes.update(counts.codes)
        now.latency = [a + b for a, b in zip(now.latency, counts.latency, strict=True)]
        now.deleted += counts.deleted
        now.requests += counts.requests
        now.throttled += counts.throttled
        now.unrecorded += counts.unrecorded
        now.strays += counts.strays

    def _wrong(self, finishes: Sequence[Finish]) -> None:
        codes = self._counts.codes
        for finish in finishes:
            code = code_in(finish.error or "")
            codes[code if code in codes or len(codes) < MOST_CODES else OTHER] += 1
