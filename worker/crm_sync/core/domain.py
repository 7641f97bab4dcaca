"""Domains in all scripts, in the form DNS uses, and invisible characters."""

import unicodedata
from functools import lru_cache

import idna

MOST_DOMAINS = 4096  # whose DNS form is cached

_JOINERS = "\u200c\u200d"  # needed in Indic scripts and Persian, where the rules of IDNA 2008 allow them
_INVISIBLE_KINDS = ("Cc", "Cf", "Zs", "Zl", "Zp")
# Format characters that are visible signs before a number.
_VISIBLE = frozenset(" \u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
# Not drawn, although they are letters or marks [Unicode, Default_Ignorable_Code_Point].
_IGNORED = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))


@lru_cache(maxsize=MOST_DOMAINS)
def ascii_domain(domain: str) -> str | None:
    """The DNS form: bücher.example becomes xn--bcher-kva.example. None if it cannot be a domain. ASCII is returned unchanged.

    Follows UTS 46 (non-transitional), as browsers do, and the rules of IDNA 2008.
    """
    if domain.isascii():
        return domain
    try:
        labels = idna.uts46_remap(domain, std3_rules=False, transitional=False).split(".")
        return ".".join(label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels)
    except (idna.IDNAError, UnicodeError):
        return None


@lru_cache(maxsize=MOST_DOMAINS)
def readable_domain(domain: str) -> str | None:
    """The form that people write: xn--bcher-kva.example becomes bücher.example. None if it has no other form."""
    labels = domain.split(".")
    if not any(label.startswith("xn--") for label in labels):
        return None
    try:
        return ".".join(idna.ulabel(label) if label.startswith("xn--") else label for label in labels)
    except (idna.IDNAError, UnicodeError):
        return None


def find_invisible(text: str) -> tuple[int, str] | None:
    """The first invisible character and its position, counted from 1. An ordinary space does not count."""
    return next(((place, one) for place, one in enumerate(text, 1) if _is_invisible(text, place - 1)), None)


def _is_invisible(text: str, at: int) -> bool:
    character = text[at]
    if character in _JOINERS:
        return not _joins(text, at)
    if character in _IGNORED or any(ord(character) in selectors for selectors in _SELECTORS):
        return True
    return unicodedata.category(character) in _INVISIBLE_KINDS and character not in _VISIBLE


def _joins(text: str, at: int) -> bool:
    try:
        return idna.valid_contextj(text, at)
    except (idna.IDNAError, ValueError):
        return False
