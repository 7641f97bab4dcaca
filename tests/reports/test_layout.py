"""The layout of output for people, on a terminal and elsewhere."""

import io
import sys

import pytest
from rich.table import Table
from rich.text import Text

from crm_sync.reports.layout import WIDEST, console, labelled, name, number, prose, shortened, width, wrapped

KEY = "0123456789" * 10
SENTENCE = "a sentence of many words that is longer than any line of a terminal that people use, and then some more of it"


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at_a_terminal(monkeypatch) -> Terminal:
    """Called by the test itself: pytest gives each phase of a test its own standard output."""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", terminal)
    return terminal


def test_a_sentence_is_wrapped_below_its_first_word():
    assert wrapped(f"  {SENTENCE}").splitlines() == [
        "  a sentence of many words that is longer than any line of a terminal that",
        "  people use, and then some more of it",
    ]


def test_what_follows_the_first_line_may_stand_further_in():
    assert wrapped(SENTENCE, further="    ").splitlines()[1] == "    use, and then some more of it"


def test_a_label_has_its_text_beside_it():
    assert labelled("state", SENTENCE).splitlines() == [
        "  state    a sentence of many words that is longer than any line of a terminal",
        "           that people use, and then some more of it",
    ]


def test_a_label_without_a_text_stays():
    assert labelled("brevo_due_at", "", indent=4, label_width=20) == "    brevo_due_at"


def test_no_key_is_broken():
    assert labelled("row", f"{KEY} and more").splitlines() == [f"  row      {KEY}", "           and more"]


@pytest.mark.parametrize(("columns", "expected"), [("80", 80), ("1", 40), ("500", WIDEST)])
def test_prose_is_as_wide_as_the_terminal_but_stays_readable(monkeypatch, columns, expected):
    monkeypatch.setenv("COLUMNS", columns)
    assert width() == expected


def test_a_terminal_gets_what_fits(monkeypatch):
    at_a_terminal(monkeypatch)
    assert shortened(SENTENCE, 20) == "a sentence of many …"
    assert shortened("short", 20) == "short"


def test_elsewhere_nothing_is_cut():
    assert shortened(SENTENCE, 20) == SENTENCE


def drawn() -> Table:
    table = Table(name("CRM"), number("contacts"), prose("failed, for example"))
    table.add_row("brevo", "1,234", f"REJECTED: [bold]{KEY}[/nothing] :smile:", style="red")
    return table


def test_a_table_elsewhere_has_no_colours_and_every_character(capsys):
    console().print(drawn())
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "".join(line.split("│")[3].strip() for line in text.splitlines() if line.startswith("│")) == (
        f"REJECTED:[bold]{KEY}[/nothing] :smile:"
    )
    assert {len(line) for line in text.splitlines()} == {80}


def test_a_terminal_has_colours(monkeypatch):
    terminal = at_a_terminal(monkeypatch)
    console().print(Text("down", style="red"))
    assert terminal.getvalue() == "\x1b[31mdown\x1b[0m\n"
