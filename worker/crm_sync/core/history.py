"""Which outcomes have a line in history, and for how long."""

from enum import StrEnum

SHORTEST_DAYS, LONGEST_DAYS = 1, 30  # the ring has 32 slots: today's, tomorrow's, which is empty, and these


class History(StrEnum):
    """Of which outcomes there is a line."""

    ALL = "all"
    FAILURES = "failures"  # what was not delivered, or not as a whole
    OFF = "off"
