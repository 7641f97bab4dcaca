"""Durations and times, as people write and read them: 90s, 30m, 2h, 3d; 3 h 12 min; Thu 15:20."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta, tzinfo

EXPECTED = "a number and a unit: 90s, 30m, 2h or 3d"
LONGEST = timedelta(days=3650)  # longer ago than any failure

LONGEST_WEEKDAY = timedelta(days=6)  # beyond this, Thursday would be ambiguous

_WRITTEN = re.compile(r"(\d{1,12})\s*([smhd])", re.IGNORECASE | re.ASCII)
_zone: ContextVar[tzinfo | None] = ContextVar("zone", default=None)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse(text: str) -> timedelta:
    """Raises ValueError that says what is expected."""
    match = _WRITTEN.fullmatch(text.strip())
    seconds = int(match[1]) * _UNITS_S[match[2].lower()] if match else 0
    if not 0 < seconds <= LONGEST.total_seconds():
        raise ValueError(f"expected {EXPECTED}; at most {LONGEST.days:,}d" if match and seconds else f"expected {EXPECTED}")
    return timedelta(seconds=seconds)


def span(seconds: float) -> str:
    """8 s, 4 min, 3 h 12 min, 2 d 4 h: two units at most."""
    count = max(0, round(seconds))
    if count < 60:
        return f"{count} s"
    minutes = round(count / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return _two(minutes // 60, "h", minutes % 60, "min")
    hours = round(minutes / 60)
    return _two(hours // 24, "d", hours % 24, "h")


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large:,} {unit} {small} {small_unit}" if small else f"{large:,} {unit}"


@contextmanager
def read_elsewhere() -> Iterator[None]:
    """Within, moments are told in UTC, and that they are: who reads them need not be in the time zone of this process."""
    token = _zone.set(UTC)
    try:
        yield
    finally:
        _zone.reset(token)


def local(moment: datetime) -> datetime:
    """In the time zone of the one who reads it, as far as it is known."""
    return moment.astimezone(_zone.get())


def zone() -> str:
    """What has to stand behind a time of day: nothing where people read it on their own machine."""
    return "" if _zone.get() is None else " UTC"


def clock(moment: datetime, now: datetime) -> str:
    """In the reader's time zone: 12:03:10 today, 23 Nov 12:03 on another day, with the year if it is another one."""
    there, today = local(moment), local(now)
    if there.date() == today.date():
        return f"{there:%H:%M:%S}{zone()}"
    return f"{there.day} {there:%b %H:%M}{zone()}" if there.year == today.year else f"{there.day} {there:%b %Y}"


def end(moment: datetime, now: datetime) -> str:
    """The end of something that takes a while: 15:20 today, Thu 15:20 within a week, 3 Dec after it."""
    there, today = local(moment), local(now)
    if there.date() == today.date():
        return f"{there:%H:%M}{zone()}"
    if there - today < LONGEST_WEEKDAY:
        return f"{there:%a %H:%M}{zone()}"
    return f"{there.day} {there:%b}" if there.year == today.year else f"{there.day} {there:%b %Y}"
