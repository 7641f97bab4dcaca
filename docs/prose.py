"""Checks the language of README and docs/, and of what --help says: `python -m docs.prose`.

Prose is wrapped at 100 columns. Words of docs/words.txt are not used: each line has one, `=`, and what to write instead.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from crm_sync.cli import COMMANDS, SECTIONS
from crm_sync.cli import crm_sync as program

DOCS = Path(__file__).parent
ROOT = DOCS.parent
COLUMNS = 100
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.glob("**/*.md"))]
_HIDDEN = re.compile(r"^(`{3,}).*?^\1|<!--.*?-->", re.MULTILINE | re.DOTALL)
_SHOWN_AS_IT_IS = re.compile(r"`[^`]*`|\]\([^)]*\)|https?://\S+")


def words(text: str) -> list[tuple[re.Pattern[str], str]]:
    """Each word that is not used, and what is used instead."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = [line.partition("=")[::2] for line in lines]
    return [(re.compile(rf"\b{word.strip()}\b", re.IGNORECASE), instead.strip()) for word, instead in pairs]


def prose(text: str) -> str:
    """The text with its blocks of code emptied, line by line as it was."""
    return _HIDDEN.sub(lambda hidden: "\n" * hidden[0].count("\n"), text)


def complaints(text: str, used: list[tuple[re.Pattern[str], str]]) -> Iterator[tuple[int, str]]:
    """The line, and what is wrong with it."""
    lines = prose(text).splitlines()
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS and not line.startswith("|") and " " in line.strip()[:COLUMNS]:
            yield number, f"longer than {COLUMNS} columns"
        sentence = _SHOWN_AS_IT_IS.sub("", line)
        for pattern, instead in used:
            if found := pattern.search(sentence):
                yield number, f"{found[0]!r}: write {instead}"


def helps() -> Iterator[tuple[str, str]]:
    """What --help says of each command, as it stands in the code."""
    context = click.Context(program)
    for name in COMMANDS:
        command = program.get_command(context, name)
        assert command is not None  # noqa: S101 (COMMANDS are those that there are)
        texts = [command.help or "", *(getattr(parameter, "help", None) or "" for parameter in command.params)]
        yield f"crm-sync {name} --help", "\n".join(texts)
    yield "crm-sync --help", "\n".join(summary for section in SECTIONS.values() for summary in section.values())


def main() -> int:
    used = words((DOCS / "words.txt").read_text(encoding="utf-8"))
    found = [
        f"{path.relative_to(ROOT)}:{number}: {wrong}"
        for path in PAGES
        for number, wrong in complaints(path.read_text(encoding="utf-8"), used)
    ]
    for place, text in helps():
        found += [f"{place}: {wrong}" for _, wrong in complaints(text, used) if not wrong.startswith("longer")]
    print("\n".join(found) if found else f"Prose: {len(PAGES)} pages and the help of {len(COMMANDS)} commands.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
