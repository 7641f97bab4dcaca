"""Whether a CRM holds what was sent, although it stores it in its own form.

CRMs trim texts, write numbers and timestamps differently, sort options and remove spaces from phone numbers. A value just
delivered must not count as different; a value that a person changed in the CRM must. One function per kind of field; sent is
never empty, held is None if the CRM has no value.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from crm_sync.core.documents import plain_text
from crm_sync.core.identity import fold

SHORTEST_NATIONAL = 7  # digits of a phone number that may lack its country code

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS = re.compile(r"-?[0-9]{5,16}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def same_text(sent: Any, held: Any) -> bool:
    """Ignores surrounding whitespace and the style of line ends."""
    return _text(sent) == _text(held)


def same_plain(sent: Any, held: Any) -> bool:
    """For a field of unknown type: compared as what was sent, a number, a boolean, a list or else a text."""
    match sent:
        case bool():
            return same_truth(sent, held)
        case int() | float():
            return same_number(sent, held)
        case list():
            return isinstance(held, list) and same_options(sent, held)
    return same_text(sent, held)


def same_number(sent: Any, held: Any) -> bool:
    """Compared as doubles, which is what CRMs store. Values that are not numbers are compared as text."""
    one, other = _double(sent), _double(held)
    return same_text(sent, held) if one is None or other is None else one == other


def same_truth(sent: Any, held: Any) -> bool:
    one, other = _TRUTHS.get(_text(sent).lower()), _TRUTHS.get(_text(held).lower())
    return same_text(sent, held) if one is None or other is None else one is other


def same_day(sent: Any, held: Any) -> bool:
    """For a field that stores only a date."""
    one, other = _day(sent), _day(held)
    return same_text(sent, held) if one is None or other is None else one == other


def same_moment(sent: Any, held: Any) -> bool:
    """In any format; UTC if no zone is given; to the second if one of them is no more precise."""
    one, other = _moment(sent), _moment(held)
    if one is None or other is None:
        return same_text(sent, held)
    if one.microsecond and other.microsecond:
        return one.replace(microsecond=one.microsecond // 1000) == other.replace(microsecond=other.microsecond // 1000)
    return one.replace(microsecond=0) == other.replace(microsecond=0)


def same_time(sent: Any, held: Any) -> bool:
    """For a field that stores a time of day: missing seconds are 0."""
    one, other = ((f"{text}:00" if len(text) == len("00:00") else text) for text in (_text(sent), _text(held)))
    return one == other


def same_options(sent: Any, held: Any, separator: str | None = None) -> bool:
    """In any order. separator: between the options of a text. Numbers in what was sent are compared as numbers."""
    one, other = _options(sent, separator), _options(held, separator)
    if one == other or not isinstance(sent, list) or not any(isinstance(part, int | float) for part in sent):
        return one == other
    return _as_numbers(one) == _as_numbers(other)


def same_phone(sent: Any, held: Any) -> bool:
    """Compared by digits, with or without the country code: CRMs reformat numbers and add the country code."""
    one, other = _digits(sent), _digits(held)
    if not one or not other:
        return same_text(sent, held)
    if one == other:
        return True
    shorter, longer = sorted((one, other), key=len)
    return len(shorter) >= SHORTEST_NATIONAL and longer.endswith(shorter)


def same_link(sent: Any, held: Any) -> bool:
    """If one of them has no scheme, the other's scheme is ignored."""
    one, other = _text(sent), _text(held)
    if bool(_SCHEME.match(one)) != bool(_SCHEME.match(other)):
        one, other = _SCHEME.sub("", one, count=1), _SCHEME.sub("", other, count=1)
    return one == other


def same_address(sent: str, held: Iterable[str]) -> bool:
    """Whether a record is known by this address. held: folded."""
    return fold(sent) in held


def _text(value: Any) -> str:
    return plain_text(value).replace("\r\n", "\n").replace("\r", "\n").strip()


def _double(value: Any) -> float | None:
    if isinstance(value, bool):
        return float(value)
    try:
        return float(value) if isinstance(value, int | float) else float(str(value).strip()) if value is not None else None
    except (ValueError, OverflowError):
        return None


def _day(value: Any) -> str | None:
    text = _text(value)
    if _DAY.match(text):
        return text[:10]
    moment = _moment(value)
    return None if moment is None else moment.date().isoformat()


def _moment(value: Any) -> datetime | None:
    """Milliseconds since 1970, or ISO 8601 with T or a space."""
    text = _text(value)
    try:
        if _MILLISECONDS.fullmatch(text):
            return _EPOCH + timedelta(milliseconds=int(text))
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _options(value: Any, separator: str | None) -> frozenset[str]:
    if isinstance(value, list):
        parts = [_text(part) for part in value]
    else:
        parts = _text(value).split(separator) if separator else [_text(value)]
    return frozenset(part.strip() for part in parts) - {""}


def _as_numbers(options: Iterable[str]) -> frozenset[str | float]:
    return frozenset(option if (number := _double(option)) is None else number for option in options)


def _digits(value: Any) -> str:
    """Without a leading international prefix (00) or trunk prefix (0)."""
    return re.sub(r"\D", "", _text(value)).lstrip("0")
