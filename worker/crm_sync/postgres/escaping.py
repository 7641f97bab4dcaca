"""Texts for a database that is not in UTF8: a character that it cannot store is written as its code point, → as <U+2192>.

Otherwise the server refuses the statement. What a CRM says about a contact would be lost with the arrow or the apostrophe in it,
and the contact would be reported as one that the table refuses. A backslash would not do, because the text may be JSON.
"""

import codecs
import re
from typing import Any

_TAKE_ALL = ("UTF8", "SQL_ASCII")
_NAMES = ((r"WIN(\d+)", r"cp\1"), (r"KOI8([RU])", r"koi8_\1"))  # where Python has another name for it
_HANDLER = "crm_sync.code_point"


def _code_points(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(f"<U+{ord(one):04X}>" for one in error.object[error.start : error.end]), error.end


codecs.register_error(_HANDLER, _code_points)


def storable_in(encoding: str) -> str | None:
    """Python's name of the server's encoding; None where nothing is to be escaped, or Python has no such encoding."""
    if encoding in _TAKE_ALL:
        return None
    for pattern, name in _NAMES:
        encoding = re.sub(pattern, name, encoding)
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        return None


def escaped(value: Any, name: str) -> Any:
    """A parameter of a statement, an array too. name: of storable_in."""
    if isinstance(value, str):
        return value.encode(name, _HANDLER).decode(name)
    if isinstance(value, list | tuple):
        return [escaped(one, name) for one in value]
    return value
