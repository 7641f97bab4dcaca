"""Requests and answers, formatted for people."""

import json

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from crm_sync.crm.answer import Answer
from crm_sync.crm.exchange import Shown
from crm_sync.errors import OutageError
from crm_sync.reports.http_report import MOST_LINES, answer_lines, harmless, pretty, request_lines

HEADERS = {"Accept": "application/json", "Authorization": "***"}


def answered(text: str, status: int = 200) -> Answer:
    return Answer(status, CIMultiDictProxy(CIMultiDict()), text, None)


@pytest.mark.parametrize("obeyed", ["\x1b[2J", "\r", "\x07", "\x7f", "\x9b31m", "\u202e", "\u2028", "\ud800"])
def test_a_terminal_is_told_nothing_that_it_obeys(obeyed):
    said = harmless(f"Ada{obeyed}\nLovelace")
    assert obeyed[0] not in said
    assert said.splitlines()[-1] == "Lovelace"


def test_json_stays_json_when_it_is_harmless():
    value = "Ada\x7f\u202e"
    assert json.loads(harmless(json.dumps({"name": value}, ensure_ascii=False))) == {"name": value}


def test_a_request_has_a_head_and_a_body():
    request = Shown("POST", "https://crm.example/v3", HEADERS, '{"email":"ada@example.com"}', login=False)
    assert list(request_lines(request)) == [
        "POST https://crm.example/v3",
        "  Accept: application/json",
        "  Authorization: ***",
        "",
        "  {",
        '    "email": "ada@example.com"',
        "  }",
    ]


def test_headers_are_told_once():
    request = Shown("GET", "https://crm.example/v3", {**HEADERS, "Idempotency-Key": "7"}, None, login=False)
    assert list(request_lines(request, HEADERS)) == [
        "GET https://crm.example/v3",
        "  Idempotency-Key: 7",
        "  (and the headers above)",
    ]


def test_what_is_no_json_stays_as_it_is():
    assert pretty("<html>") == "<html>"
    assert pretty("[" * 100_000) == "[" * 100_000


def test_a_long_answer_is_cut_and_says_so():
    lines = list(answer_lines(answered("line\n" * 1_000, 500)))
    assert lines[0] == "answered 500"
    assert lines[-1] == "  ... (truncated; 5,000 characters in all)"
    assert len(lines) == MOST_LINES + 2


@pytest.mark.parametrize(("status", "said"), [(200, "  (a token, not shown)"), (401, "  (not shown)")])
def test_the_answer_to_a_login_is_nobodys_business(status, said):
    assert list(answer_lines(answered('{"access_token": "secret"}', status), login=True)) == [f"answered {status}", said]


def test_no_answer_says_why():
    assert list(answer_lines(OutageError("TIMEOUT", "no answer"))) == ["no answer: TIMEOUT: no answer"]
