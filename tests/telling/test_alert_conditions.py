"""Each condition is brought about: a worker, a CRM and a table in which it holds, and the resulting messages."""

import asyncio
import json
import re
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from crm_sync.core.outcome import Outcome
from crm_sync.core.rate import Window
from crm_sync.core.waits import USUAL
from crm_sync.daemon.daemon import Daemon
from crm_sync.errors import OutageError, RefusedError
from tests.harness import ScriptedCrm, account, configured, until, working
from tests.roles import WORKER, as_worker
from tests.steps import insert

QUICK = replace(
    USUAL,
    tick_s=0.05,
    first_probe_s=0.05,
    longest_probe_s=0.1,
    longest_refused_probe_s=0.1,
    first_mending_look_s=0.02,
    longest_mending_look_s=0.1,
    proof_s=0.05,
    first_write_again_s=0.005,
    minute_s=0.05,
    alert_look_s=0.05,
    alert_hold_s=0.1,
    alert_over_s=0.1,
    lane_down_s=0.2,
)


@pytest.fixture
def crm():
    return ScriptedCrm()


@asynccontextmanager
async def alerting(url, crm, waits=QUICK, **more):
    accounts = {"brevo": replace(account(crm), **more)}
    async with working(Daemon(configured(accounts, database_url=as_worker(url)), waits=waits)) as daemon:
        yield daemon


def down(_contact):
    raise OutageError("CRM_ERROR", "the CRM failed (503)")


def refusing(_contact):
    raise RefusedError("REFUSED", "the CRM refuses everybody (401: key not found)")


def unknown_field(_contact):
    raise RefusedError("UNKNOWN_FIELD", "the CRM has no field NICKNAME")


def well(contact):
    return Outcome.delivered(f"crm-{contact.id}")


async def test_a_crm_that_is_down_for_a_while_is_told_of_and_that_it_is_over(app, url, crm, webhook, logged):
    crm.answer = down
    async with alerting(url, crm):
        for number in range(4):
            await insert(app, "Queued", f"{number}@x.org")
        said = await webhook.message("LANE_DOWN")
        assert said["crm"] == "brevo"
        assert said["what"] == "brevo is down, so its contacts wait"
        assert said["reason"] == "CRM_ERROR: the CRM failed (503)"
        assert said["count"] == 4
        assert said["counted"] == "contacts in line"
        assert said["command"] == "crm-sync status"
        assert "status page" in said["to_do"]
        assert said["since"].endswith("Z")
        crm.answer = well
        over = await webhook.message("LANE_DOWN", "over")
        assert over["count"] == 4
        assert over["lasted_s"] >= 0
        assert over["ended_at"] > said["since"] or over["ended_at"] == said["since"]
    assert len(webhook.messages("raised")) == len(webhook.messages("over")) == 1
    assert [entry["event"] for entry in logged if entry["event"].startswith("alert_")] == ["alert_raised", "alert_over"]


async def test_one_that_is_down_for_a_moment_is_not(app, url, crm, webhook):
    crm.answer = down
    async with alerting(url, crm, replace(QUICK, lane_down_s=3600.0)):
        await insert(app, "Queued")
        await until(app, "breaker <> 'closed' FROM crm_sync.lanes WHERE crm = 'brevo'")
        crm.answer = well
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    assert webhook.messages() == []


async def test_refused_credentials_are_told_of_at_once(app, url, crm, webhook):
    crm.answer = refusing
    async with alerting(url, crm, replace(QUICK, lane_down_s=3600.0)):
        await insert(app, "Queued")
        said = await webhook.message("CREDENTIALS_REFUSED")
    assert "401" in said["reason"]
    assert said["command"] == "crm-sync check"
    assert [body["alert"] for body in webhook.messages()] == ["CREDENTIALS_REFUSED"]


