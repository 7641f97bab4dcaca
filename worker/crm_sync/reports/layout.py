"""The layout of output for people: tables, labelled lines and sentences, in the width of the terminal.

If the output is not a terminal, it has 80 columns, or those of COLUMNS, and no colours; nothing is truncated.
"""

import shutil
import sys
import textwrap

from rich.console import Console
from rich.table import Column

NARROWEST, WIDEST = 40, 100  # columns of prose
LABEL = 9


def console() -> Console:
    """For tables. A string is printed literally: neither markup nor emoji."""
    width = None if sys.stdout.isatty() else shutil.get_terminal_size().columns
    return Console(width=width, markup=False, emoji=False, highlight=False)


def name(heading: str) -> Column:
    """A column that is never wrapped."""
    return Column(heading, no_wrap=True)


def number(heading: str) -> Column:
    return Column(heading, justify="right", no_wrap=True)


def prose(heading: str) -> Column:
    """A column of text of any length, wrapped to as many lines as needed."""
    return Column(heading, overflow="fold")


def wrapped(text: str, *, first: str = "", further: str | None = None) -> str:
    """A paragraph. Words longer than a line, such as keys, URLs and commands, are never broken.

    first, further: prefixes of its lines; without further, they are aligned with the first word.
    """
    below = " " * (len(text) - len(text.lstrip())) if further is None else further
    return textwrap.fill(
        text, width(), initial_indent=first, subsequent_indent=below, break_long_words=False, break_on_hyphens=False
    )


def labelled(label: str, text: str, *, indent: int = 2, label_width: int = LABEL) -> str:
    """A paragraph next to its label. indent, label_width: columns before the label, and of the label."""
    first = f"{' ' * indent}{label:<{label_width}}"
    return wrapped(text, first=first, further=" " * len(first)) or first.rstrip()


def shortened(text: str, most: int) -> str:
    """At most this many characters on a terminal; complete elsewhere."""
    return text if not sys.stdout.isatty() or len(text) <= most else f"{text[: most - 1]}…"


def width() -> int:
    """Columns of prose."""
    return max(NARROWEST, min(WIDEST, console().width))
