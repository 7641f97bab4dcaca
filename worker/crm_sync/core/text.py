"""Makes foreign text safe to store, log and show."""

import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MAX_REASON_CHARACTERS = 500
LONGEST_LINE = 4 * MAX_REASON_CHARACTERS  # of a foreign text, before it is cleaned
MASK = "***"
SHORTEST_MASKED = 3  # shorter values would mask half of every sentence

# Invisible characters, and those that change the direction of text: directional marks and overrides, zero-width spaces, tags.
# Joiners in scripts and emoji, and the soft hyphen, are kept.
INVISIBLE = (
    r"\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
# Control characters (Postgres refuses NUL), and lone surrogates, which are not valid text.
_UNPRINTABLE = re.compile(rf"[\x00-\x1f\x7f-\x9f\ud800-\udfff\s{INVISIBLE}]+")
EMAIL = re.compile(r"[^\s@<>\"'(),;:\[\]]+(?:@|%40)[^\s@<>\"'(),;:\[\]]+")
_PHONE = re.compile(r"[\d\s().+/-]+")
_TRUNK = re.compile(r"\(\s*0\s*\)")
SHORTEST_PHONE = 7  # digits: fewer are a house number or a year


def printable(text: str, longest: int) -> str:
    """One line of at most this many characters, without anything that Postgres refuses or a terminal interprets."""
    if text.isalnum() and len(text) <= longest:
        return text  # true of most ids
    return _UNPRINTABLE.sub(" ", text[: 4 * longest]).strip()[:longest]


def name_of(key: object) -> str:
    """A contact's primary key for logs: one that contains an address is replaced by the start of its SHA-256."""
    name = str(key)
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()[:16]}" if EMAIL.search(name) else name


def clean(text: str, hide: Iterable[object] = ()) -> str:
    """One line of at most MAX_REASON_CHARACTERS. hide: values of a contact, masked wherever they occur, as is any email address.

    Only as much of the text and of each value is examined as the line can hold.
    """
    # Truncated first: what follows takes time proportional to the square of the length, and a CRM may answer with megabytes.
    line = printable(text, LONGEST_LINE)
    line = EMAIL.sub(MASK, _masked(line, hide))
    return line if len(line) <= MAX_REASON_CHARACTERS else line[: MAX_REASON_CHARACTERS - 1] + "…"


def _masked(line: str, hide: Iterable[object]) -> str:
    spans: list[tuple[int, int]] = []
    folded = _folded(line)
    for value in hide:
        if value is None:
            continue
        beginning = str(value).strip()[:LONGEST_LINE]  # anything after this cannot be in the line
        if len(beginning) >= SHORTEST_MASKED:
            spans += _places(folded, beginning)
    masked, start = [], 0
    for first, end in sorted(spans):
        if end > start:
            masked += [line[start:first], MASK] if first >= start else []
            start = end
    return "".join([*masked, line[start:]])


def _places(line: str, value: str) -> Iterator[tuple[int, int]]:
    """Where a value occurs, in the forms in which programs quote it: plain, in JSON, in a URL, in HTML; a phone number in any
    format.

    At the end of the line, which may be truncated, the beginning of the value counts too.
    """
    in_json = (json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))
    in_urls = (quote(value, safe="", errors="replace"), quote_plus(value, errors="replace"))
    for form in {_folded(printable(form, LONGEST_LINE)) for form in (value, *in_json, *in_urls, html.escape(value))}:
        found = line.find(form[:SHORTEST_MASKED])
        while found >= 0:
            end = min(found + len(form), len(line))
            if line[found:end] == form[: end - found]:
                yield found, end
            found = line.find(form[:SHORTEST_MASKED], found + 1)
    if _PHONE.fullmatch(value):
        yield from _numbers(line, value)


def _numbers(line: str, value: str) -> Iterator[tuple[int, int]]:
    """A phone number: also as CRMs write it, without its prefix 00 and without a 0 in brackets."""
    for digits in {_digits(value), _digits(_TRUNK.sub("", value)).lstrip("0")}:
        if len(digits) >= SHORTEST_PHONE and digits in _digits(line):
            for match in re.finditer(r"\+?" + r"[\s().+/-]*".join(digits), line):
                yield match.span()


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _folded(text: str) -> str:
    """In lower case, each letter in its place."""
    small = text.lower()
    return small if len(small) == len(text) else "".join(min(letter.lower(), letter, key=len) for letter in text)
