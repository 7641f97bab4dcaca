"""The documentation as text: the README and the pages of docs/."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted(ROOT.glob("docs/**/*.md"))
MANUAL = "".join(path.read_text() for path in PAGES)


def page(name: str) -> str:
    """The text of one page of docs/."""
    return (ROOT / "docs" / name).read_text()


def blocks(name: str, language: str = "python") -> list[str]:
    """The code of this language on one page, a text for each block."""
    return fenced(page(name), language)


def fenced(text: str, language: str) -> list[str]:
    """The code of this language in a text, a text for each block."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
