"""Which values a fake Brevo account accepts, and the form in which it compares and stores them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from crm_sync.sandbox.addresses import is_email
from crm_sync.sandbox.brevo.errors import invalid

AttributeKind = Literal["text", "float", "boolean", "date", "multiple-choice", "category"]
AttributeValue = str | float | bool | list[str]

_PHONES = frozenset({"SMS", "WHATSAPP", "LANDLINE_NUMBER"})
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")  # whether a time after it is accepted, or truncated, is not known
# 6 to 19 digits, with the country code first (Brevo's "accepted number formats"); no country code begins with 0.
_PHONE = re.compile(r"(?:\+|00)?([1-9][0-9]{5,18})")


def valid_email(value: Any) -> str:
    if not isinstance(value, str) or not (value.rpartition("@")[0].isascii() and is_email(value.lower())):
        raise invalid("Invalid email address")
    return value.lower()


def _phone(value: str) -> str:
    match = _PHONE.fullmatch(value)
    if match is None:
        raise invalid("Invalid phone number")
    return match[1]


def unique_value(name: str, value: str) -> str:
    """The form in which values are compared and stored."""
    if name == "email":
        return valid_email(value)
    return _phone(value) if name in _PHONES else value


def flag(body: dict[str, Any], name: str) -> bool | None:
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise invalid(f"{name} should be type boolean")
    return value


# Whether an attribute of this kind accepts the value.
FITS: Mapping[AttributeKind | None, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "date": lambda value: isinstance(value, str) and _DATE.fullmatch(value) is not None,
    "multiple-choice": lambda value: isinstance(value, list) and all(isinstance(choice, str) for choice in value),
    "category": lambda value: isinstance(value, int | str) and not isinstance(value, bool),
}
