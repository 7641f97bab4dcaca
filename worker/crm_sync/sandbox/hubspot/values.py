"""Which values a property accepts, by its type.

Since April 2025, whitespace at either end is refused for all types except string [HubSpot's changelog, "Enhanced Validations for
Non-String Properties", with this message]. INVALID_LONG and INVALID_DATE are captured [verbb/formie #1755, HubSpot.NET #98]; the
message for numbers is a guess, and so is that a bool has its two options.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Type = Literal["string", "number", "date", "datetime", "bool", "enumeration"]

_MILLISECONDS = re.compile(r"-?[0-9]{1,16}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"  # not whitespace to Python, but invisible


@dataclass(frozen=True, slots=True)
class Property:
    """options: of an enumeration. Several values are separated by semicolons. is_unique: no two contacts have the same value."""

    type: Type = "string"
    options: Sequence[str] = ()
    is_unique: bool = False

    def problem(self, value: str) -> tuple[str, str] | None:
        """(message, error) for a value it refuses. An empty value is always accepted."""
        if self.type == "string" or not value:
            return None
        values = value.split(";") if self.type == "enumeration" else [value]
        if any(_is_padded(one) for one in values):
            return f'"{value}" includes leading or trailing whitespace.', "LEADING_TRAILING_WHITESPACE"
        return _PROBLEMS[self.type](self, value)

    def of_options(self, value: str) -> tuple[str, str] | None:
        options = self.options if self.type == "enumeration" else ("true", "false")
        if all(one in options for one in value.split(";") if one):
            return None
        return f"{value} was not one of the allowed options: [{', '.join(options)}]", "INVALID_OPTION"


def _number(_: Property, value: str) -> tuple[str, str] | None:
    return None if _NUMBER.fullmatch(value) else (f"{value} was not a valid number.", "INVALID_NUMBER")


def _moment(_: Property, value: str) -> tuple[str, str] | None:
    if _MILLISECONDS.fullmatch(value) or (_ISO.fullmatch(value) and _parsed(value)):
        return None
    return f"{value} was not a valid long.", "INVALID_LONG"


def _date(_: Property, value: str) -> tuple[str, str] | None:
    if _DAY.fullmatch(value) and _parsed(value):
        return None
    moment = _parsed(value) if _ISO.fullmatch(value) else None
    if _MILLISECONDS.fullmatch(value):
        moment = _since_1970(int(value))
    if moment is None:
        return f"{value} was not a valid long.", "INVALID_LONG"
    time = moment.astimezone(UTC).time()
    if time == datetime.min.time():
        return None
    return f"{value} is at {time.hour}:{time.minute}:{time.second}.{time.microsecond // 1000} UTC, not midnight!", "INVALID_DATE"


def _since_1970(milliseconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError):
        return None


def _parsed(value: str) -> datetime | None:
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def _is_padded(value: str) -> bool:
    return value != value.strip().strip(_INVISIBLE).strip()


_PROBLEMS = {
    "number": _number,
    "date": _date,
    "datetime": _moment,
    "bool": Property.of_options,
    "enumeration": Property.of_options,
}