async def test_a_lane_that_stands_says_why_in_an_alert_as_it_does_everywhere(app, url, crm, webhook):
    await app.execute(f"REVOKE UPDATE (brevo_synced_at) ON contacts FROM {WORKER}")
    async with alerting(url, crm):
        await insert(app, "Queued")
        said = await webhook.message("LANE_MISCONFIGURED")
        assert said["reason"] == await app.fetchval("SELECT fault FROM crm_sync.lanes WHERE crm = 'brevo'")
        assert "lacks UPDATE on public.contacts brevo_synced_at" in said["reason"]
        assert said["count"] == 1
        await app.execute(f"GRANT UPDATE (brevo_synced_at) ON contacts TO {WORKER}")
        await webhook.message("LANE_MISCONFIGURED", "over")
    assert {body["alert"] for body in webhook.messages()} == {"LANE_MISCONFIGURED"}


async def test_so_does_one_whose_mapping_the_crm_does_not_know(app, url, crm, webhook):
    crm.answer = unknown_field
    async with alerting(url, crm):
        await insert(app, "Queued")
        assert "NICKNAME" in (await webhook.message("LANE_MISCONFIGURED"))["reason"]


async def test_many_contacts_that_fail_and_a_code_that_is_new_are_told_of(app, url, crm, webhook, logged):
    crm.answer = lambda contact: Outcome.rejected("DUPLICATE", "there is one") if contact.email[0] == "b" else well(contact)
    async with alerting(url, crm):
        await app.execute(
            "INSERT INTO contacts (email, brevo_sync_status) SELECT 'g' || n || '@x.org', 'Queued' FROM generate_series(1, 60) n"
        )
        await app.execute(
            "INSERT INTO contacts (email, brevo_sync_status) SELECT 'b' || n || '@x.org', 'Queued' FROM generate_series(1, 20) n"
        )
        new = await webhook.message("NEW_CODE")
        said = await webhook.message("ERRORS")
        await until(app, "sum(delivered + retried + rejected) = 80 FROM crm_sync.minutes")
    assert (new["crm"], new["code"]) == ("brevo", "DUPLICATE")
    assert new["reason"] == "DUPLICATE: another contact in the CRM has the same identifier"
    assert new["command"] == "crm-sync failed --crm brevo --code DUPLICATE"
    assert said["count"] >= 20
    assert said["counted"] == "failures in 15 minutes"
    assert [body["alert"] for body in webhook.messages("raised")].count("NEW_CODE") == 1


async def test_few_that_fail_and_a_code_that_was_seen_this_week_are_not(app, url, crm, webhook, logged):
    await app.execute(
        "INSERT INTO crm_sync.alert_codes VALUES ('brevo', 'DUPLICATE', now() - interval '9 days', now() - interval '6 days', 1)"
    )
    crm.answer = lambda _: Outcome.rejected("DUPLICATE", "there is one")
    async with alerting(url, crm):
        for number in range(19):
            await insert(app, "Queued", f"{number}@x.org")
        await until(app, "sum(retried + rejected) = 19 FROM crm_sync.minutes")
        await looked(app)
    assert webhook.messages() == []


async def test_one_that_was_not_seen_for_a_week_is_new_again(app, url, crm, webhook, logged):
    await app.execute(
        "INSERT INTO crm_sync.alert_codes VALUES ('brevo', 'DUPLICATE', now() - interval '9 days', now() - interval '8 days', 7)"
    )
    crm.answer = lambda _: Outcome.rejected("DUPLICATE", "there is one")
    async with alerting(url, crm):
        await insert(app, "Queued")
        assert (await webhook.message("NEW_CODE"))["count"] == 1


async def test_a_contact_that_waits_while_others_are_finished_is_told_of(app, url, crm, webhook, logged):
    """The application has its row locked; the others go on."""
    stuck = await insert(app, "Queued", "stuck@x.org")
    async with app.transaction():
        await app.execute("SELECT FROM contacts WHERE id = $1 FOR UPDATE", stuck)
        async with alerting(url, crm, replace(QUICK, oldest_waiting_s=0.2)):
            said = await webhook.message("OLDEST_WAITING")
    assert "it has waited for" in said["reason"]
    assert said["count"] == 1


