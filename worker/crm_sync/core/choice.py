"""Which codes a person means, who may write them as he likes.

What rows really have comes first, be it ours or not: other programs have written into the same columns.
"""

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches

from crm_sync.core.codes import Code

NO_CODE = "NO_CODE"  # of reasons that begin with none, and of contacts in Error without any

_BETWEEN_WORDS = re.compile(r"[\s_-]+")


class UnknownCodeError(ValueError):
    """known: those that there are, and those that are like it first. near: how many these are."""

    def __init__(self, asked: str, known: Sequence[str], near: int) -> None:
        super().__init__(asked)
        self.asked, self.known, self.near = asked, known, near


def split(arguments: Sequence[str]) -> list[str]:
    """Codes with commas between them, or as they stand before their reason in a row."""
    parts = (part for argument in arguments for part in argument.partition(":")[0].split(","))
    return [part.strip() for part in parts if part.strip()]


def choose(asked: Sequence[str], present: Collection[str]) -> list[str]:
    """The codes that are meant, as the rows have them, else as crm-sync does; each once. Raises UnknownCodeError.

    present: codes of rows.
    """
    chosen: list[str] = []
    known = [*Code, NO_CODE]
    for name in asked:
        found = [code for code in present if _folded(code) == _folded(name)] or [
            str(code) for code in known if _folded(code) == _folded(name)
        ]
        if not found:
            raise _unknown(name, sorted({*map(str, known), *present}))
        chosen += found
    return list(dict.fromkeys(chosen))


def _unknown(name: str, known: Sequence[str]) -> UnknownCodeError:
    by_fold = {_folded(code): code for code in known}
    near = [by_fold[fold] for fold in get_close_matches(_folded(name), by_fold, n=3, cutoff=0.6)]
    return UnknownCodeError(name, [*near, *(code for code in known if code not in near)], len(near))


def _folded(code: str) -> str:
    return _BETWEEN_WORDS.sub("_", code.strip()).casefold()
