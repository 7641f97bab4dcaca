"""Foreign text made fit to be stored, logged and shown."""

import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MAX_REASON_CHARACTERS = 500
MASK = "***"
SHORTEST_MASKED = 3  # shorter values would mask half of every sentence

# Control characters (Postgres refuses NUL), and lone surrogates, which are no text at all.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\s]+")
_EMAIL = re.compile(r"[^\s@<>\"'(),;:\[\]]+(?:@|%40)[^\s@<>\"'(),;:\[\]]+")
_PHONE = re.compile(r"[\d\s().+/-]+")
SHORTEST_PHONE = 7  # digits: fewer are a house number or a year


def printable(text: str, longest: int) -> str:
    """One line without what Postgres refuses or a terminal obeys, of at most so many characters."""
    if text.isalnum() and len(text) <= longest:
        return text  # as most ids are
    return _UNPRINTABLE.sub(" ", text[: 4 * longest]).strip()[:longest]


def name_of(key: object) -> str:
    """A contact's primary key, as a log may have it: one with an address in it by the beginning of its SHA-256."""
    name = str(key)
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()[:16]}" if _EMAIL.search(name) else name


def clean(text: str, hide: Iterable[object] = ()) -> str:
    """One line of at most MAX_REASON_CHARACTERS. hide: values of a contact, masked wherever they stand, as is any email."""
    # Cut first: what follows takes time with the square of the length, and a CRM may answer with megabytes.
    line = printable(text, 4 * MAX_REASON_CHARACTERS)
    values = {form for value in hide if value is not None for form in _forms(str(value).strip())}
    for value in sorted(values, key=len, reverse=True):
        line = re.sub(value, MASK, line, flags=re.IGNORECASE)
    line = _EMAIL.sub(MASK, line)
    return line if len(line) <= MAX_REASON_CHARACTERS else line[: MAX_REASON_CHARACTERS - 1] + "…"


def _forms(value: str) -> Iterator[str]:
    """Patterns of a value as those write it who quote it: plain, in JSON, in a URL, on a page; a phone number in any spelling."""
    if len(value) < SHORTEST_MASKED:
        return
    quoted = (value, json.dumps(value)[1:-1], quote(value, safe="", errors="replace"), quote_plus(value, errors="replace"))
    for form in (*quoted, html.escape(value)):
        yield re.escape(form)
    digits = re.sub(r"\D", "", value)
    if len(digits) >= SHORTEST_PHONE and _PHONE.fullmatch(value):
        yield r"\+?" + r"[\s().+/-]*".join(digits)
