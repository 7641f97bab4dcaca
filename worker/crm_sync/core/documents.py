"""JSON documents on their way to a CRM: as objects, with exact numbers, and as text."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from crm_sync.core.numbers import exact, number_text, plain_digits
from crm_sync.errors import UnsendableError

# Whitespace around a value, and the characters that only an object or an array begins with [RFC 8259, 2].
_BLANK = " \t\n\r"
_OPENING = ("{", "[")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # not behind a backslash that is escaped itself
DEEPEST = 200  # nesting levels of a document; PHP reads 512, Python itself a few hundred


class Number(NamedTuple):
    """A number in JSON, as Postgres writes a numeric."""

    text: str


def single(text: str) -> bool | Number | str | None:
    """The value of a JSON text that is a string, number or boolean; None for an object, an array or null."""
    bare = text.strip(_BLANK)
    if bare.startswith(_OPENING):
        return None
    value: bool | Number | str | None = json.loads(bare, parse_int=_number, parse_float=_number)
    if isinstance(value, str) and "\\u" in text:
        _refuse_half_characters(value)
    return value


def _number(text: str) -> Number:
    return Number(plain_digits(text))


def document(text: str) -> Any:
    """The value of a JSON text, with exact numbers."""
    try:
        value = json.loads(text, parse_int=exact, parse_float=exact)
        depth = max(_depths(value))
    except RecursionError:
        depth = DEEPEST + 1
    if depth > DEEPEST:
        raise UnsendableError(f"the JSON is nested more than {DEEPEST} levels deep")
    if "\\u" in text:
        _refuse_half_characters(value)
    return value


def has_nul(text: str) -> bool:
    """Whether a text in this JSON has a NUL character, which is only written as an escape."""
    return _NUL.search(text) is not None


def _depths(value: Any) -> Iterator[int]:
    """The depth of each part."""
    open_ = [(value, 1)]
    while open_:
        part, depth = open_.pop()
        yield depth
        if isinstance(part, dict | list):
            open_ += [(one, depth + 1) for one in (part.values() if isinstance(part, dict) else part)]


def _refuse_half_characters(value: Any) -> None:
    """The type json, unlike jsonb, accepts lone surrogates, which are not valid UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UnsendableError("the JSON has a lone surrogate (half a character)") from None


def plain_text(value: Any) -> str:
    """The text of one value in a JSON document or list."""
    match value:
        case None:
            return ""
        case str():
            return value.strip()
        case bool():
            return "true" if value else "false"
        case float():
            return number_text(value)
        case list() | dict():
            return json.dumps(value, ensure_ascii=False, allow_nan=False)
    return str(value)


def document_text(text: str) -> str:
    """A JSON object or array as Postgres writes it. Empty for an empty array and for null."""
    bare = text.strip(_BLANK)
    return "" if bare == "null" or (bare.startswith("[") and not bare[1:-1].strip(_BLANK)) else bare
