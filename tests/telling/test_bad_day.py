"""A bad day of one CRM, with all waits shortened: the messages, and their order. `-s` prints the timeline.

docs/reference/bad-day.md shows it: `WRITE_MANUAL=1 .venv/bin/pytest tests/telling/test_bad_day.py` writes that page again.
"""

import os
import re
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from crm_sync.core.outcome import Outcome
from tests.harness import ScriptedCrm, until
from tests.roles import WORKER
from tests.telling.test_alert_conditions import QUICK, alerting, down, refusing, well
from tests.tiers import slow

ALL_DONE = "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts"
PAGE = Path(__file__).parents[2] / "docs/reference/bad-day.md"
BEGIN, END = "<!-- timeline -->", "<!-- end -->"
# A heading, or the first sentence of a message. The rest has counts and times in it.
_HEAD = re.compile(r"^(?:## .*|(?:over: )?[A-Z_]{5,}(?:: [^.]+)?)", re.MULTILINE)


def flip(prefix: str, count: int) -> str:
    return (
        "INSERT INTO contacts (email, brevo_sync_status) "
        f"SELECT '{prefix}' || n || '@x.org', 'Queued' FROM generate_series(1, {count}) AS n"
    )


class Timeline:
    """The sections of the page: what happens, and then the messages about it."""

    def __init__(self, messages) -> None:
        self._messages = messages
        self._sections: list[tuple[str, Sequence[str]]] = []
        self._told = 0

    def end(self, title: str, *, ordered: bool = True) -> None:
        """About what has happened since the last. ordered: the order of the messages is determined by the cause; otherwise it is
        by chance.
        """
        bodies = self._messages()[self._told :]
        self._told += len(bodies)
        lines = [
            str(body["text"]).removeprefix(f"crm-sync ({body['database']}): ").replace(WORKER, "crm_worker") for body in bodies
        ]
        self._sections.append((title, lines if ordered else sorted(lines)))

    def page(self) -> str:
        return "\n".join(_section(title, lines) for title, lines in self._sections)


def _section(title: str, lines: Sequence[str]) -> str:
    told = (textwrap.fill(line, 96, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False) for line in lines)
    return f"## {title}\n\n" + "\n".join(f"```text\n{line}\n```\n" for line in told)


def _heads(page: str) -> Sequence[str]:
    return _HEAD.findall(page.replace("\n    ", " "))


@pytest.fixture
def crm() -> ScriptedCrm:
    return ScriptedCrm()


@slow
async def test_a_bad_day_is_told_cause_by_cause_and_each_once(app, url, crm, webhook):
    day = Timeline(webhook.messages)
    async with alerting(url, crm, replace(QUICK, silence_s=3600.0, oldest_waiting_s=1.0, alert_hold_s=1.5)):
        crm.answer = down
        await app.execute(flip("campaign", 30))
        await webhook.message("LANE_DOWN")
        crm.answer = well
        await webhook.message("LANE_DOWN", "over")
        await until(app, ALL_DONE)
        day.end("09:00, the CRM is down while a campaign is flipped, and comes back")

        crm.answer = refusing
        await app.execute(flip("signup", 5))
        await webhook.message("CREDENTIALS_REFUSED")
        crm.answer = well
        await webhook.message("CREDENTIALS_REFUSED", "over")
        await until(app, ALL_DONE)
        day.end("11:00, a key was rotated, and the worker was not told")

        await app.execute(f"REVOKE UPDATE (brevo_synced_at) ON contacts FROM {WORKER}")
        await app.execute(flip("afternoon", 5))
        await webhook.message("LANE_MISCONFIGURED")
        await app.execute(f"GRANT UPDATE (brevo_synced_at) ON contacts TO {WORKER}")
        await webhook.message("LANE_MISCONFIGURED", "over")
        await until(app, ALL_DONE)
        day.end("14:00, a migration of the application takes a right away")

        crm.gate.clear()
        await app.execute(flip("evening", 60))
        await webhook.message("OLDEST_WAITING")
        crm.gate.set()
        await webhook.message("OLDEST_WAITING", "over")
        await until(app, ALL_DONE)
        day.end("16:00, the CRM takes its time, and a backlog grows")

        crm.answer = lambda contact: (
            Outcome.rejected("DUPLICATE", "there is one") if contact.email[:3] == "bad" else well(contact)
        )
        await app.execute(flip("bad", 25))
        await webhook.message("ERRORS")
        await webhook.message("NEW_CODE")
        await until(app, ALL_DONE)
        day.end("17:00, an import brings addresses that the CRM has already", ordered=False)
    print(day.page())
    told = [(body["event"], body["alert"]) for body in webhook.messages() if body["alert"] not in ("ERRORS", "NEW_CODE")]
    causes = ("LANE_DOWN", "CREDENTIALS_REFUSED", "LANE_MISCONFIGURED", "OLDEST_WAITING")
    assert told == [(event, alert) for alert in causes for event in ("raised", "over")]
    for alert in ("ERRORS", "NEW_CODE"):
        assert len([body for body in webhook.messages("raised") if body["alert"] == alert]) == 1
    assert "@x.org" not in str(webhook.messages())
    before, _, rest = PAGE.read_text().partition(BEGIN)
    shown, _, after = rest.partition(END)
    if os.environ.get("WRITE_MANUAL"):
        PAGE.write_text(f"{before}{BEGIN}\n{day.page()}\n{END}{after}")
        shown = f"\n{day.page()}\n"
    assert _heads(shown) == _heads(day.page())
