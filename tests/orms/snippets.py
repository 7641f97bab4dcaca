"""The manual's code, run verbatim."""

from types import SimpleNamespace
from typing import Any


def run(source: str, /, **names: Any) -> SimpleNamespace:
    """The names that the source defines, given these names, which its page assumes."""
    names["__name__"] = __name__
    exec(compile(source, "docs", "exec"), names)  # noqa: S102 (our own manual)
    return SimpleNamespace(**names)
