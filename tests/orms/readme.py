"""The README's own code, run as it stands there."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

README = Path(__file__).parents[2] / "README.md"


def blocks(heading: str) -> list[str]:
    """The Python in one section, a text for each block."""
    section = README.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def run(source: str, /, **names: Any) -> SimpleNamespace:
    """What the source defines, given these names, which the README takes for granted."""
    names["__name__"] = __name__
    exec(compile(source, "README.md", "exec"), names)  # noqa: S102 (our own README)
    return SimpleNamespace(**names)
