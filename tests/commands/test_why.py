"""crm-sync why: the state of one contact, in a sentence for each CRM.

The situations in the manual are printed as they are brought about. After a change they are written again by: WRITE_MANUAL=1
.venv/bin/pytest tests/commands/test_why.py -k manual
"""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner

from crm_sync.cli import crm_sync
from tests.commands.situations import ADDRESS, KEY, SITUATIONS, Situation, Stage
from tests.manual import ROOT
from tests.roles import as_worker

PAGE = ROOT / "docs" / "reference" / "why.md"
BEGIN, END = "<!-- situations -->\n", "<!-- end of situations -->\n"


def why(url: str, *arguments: str, code: int | None = 0, **settings: str) -> str:
    """In a thread, because a command runs its own event loop."""
    with ThreadPoolExecutor(1) as thread:
        env = {"DATABASE_URL": url, "COLUMNS": "100", **settings}
        answer = thread.submit(CliRunner().invoke, crm_sync, ["why", *arguments], env=env).result()
    assert code is None or answer.exit_code == code, (answer.output, answer.exception)
    return answer.output


def verdicts(url: str, *arguments: str, **settings: str) -> list[dict[str, Any]]:
    """For brevo, one for each contact."""
    told = json.loads(why(url, *arguments, "--crm", "brevo", "--json", **settings))
    return [verdict for contact in told["contacts"] for verdict in contact["verdicts"]]


@pytest.fixture
def stage(app: asyncpg.Connection, other_app: asyncpg.Connection, url: str, tmp_path: Any) -> Stage:
    return Stage(app, other_app, url, tmp_path)


@pytest.mark.parametrize("its", SITUATIONS, ids=lambda its: its.name)
async def test_each_situation_is_told_apart_by_a_worker_s_role(stage: Stage, its: Situation):
    async with its.bring(stage) as key:
        [told] = verdicts(as_worker(stage.url), "--key", key)
        printed = why(stage.url, "--key", key, "--crm", "brevo")
    assert (told["verdict"], told["because"]) == (its.verdict, its.because), told
    assert re.search(its.sentence, told["sentence"]), told["sentence"]
    assert " ".join(f"brevo: {told['sentence']}".split())[:25] in " ".join(printed.split())
    assert ADDRESS not in json.dumps(told)


# The manual.


def as_printed(text: str) -> str:
    """With the parts that vary replaced."""
    for pattern, instead in (
        (r"\bon \d\d? \w{3} \d\d:\d\d(?!:)", "at 12:03:10"),  # another day, around midnight
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.?\d*", "2026-11-24 12:03:10"),
        (r"\d\d:\d\d:\d\d(?!\d)", "12:03:10"),
        (r"(?<= at )(?:\w{3} )?\d\d:\d\d(?!:)", "Wed 12:12"),
        (r"\(\d+ s ago\)", "(4 s ago)"),
        (r"\(in \d[^)]*\)", "(in 5 min)"),
        (r"probe in \d+ (?:s|min)", "probe in 30 s"),
        (r"\b\d+ ms", "31 ms"),
        (r"(?m)^(  attempt  .*\n)\1+", r"\1"),  # probes, as many as there were by then
        (r"pid \d+", "pid 4242"),
        (r"process \d+ on [\w.-]+", "process 812 on app-1"),
        (r"(?<=12:03:10 )\(\d+(\s)s\)", r"(4\1s)"),
        (r"\b\d{10,}\b", "4294967297"),
        (r"(?:3\d\d|2\d\d)(?= (?:others are )?before it)", "299"),
        (r"\(\d+\.\d/s\) its turn comes in about \d+ s", "(9.9/s) its turn comes in about 30 s"),
        (r"\d+ delivered in the last minute", "0 delivered in the last minute"),
        (r"contact [0-9a-f-]{36}", f"contact {KEY.format(1)}"),
        (r"--key [0-9a-f-]{36}", f"--key {KEY.format(1)}"),
    ):
        text = re.sub(pattern, instead, " ".join(text.split(" ")))
    return text


MANUAL = [its for its in SITUATIONS if its.in_manual]


def test_the_manual_has_as_many_situations_as_are_common():
    assert len(MANUAL) >= 12
    assert re.findall(r"^## (.*)$", _situations(), re.MULTILINE) == [its.in_manual for its in MANUAL]


@pytest.mark.usefixtures("utc")
@pytest.mark.parametrize("its", MANUAL, ids=lambda its: its.name)
async def test_a_situation_of_the_manual_is_printed_so(stage: Stage, its: Situation):
    async with its.bring(stage) as key:
        printed = why(stage.url, "--key", key, "--crm", "brevo", BREVO_API_KEY="a-key")
    now = as_printed(printed).strip()
    if os.environ.get("WRITE_MANUAL"):
        _write(its, now)
    assert _sections()[its.in_manual] == now


def _situations() -> str:
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0]


def _sections() -> dict[str | None, str]:
    return dict(re.findall(r"^## (.*?)\n\n```text\n(.*?)\n```$", _situations(), re.MULTILINE | re.DOTALL))


def _write(its: Situation, text: str) -> None:
    sections = _sections() | {its.in_manual: text}
    written = "\n".join(f"## {one.in_manual}\n\n```text\n{sections.get(one.in_manual, '')}\n```\n" for one in MANUAL)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{written}\n{END}{rest.partition(END)[2]}")
