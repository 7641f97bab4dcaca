"""A span of time as a person writes it: 90s, 30m, 2h, 3d."""

import re
from datetime import timedelta

EXPECTED = "a number and a unit: 90s, 30m, 2h or 3d"
LONGEST = timedelta(days=3650)  # further back than any failure

_WRITTEN = re.compile(r"(\d{1,12})\s*([smhd])", re.IGNORECASE | re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse(text: str) -> timedelta:
    """Raises ValueError that says what is expected."""
    match = _WRITTEN.fullmatch(text.strip())
    seconds = int(match[1]) * _UNITS_S[match[2].lower()] if match else 0
    if not 0 < seconds <= LONGEST.total_seconds():
        raise ValueError(f"expected {EXPECTED}; at most {LONGEST.days:,}d" if match and seconds else f"expected {EXPECTED}")
    return timedelta(seconds=seconds)
