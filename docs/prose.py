"""Checks the language of README, docs/, --help and the sources: `python -m docs.prose`.

Prose is wrapped at 100 columns. Words in docs/words.txt must not be used: each line has one, `=`, and what to write instead. In
the sources, comments, docstrings and messages are checked.
"""

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import click

from crm_sync.cli import COMMANDS, SECTIONS
from crm_sync.cli import crm_sync as program

DOCS = Path(__file__).parent
ROOT = DOCS.parent
COLUMNS = 100
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.glob("**/*.md"))]
WIDE_PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
SOURCES = [
    *sorted(ROOT.glob("worker/**/*.py")),
    *sorted(ROOT.glob("worker/**/*.html")),
    *sorted(ROOT.glob("sql/queries/**/*.sql")),
    *sorted(ROOT.glob("deploy/**/*.yml")),
    *sorted(ROOT.glob("docs/generate/*.toml")),
]
Words = list[tuple[re.Pattern[str], str]]

_HIDDEN = re.compile(r"^(`{3,}).*?^\1|<!--.*?-->", re.MULTILINE | re.DOTALL)
_SHOWN_AS_IT_IS = re.compile(r"`[^`]*`|\]\([^)]*\)|https?://\S+")
_SPOKEN = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}  # the last since Python 3.12


def words(text: str) -> Words:
    """The unwanted words, each with its replacement."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = [line.partition("=")[::2] for line in lines]
    return [(re.compile(rf"\b{word.strip()}\b", re.IGNORECASE), instead.strip()) for word, instead in pairs]


def prose(text: str) -> str:
    """The text with its code blocks emptied, keeping the line numbers."""
    return _HIDDEN.sub(lambda hidden: "\n" * hidden[0].count("\n"), text)


def complaints(text: str, used: Words, columns: int = COLUMNS) -> Iterator[tuple[int, str]]:
    """Line numbers, and what is wrong there."""
    lines = prose(text).splitlines()
    for number, line in enumerate(lines, 1):
        if len(line) > columns and not line.startswith("|") and " " in line.strip()[:columns]:
            yield number, f"longer than {columns} columns"
        for wrong in unwanted(line, used):
            yield number, wrong


def unwanted(line: str, used: Words) -> Iterator[str]:
    """The unwanted words in a line, each with its replacement."""
    sentence = _SHOWN_AS_IT_IS.sub("", line)
    for pattern, instead in used:
        if found := pattern.search(sentence):
            yield f"{found[0]!r}: write {instead}"


def said(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a source that are meant for people: all of a template or a document, otherwise comments, docstrings and
    messages.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in _SPOKEN:
                yield from enumerate(token.string.splitlines(), token.start[0])
    else:
        for number, line in enumerate(text.splitlines(), 1):
            yield number, line.partition("--")[2] if path.suffix == ".sql" else line


def helps() -> Iterator[tuple[str, str]]:
    """The --help of each command, as written in the code."""
    context = click.Context(program)
    for name in COMMANDS:
        command = program.get_command(context, name)
        assert command is not None  # noqa: S101 (COMMANDS are the existing ones)
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
    for path in WIDE_PAGES:
        for number, wrong in complaints(path.read_text(encoding="utf-8"), used, columns=sys.maxsize):
            found.append(f"{path.relative_to(ROOT)}:{number}: {wrong}")
    for place, text in helps():
        found += [f"{place}: {wrong}" for _, wrong in complaints(text, used, columns=sys.maxsize)]
    for path in SOURCES:
        for number, line in said(path):
            found += [f"{path.relative_to(ROOT)}:{number}: {wrong}" for wrong in unwanted(line, used)]
    pages = len(PAGES) + len(WIDE_PAGES)
    print("\n".join(found) if found else f"Prose: {pages} pages, the help of {len(COMMANDS)} commands, {len(SOURCES)} sources.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
