"""The values of a fake Mautic: which it takes, how it stores and compares them."""

import re
import unicodedata
from typing import Any

LONGEST_TEXT = 191

_TAKEN_OUT = re.compile(r"[^A-Za-z0-9!#$%&'*+\-=?^_`{|}~@.\[\]]")
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?\s*", re.IGNORECASE)


def cleaned(value: object) -> str:
    """An address as it is matched and stored."""
    return re.sub(r"\.{2,}", ".", _TAKEN_OUT.sub("", str(value)))[:254]


def collated(kind: str, value: Any) -> Any:
    """What is equal to the database: of texts, what differs only in case, accents and spaces at its end [utf8mb4_unicode_ci]."""
    if kind == "number":
        return float(value) if is_number(value) else value
    letters = unicodedata.normalize("NFKD", str(value))
    return "".join(one for one in letters if not unicodedata.combining(one)).casefold().rstrip(" ")


def problem_with(kind: str, value: object) -> str | None:
    if value in (None, ""):
        return None
    if kind == "email" and _EMAIL.fullmatch(cleaned(value)) is None:
        return f"{value} is invalid."
    if kind == "number" and not is_number(value):
        return "This value is not valid."
    if kind == "text" and len(str(value)) > LONGEST_TEXT:
        return f"This value is too long. It should have {LONGEST_TEXT} characters or less."
    return None


def stored_form(kind: str, value: Any) -> Any:
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return "|".join(map(str, value))
    if kind == "email":
        return cleaned(value)
    if isinstance(value, bool):
        return int(value)
    return float(value) if kind == "number" else str(value)


def is_number(value: object) -> bool:
    return _NUMBER.fullmatch(str(value)) is not None


def is_zero(value: object) -> bool:
    """What POST and PATCH take for empty: any number whose integer part is 0."""
    return value is not None and is_number(value) and abs(float(str(value))) < 1
