"""How far a CRM is, and when it will probably be done, at the pace of the last minute.

All arguments are numbers of contacts, or seconds.
"""

# A batch that arrived this instant does not make a pace of thousands a second.
SHORTEST_SPAN_S = 1.0


def pace_per_s(delivered: int, since_s: float | None) -> float | None:
    """Contacts a second. delivered: in the last minute; since_s: how long ago the first of them was. None: no pace is known.

    A backfill that began ten seconds ago is measured over these ten seconds, not over the minute.
    """
    if not delivered or since_s is None:
        return None
    return delivered / max(since_s, SHORTEST_SPAN_S)


def done_share(done: int, wanted: int) -> float | None:
    """From 0 to 1. wanted: all contacts that should be in the CRM, done or not. None: there are none."""
    return min(1.0, done / wanted) if wanted else None


def ends_in_s(*, ready: int, in_flight: int, waiting: int, pace: float | None) -> float | None:
    """Seconds until all are delivered at this pace. None if it is not known.

    If only contacts waiting for a retry are left, their retry time decides, not the pace.
    """
    if not ready + in_flight:
        return None
    return None if pace is None else (ready + in_flight + waiting) / pace
