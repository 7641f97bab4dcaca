"""Times, and who stands in the way, as people say them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

MINUTE, HOUR, DAY = 60, 60, 24  # each counted in the next smaller unit

LONGEST_WEEKDAY = timedelta(days=6)  # further off, Thursday could be another one


def span(seconds: float) -> str:
    """8 s, 4 min, 3 h 12 min, 2 d 4 h: two units at most."""
    count = max(0, round(seconds))
    if count < MINUTE:
        return f"{count} s"
    count = round(count / MINUTE)
    if count < HOUR:
        return f"{count} min"
    if count < HOUR * DAY:
        return _two(count // HOUR, "h", count % HOUR, "min")
    count = round(count / HOUR)
    return _two(count // DAY, "d", count % DAY, "h")


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large:,} {unit} {small} {small_unit}" if small else f"{large:,} {unit}"


def clock(moment: datetime, now: datetime) -> str:
    """In the time zone of whoever reads it: 12:03:10 today, 23 Nov 12:03 on another day, with the year in another year."""
    local, today = moment.astimezone(), now.astimezone()
    if local.date() == today.date():
        return f"{local:%H:%M:%S}"
    return f"{local.day} {local:%b %H:%M}" if local.year == today.year else f"{local.day} {local:%b %Y}"


def end(moment: datetime, now: datetime) -> str:
    """Of something that takes a while: 15:20 today, Thu 15:20 within a week, 3 Dec after it."""
    local, today = moment.astimezone(), now.astimezone()
    if local.date() == today.date():
        return f"{local:%H:%M}"
    if local - today < LONGEST_WEEKDAY:
        return f"{local:%a %H:%M}"
    return f"{local.day} {local:%b}" if local.year == today.year else f"{local.day} {local:%b %Y}"


def holders(rows: Sequence[Mapping[str, Any]], what: str = "It is in use by") -> str:
    """One sentence on whom somebody waits for. rows: of find_holders.sql or find_blockers.sql, as the role may see them."""
    return f"{what} {', '.join(map(_holder, rows))}" if rows else "It was in use a moment ago"


def _holder(row: Mapping[str, Any]) -> str:
    lasted = "" if row["age_s"] is None else f" for {span(row['age_s'])}"
    return f"{row['kind'] or 'a session'} (pid {row['pid']}){lasted}"
