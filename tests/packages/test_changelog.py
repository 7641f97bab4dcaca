"""The changelog has the format that people and tools expect: https://keepachangelog.com."""

import re
from datetime import date

from crm_sync import __version__
from tests.packages.built import ROOT

TEXT = (ROOT / "CHANGELOG.md").read_text()
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
VERSIONS = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", TEXT, re.MULTILINE)


def test_what_is_not_released_yet_comes_first_and_then_every_version_with_its_day_the_newest_first():
    headings = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    assert headings == ["[Unreleased]", *(f"[{version}] - {day}" for version, day in VERSIONS)]
    numbers = [[*map(int, version.split("."))] for version, _ in VERSIONS]
    assert numbers == sorted(numbers, reverse=True)
    days = [date.fromisoformat(day) for _, day in VERSIONS]
    assert days == sorted(days, reverse=True)


def test_it_has_the_version_of_the_package():
    assert __version__ in dict(VERSIONS)


def test_changes_are_of_the_six_kinds():
    assert {*re.findall(r"^### (.*)$", TEXT, re.MULTILINE)} <= KINDS


def test_every_heading_leads_somewhere():
    for version in ("Unreleased", *dict(VERSIONS)):
        assert re.search(rf"^\[{re.escape(version)}\]: https://\S+$", TEXT, re.MULTILINE)


def test_the_first_release_is_one_paragraph():
    _, _, first = TEXT.partition("## [0.1.0] - ")
    assert len(re.split(r"\n\n", first.partition("\n\n")[2].partition("\n\n[")[0].strip())) == 1
