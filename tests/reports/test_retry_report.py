"""What `crm-sync retry` says about counts and results."""

import re
from dataclasses import replace

import pytest

from crm_sync.core.codes import NO_CODE, Code
from crm_sync.reports.layout import console
from crm_sync.reports.retry_report import beside, closing, counts, lacking
from crm_sync.table.failed_contacts import Failures
from crm_sync.table.short_flips import Flipped

REJECTED = Failures(Code.REJECTED, 1_204_567, 1_204_567, 0, 0, 0, ("REJECTED",), "REJECTED: HubSpot refused it")
LONG_CODE = "A-CODE-OF-ANOTHER-PROGRAM-39-CHARACTERS"
STORY = "a reason of many words that somebody wrote, " * 11


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def drawn(capsys, by_crm) -> str:
    console().print(counts(by_crm))
    return capsys.readouterr().out


def words(text: str) -> str:
    """Without the frame."""
    return " ".join(re.sub(r"[\u2500-\u257f]", " ", text).split())


def test_the_commonest_comes_first_and_completes_are_shown_where_there_are_any(capsys):
    some = replace(REJECTED, code=Code.TIMEOUT, in_error=3, waiting=4, sample="TIMEOUT: slow")
    assert words(drawn(capsys, {"hubspot": [some, REJECTED]})) == (
        "CRM code contacts in Error waiting "
        "hubspot REJECTED 2,409,134 1,204,567 1,204,567 hubspot TIMEOUT 7 3 4 "
        "hubspot REJECTED: HubSpot refused it hubspot TIMEOUT: slow"
    )
    assert "Complete hubspot TIMEOUT 12 3 4 5" in words(drawn(capsys, {"hubspot": [replace(some, complete=5)]}))


def test_nothing_is_no_table():
    assert counts({"brevo": [replace(REJECTED, in_error=0, waiting=0)], "n8n": []}) is None


def test_millions_fit_into_eighty_columns_and_nothing_is_cut(capsys):
    failures = [replace(REJECTED, code=LONG_CODE, complete=1_204_567, sample=f"{LONG_CODE}: {STORY}")]
    text = drawn(capsys, {"hubspot": failures})
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "3,613,701" in text
    assert LONG_CODE in "".join(line.split("│")[2].strip() for line in text.splitlines() if line.startswith("│"))
    assert f"hubspot {LONG_CODE}: {STORY.strip()}" in words(text)


def test_what_another_program_wrote_is_no_markup(capsys):
    assert "hubspot NO_CODE: [bold]see[/nothing] :smile:" in words(
        drawn(capsys, {"hubspot": [replace(REJECTED, code=NO_CODE, sample="[bold]see[/nothing] :smile:")]})
    )


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (Flipped(flipped=3), ["brevo: flipped 3 contacts."]),
        (
            Flipped(flipped=1),
            ["brevo: flipped 1 contact.", "  2 changed since the count (flipped, claimed or withdrawn): left as they are."],
        ),
        (
            Flipped(flipped=2, locked=[7]),
            [
                "brevo: flipped 2 contacts.",
                "  1 locked by another transaction throughout: run the same command again to flip it.",
            ],
        ),
        (
            Flipped(refused=[7, 8, 9], refusal="a constraint"),
            ["brevo: flipped 0 contacts.", "  3 refused by the contacts table itself, key 7, 8, 9: a constraint"],
        ),
    ],
)
def test_what_became_of_those_that_were_counted(done, said):
    assert closing("brevo", 3, done) == said


def test_why_a_code_has_no_contact():
    none = {"brevo": []}
    assert "stops the whole CRM" in lacking(none, Code.UNREACHABLE, in_rows=False, since=None)
    assert "only deleted contacts have it" in lacking(none, Code.CANNOT_DELETE, in_rows=False, since=None)
    assert lacking(none, Code.TIMEOUT, in_rows=False, since=None) == "TIMEOUT: no contact of brevo has it."
    assert "did not fail within 2h, are withdrawn, Complete or in flight" in lacking(none, "X", in_rows=True, since="2h")


def test_who_is_complete_with_a_code_is_told_of():
    partly, there = replace(REJECTED, code="FIELD_NOT_SENT", complete=1), replace(REJECTED, code="ALREADY_THERE", complete=2)
    assert beside({"brevo": [partly, there], "n8n": [REJECTED]}) == [
        "Not included: 1 contact of brevo delivered without a field; --code FIELD_NOT_SENT sends it again.",
        "Not included: 2 contacts of brevo that the CRM had already; --code ALREADY_THERE sends them again.",
    ]
