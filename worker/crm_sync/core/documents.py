"""JSON documents on their way to a CRM: as objects, with numbers that stay exact, and as texts."""

import json
from collections.abc import Iterator
from typing import Any

from crm_sync.core.numbers import exact, number_text
from crm_sync.errors import UnsendableError

DEEPEST = 200  # levels of a document; PHP reads 512, Python itself some hundreds


def document(text: str) -> Any:
    """What a JSON text says, with numbers that stay exact."""
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


def _depths(value: Any) -> Iterator[int]:
    """How deep each part lies."""
    open_ = [(value, 1)]
    while open_:
        part, depth = open_.pop()
        yield depth
        if isinstance(part, dict | list):
            open_ += [(one, depth + 1) for one in (part.values() if isinstance(part, dict) else part)]


def _refuse_half_characters(value: Any) -> None:
    """The type json, unlike jsonb, holds halves of a character, which are no UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UnsendableError("the JSON has half a character (a lone surrogate)") from None


def plain_text(value: Any) -> str:
    """Of one value of a JSON document or a list."""
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
    """A JSON object or array as Postgres writes it; of a single value its text. Empty for an empty array, and for null."""
    bare = text.strip()
    if bare[0] == "{" or (bare[0] == "[" and bare[1:-1].strip()):
        return bare
    value = json.loads(bare, parse_int=str, parse_float=str)
    return plain_text(value) if value != [] else ""
