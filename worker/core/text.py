"""Foreign text made fit to be stored, logged and shown."""

import re
from collections.abc import Iterable

MAX_REASON_CHARACTERS = 500
MASK = "***"
SHORTEST_MASKED = 3  # shorter values would mask half of every sentence

# Control characters (Postgres refuses NUL), and lone surrogates, which are no text at all.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\s]+")
_EMAIL = re.compile(r"[^\s@<>\"'(),;:\[\]]+@[^\s@<>\"'(),;:\[\]]+")


def printable(text: str, longest: int) -> str:
    """One line without what Postgres refuses or a terminal obeys, of at most so many characters."""
    if text.isalnum() and len(text) <= longest:
        return text  # as most ids are
    return _UNPRINTABLE.sub(" ", text[: 4 * longest]).strip()[:longest]


def clean(text: str, hide: Iterable[object] = ()) -> str:
    """One line of at most MAX_REASON_CHARACTERS. hide: values of a contact, masked wherever they stand, as is any email."""
    # Cut first: what follows takes time with the square of the length, and a CRM may answer with megabytes.
    line = printable(text, 4 * MAX_REASON_CHARACTERS)
    values = {str(value).strip() for value in hide if value is not None}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= SHORTEST_MASKED:
            line = re.sub(re.escape(value), MASK, line, flags=re.IGNORECASE)
    line = _EMAIL.sub(MASK, line)
    return line if len(line) <= MAX_REASON_CHARACTERS else line[: MAX_REASON_CHARACTERS - 1] + "…"
