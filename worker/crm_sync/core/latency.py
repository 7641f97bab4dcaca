"""Buckets for the time from a flip to its delivery."""

from bisect import bisect_left
from collections.abc import Mapping

# Upper bounds in seconds, inclusive. The same as crm_sync.latency_bounds() in sql/migrations/0012.history.sql.
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400)
_BOUNDS_MS = tuple(bound * 1000 for bound in BOUNDS_S)


def buckets(waited_ms: Mapping[int, int]) -> list[int]:
    """How many are in each bucket, and beyond the last. waited_ms: how many took this many milliseconds."""
    counts = [0] * (len(BOUNDS_S) + 1)
    for ms, contacts in waited_ms.items():
        counts[bisect_left(_BOUNDS_MS, ms)] += contacts
    return counts
