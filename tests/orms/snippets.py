"""The manual's code, run as it stands there."""

from types import SimpleNamespace
from typing import Any


def run(source: str, /, **names: Any) -> SimpleNamespace:
    """What the source defines, given these names, which its page takes for granted."""
    names["__name__"] = __name__
    exec(compile(source, "docs", "exec"), names)
    return SimpleNamespace(**names)
