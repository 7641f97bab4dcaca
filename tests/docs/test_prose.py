"""The language check finds what it should, and ignores code."""

import click
import pytest

from docs import prose
from docs.generate import codes, events
from docs.generate.sql import columns_of

USED = prose.words("# a comment\nanew = again\nis no (?:TOML|JSON) = is not valid\n")


@pytest.mark.parametrize("line", ["It is built anew.", "Anew!", "This is no TOML."])
def test_a_word_of_the_list_is_found(line):
    [(number, wrong)] = prose.complaints(f"# Title\n\n{line}\n", USED)
    assert number == 3
    assert "write" in wrong


@pytest.mark.parametrize(
    "text",
    [
        "It is built again.",
        "Renewal is no problem.",
        "`anew` is a name",
        "```sh\nanew\n```",
        "[a page](anew.md)",
        "<!-- anew -->",
        "See https://example.com/anew.",
        "| a row of a table may be as long as it likes, and this one is longer than a hundred columns, as you see |",
    ],
)
def test_code_links_and_comments_are_left_alone(text):
    assert [*prose.complaints(text, USED)] == []


def test_a_long_line_is_found_but_not_a_long_word():
    assert [wrong for _, wrong in prose.complaints("word " * 21, USED)] == ["longer than 100 columns"]
    assert [*prose.complaints("https://example.com/" + "a" * 100, USED)] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "beside = 1  # made anew"),
        ("a.py", 'def made():\n    """Made anew."""'),
        ("a.py", "raise ValueError(f'{crm}: made anew')"),
        ("a.sql", "-- Made anew.\nSELECT 1"),
        ("a.html", "<p>Made anew.</p>"),
    ],
)
def test_a_source_is_read_where_it_speaks_to_people(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    [wrong] = [wrong for _, line in prose.said(path) for wrong in prose.unwanted(line, USED)]
    assert wrong == "'anew': write again"


@pytest.mark.parametrize(("name", "text"), [("a.py", "anew = begin(anew=True)"), ("a.sql", "SELECT anew FROM contacts")])
def test_names_in_a_source_are_left_alone(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert [wrong for _, line in prose.said(path) for wrong in prose.unwanted(line, USED)] == []


def test_all_packages_and_queries_are_read():
    read = {str(path.relative_to(prose.ROOT)) for path in prose.SOURCES}
    assert {"worker/crm_sync/daemon/daemon.py", "sql/queries/table/claim_contacts.sql", "deploy/prometheus/rules.yml"} <= read
    assert "worker/crm_sync/console/templates/contact.html" in read


def test_the_help_of_every_command_is_read():
    places = dict(prose.helps())
    assert len(places) > 25
    assert "SIGTERM" in places["crm-sync run --help"]


def test_the_list_has_a_replacement_for_each_word():
    assert all(instead for _, instead in prose.words((prose.DOCS / "words.txt").read_text()))


def test_a_code_without_an_explanation_is_named(monkeypatch):
    monkeypatch.setattr(codes.tomllib, "loads", lambda _: {})
    with pytest.raises(ValueError, match=r"needs \[TIMEOUT\]"):
        codes.explained(codes.Code.TIMEOUT)


def test_an_event_without_an_explanation_is_named(monkeypatch):
    monkeypatch.setattr(events.tomllib, "loads", lambda _: {})
    with pytest.raises(ValueError, match=r"lacks: .*worker_started"):
        events.event_table()


def test_a_view_that_is_gone_is_named():
    with pytest.raises(ValueError, match=r"no table or view crm_sync\.nothing_like_it"):
        columns_of("nothing_like_it")


def test_every_command_has_help():
    assert all(text.strip() for _, text in prose.helps())
    assert isinstance(prose.program, click.Group)
