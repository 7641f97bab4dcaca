"""A bad day at one CRM, with all waits made short: what people are told, and in which order. `-s` prints the timeline."""

from collections.abc import Iterator

import pytest

from crm_sync.core.outcome import Outcome
from tests.harness import ScriptedCrm, until
from tests.roles import WORKER
from tests.telling.test_alert_conditions import alerting, down, refusing, well
from tests.tiers import slow

ALL_DONE = "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts"


def flip(prefix: str, count: int) -> str:
    return (
        "INSERT INTO contacts (email, brevo_sync_status) "
        f"SELECT '{prefix}' || n || '@x.org', 'Queued' FROM generate_series(1, {count}) AS n"
    )


def timeline(messages: list[dict[str, object]]) -> Iterator[str]:
    for body in messages:
        yield f"{str(body['sent_at'])[11:19]}  {body['text']}"


@pytest.fixture
def crm() -> ScriptedCrm:
    return ScriptedCrm()


@slow
async def test_a_bad_day_is_told_cause_by_cause_and_each_once(app, url, crm, webhook):
    async with alerting(url, crm):
        # 09:00, the CRM is down while a campaign is flipped.
        crm.answer = down
        await app.execute(flip("campaign", 30))
        await webhook.message("LANE_DOWN")
        crm.answer = well
        await webhook.message("LANE_DOWN", "over")
        await until(app, ALL_DONE)

        # 11:00, a key has been rotated, and the worker was not told.
        crm.answer = refusing
        await app.execute(flip("signup", 5))
        await webhook.message("CREDENTIALS_REFUSED")
        crm.answer = well
        await webhook.message("CREDENTIALS_REFUSED", "over")

        # 14:00, a migration of the application's takes a right away.
        await app.execute(f"REVOKE UPDATE (brevo_synced_at) ON contacts FROM {WORKER}")
        await app.execute(flip("afternoon", 5))
        await webhook.message("LANE_MISCONFIGURED")
        await app.execute(f"GRANT UPDATE (brevo_synced_at) ON contacts TO {WORKER}")
        await webhook.message("LANE_MISCONFIGURED", "over")
        await until(app, ALL_DONE)

        # 17:00, an import brings addresses that the CRM has already.
        crm.answer = lambda contact: (
            Outcome.rejected("DUPLICATE", "there is one") if contact.email[:3] == "bad" else well(contact)
        )
        await app.execute(flip("bad", 25))
        await webhook.message("ERRORS")
        await webhook.message("NEW_CODE")
        await until(app, ALL_DONE)
    print("", *timeline(webhook.messages()), sep="\n")
    told = [(body["event"], body["alert"]) for body in webhook.messages() if body["alert"] not in ("ERRORS", "NEW_CODE")]
    assert told == [
        (event, alert) for alert in ("LANE_DOWN", "CREDENTIALS_REFUSED", "LANE_MISCONFIGURED") for event in ("raised", "over")
    ]
    for alert in ("ERRORS", "NEW_CODE"):
        assert len([body for body in webhook.messages("raised") if body["alert"] == alert]) == 1
    assert "@x.org" not in str(webhook.messages())
