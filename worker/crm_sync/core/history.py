"""Which outcomes are recorded in history, and for how long."""

from enum import StrEnum

SHORTEST_DAYS, LONGEST_DAYS = 1, 30  # the ring has 32 slots: these days, today's, and tomorrow's, which is empty


class History(StrEnum):
    """Which outcomes are recorded."""

    ALL = "all"
    FAILURES = "failures"  # what was not delivered, or not completely
    OFF = "off"
