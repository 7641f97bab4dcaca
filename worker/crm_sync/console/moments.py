"""Times, as the pages show them. Only a script knows the time zone of the browser, so they are in UTC and say so."""

import re
from datetime import UTC, datetime

_WRITTEN = re.compile(
    r"\b\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-4]):\d\d)"
)


def moment(at: datetime) -> str:
    """For people."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def with_moments(text: str) -> str:
    """Text of a log or a CRM, with its times for people."""
    return _WRITTEN.sub(_found, text)


def _found(found: re.Match[str]) -> str:
    try:
        return moment(datetime.fromisoformat(found[0]))
    except (ValueError, OverflowError):  # no day of any year
        return found[0]