async def test_contacts_in_line_of_whom_none_is_finished_are_told_of(app, url, crm, webhook):
    """No worker has credentials for HubSpot, but contacts are flipped for it."""
    await app.execute("INSERT INTO contacts (email, hubspot_sync_status) VALUES ('ada@x.org', 'Queued')")
    async with alerting(url, crm, replace(QUICK, silence_s=0.3)):
        said = await webhook.message("SILENCE")
    assert said["crm"] == "hubspot"
    assert "nothing has been finished since" in said["reason"]
    assert [body["alert"] for body in webhook.messages()] == ["SILENCE"]


async def test_a_day_whose_requests_are_nearly_used_is_told_of(app, url, crm, webhook):
    window = Window(1000, 86400.0)
    part = window.part(await app.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8"))
    for used, alerts in ((800, []), (900, ["LIMIT_NEARLY_USED"])):
        budget = {"next": 0, "counts": {"86400": [part, used]}}
        await app.execute(
            "INSERT INTO crm_sync.budgets VALUES ('brevo', $1) ON CONFLICT (crm) DO UPDATE SET budget = $1", json.dumps(budget)
        )
        async with alerting(url, crm, windows=(Window(100, 10.0), window)):
            if alerts:
                said = await webhook.message("LIMIT_NEARLY_USED")
                assert re.fullmatch(r"9\d\d of 1,000 requests in 24 hours, 9\d%", said["reason"])
                assert said["counted"] == "requests used"
            else:
                await looked(app)
        assert [body["alert"] for body in webhook.messages()] == alerts


async def test_flips_that_no_trigger_saw_are_told_of(app, url, crm, webhook, logged):
    await app.execute("ALTER TABLE contacts DISABLE TRIGGER USER")
    await insert(app, "Queued", "stray@x.org")
    await app.execute("ALTER TABLE contacts ENABLE TRIGGER USER")
    async with alerting(url, crm):
        said = await webhook.message("STRAYS")
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    assert said["count"] == 1
    assert "session_replication_role" in said["to_do"]


async def test_deletions_that_are_stuck_are_told_of_with_how_many(app, url, crm, webhook):
    await app.execute(
        "INSERT INTO crm_sync.tombstones (crm, contact_id, policy, deleted_at) "
        "SELECT 'brevo', n::text, 'delete', now() - make_interval(hours => 20 + n, mins => 30) FROM generate_series(1, 7) n"
    )
    async with alerting(url, crm):
        said = await webhook.message("DELETIONS_STUCK")
    assert said["count"] == 4  # of 24 to 27 hours, and not those of less than a day
    assert said["counted"] == "deletions"


async def test_a_pause_that_somebody_forgot_is_told_of_and_not_the_contacts_that_wait_for_it(app, url, crm, webhook):
    await app.execute(
        "UPDATE crm_sync.lanes SET held_since = now() - interval '23 hours', held_reason = 'key of anna@x.org' "
        "WHERE crm = 'brevo'"
    )
    await insert(app, "Queued")
    async with alerting(url, crm):
        await looked(app)
        assert webhook.messages() == []
        await app.execute("UPDATE crm_sync.lanes SET held_since = now() - interval '25 hours' WHERE crm = 'brevo'")
        said = await webhook.message("LANE_PAUSED_LONG")
    assert said["reason"] == "key of ***"
    assert "crm-sync resume brevo" in said["to_do"]
    assert [body["alert"] for body in webhook.messages()] == ["LANE_PAUSED_LONG"]


async def looked(app, times=3):
    """Returns when there have been this many looks since."""
    before = await _looks(app)
    async with asyncio.timeout(30):
        while await _looks(app) < before + times:  # noqa: ASYNC110 (the server has no event for it)
            await asyncio.sleep(0.02)


async def _looks(app):
    await app.execute("SELECT pg_stat_clear_snapshot()")
    return await app.fetchval("SELECT pg_stat_get_numscans('crm_sync.alert_duty'::regclass)")
