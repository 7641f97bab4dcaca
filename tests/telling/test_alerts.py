"""One of many workers sends alerts, once, across restarts, deaths and failing channels; no delivery waits for it."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from crm_sync.core.outcome import Outcome
from crm_sync.environment import Environment
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.telling.alerts import Alerts
from crm_sync.telling.channels import Channels
from tests.harness import ScriptedCrm, daemon_for, until
from tests.roles import WORKER, as_worker
from tests.steps import insert
from tests.telling.test_alert_conditions import QUICK, alerting, down, looked, well
from tests.tiers import slow

HELD = "UPDATE crm_sync.lanes SET held_since = now() - interval '30 hours', held_reason = 'key rotation' WHERE crm = $1"
RESUMED = "UPDATE crm_sync.lanes SET held_since = NULL, held_reason = NULL WHERE crm = $1"


@slow
async def test_of_ten_workers_one_tells_and_once(app, url, webhook):
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(alerting(url, ScriptedCrm()))
        await app.execute(HELD, "brevo")
        await webhook.message("LANE_PAUSED_LONG")
        await looked(app, 40)
        await app.execute(RESUMED, "brevo")
        await webhook.message("LANE_PAUSED_LONG", "over")
        await looked(app, 40)
    assert Counter(body["event"] for body in webhook.messages()) == {"raised": 1, "over": 1}


async def test_what_was_told_is_not_told_again_after_a_restart_and_its_end_is(app, url, webhook):
    await app.execute(HELD, "brevo")
    async with alerting(url, ScriptedCrm()):
        await webhook.message("LANE_PAUSED_LONG")
        await until(app, "untold = '{}' FROM crm_sync.alerts")
    async with alerting(url, ScriptedCrm()):
        await looked(app)
        assert len(webhook.messages()) == 1
        await app.execute(RESUMED, "brevo")
        over = await webhook.message("LANE_PAUSED_LONG", "over")
    assert over["lasted_s"] >= 30 * 3600
    assert "It lasted 1 d 6 h" in over["text"]


async def test_when_the_one_whose_turn_it_was_ends_another_goes_on(app, url, webhook):
    await app.execute(HELD, "brevo")
    first = AsyncExitStack()
    await first.enter_async_context(alerting(url, ScriptedCrm()))
    await webhook.message("LANE_PAUSED_LONG")
    await until(app, "untold = '{}' FROM crm_sync.alerts")
    async with alerting(url, ScriptedCrm()):
        await first.aclose()
        await app.execute(HELD, "hubspot")
        await webhook.until(lambda _: any(body["crm"] == "hubspot" for body in webhook.messages()))
    assert len(webhook.messages()) == 2


async def test_one_that_lasts_is_told_again_after_hours(app, url, webhook):
    await app.execute(HELD, "brevo")
    async with alerting(url, ScriptedCrm(), replace(QUICK, alert_repeat_s=0.3)):
        still = await webhook.message("LANE_PAUSED_LONG", "still")
    assert "still LANE_PAUSED_LONG" in still["text"]


class Turn:
    """A session, as alerts need it."""

    def __init__(self, worker):
        self.known_id = worker
        self.opened = asyncio.Event()
        self.opened.set()


async def test_one_that_was_frozen_while_it_had_the_turn_tells_nothing_that_another_tells(app, url, receiver):
    await app.execute(HELD, "brevo")
    environment = Environment({"alert_webhook_url": f"{receiver.url}/hook"})
    async with Database(as_worker(url), size=2) as database, Channels.opened(environment) as channels:
        first, second = (Alerts(database, Turn(number), channels, tables=dict, windows={}, waits=QUICK) for number in (101, 102))
        assert await first.look()
        assert len(receiver.messages("raised")) == 1
        await app.execute(HELD, "hubspot")
        # It has read what is due, and then freezes: its session is gone, so another worker is on duty.
        facts = await first._facts()
        await first._note(await first._seen(facts), await first._open_alerts(), facts[0].now)
        due = [alert for alert in await first._open_alerts() if alert.untold]
        await app.execute("UPDATE crm_sync.alert_duty SET worker = 102")
        await first._tell(due, "database", facts[0].now)
        assert len(receiver.messages("raised")) == 1
        assert await second.look()
        assert [body["crm"] for body in receiver.messages("raised")] == ["brevo", "hubspot"]
        await first._tell(due, "database", facts[0].now)
        assert len(receiver.messages()) == 2


async def test_a_message_whose_teller_died_is_told_again_with_the_same_id(app, url, receiver):
    await app.execute(HELD, "brevo")
    environment = Environment({"alert_webhook_url": f"{receiver.url}/hook"})
    waits = replace(QUICK, telling_lease_s=0.0)
    async with Database(as_worker(url), size=2) as database, Channels.opened(environment) as channels:
        first, second = (Alerts(database, Turn(number), channels, tables=dict, windows={}, waits=waits) for number in (101, 102))
        receiver.gate.clear()
        dying = asyncio.create_task(first.look())
        await receiver.until(lambda heard: len(heard) == 1)
        dying.cancel()
        await asyncio.wait([dying])
        receiver.gate.set()
        assert await second.look()
    ids = [body["id"] for body in receiver.messages()]
    assert len(ids) == 2
    assert len(set(ids)) == 1


async def test_a_channel_that_fails_is_an_event_and_is_tried_again_and_others_are_told_once(  # noqa: PLR0917
    app, url, webhook, logged, tmp_path, monkeypatch
):
    script, out = tmp_path / "notify", tmp_path / "said"
    script.write_text(f"#!/bin/sh\ncat >> {out}\necho >> {out}\n")
    script.chmod(0o700)
    monkeypatch.setenv("ALERT_COMMAND", str(script))
    webhook.statuses = [503, 503, 503]
    await app.execute(HELD, "brevo")
    async with alerting(url, ScriptedCrm(), replace(QUICK, first_telling_again_s=0.02, longest_telling_again_s=0.05)):
        await until(app, "untold = '{}' AND told = '{command,webhook}' FROM crm_sync.alerts")
    failures = [entry for entry in logged if entry["event"] == "alert_not_told"]
    assert [(entry["channel"], entry["reason"]) for entry in failures] == [("webhook", "it answered 503: so it is")]
    assert len(webhook.messages()) == 4
    assert len(out.read_text().splitlines()) == 1


async def test_no_delivery_waits_for_a_channel_that_does_not_answer(app, url, webhook, logged):
    webhook.gate.clear()
    await app.execute(HELD, "hubspot")
    crm = ScriptedCrm()
    async with alerting(url, crm):
        await webhook.until(lambda heard: len(heard) == 1)
        for number in range(20):
            await insert(app, "Queued", f"{number}@x.org")
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
        webhook.gate.set()


async def test_without_the_rights_for_it_there_are_no_alerts_and_all_else_goes_on(app, url, webhook, logged):
    await app.execute(f"REVOKE ALL ON crm_sync.alert_duty, crm_sync.alert_codes FROM {WORKER}")
    await app.execute(f"REVOKE SELECT (worker), UPDATE (worker) ON crm_sync.alert_duty FROM {WORKER}")
    async with alerting(url, ScriptedCrm()):
        await insert(app, "Queued")
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
        async with asyncio.timeout(30):
            while not any(entry.get("loop") == "alerts" for entry in logged):  # noqa: ASYNC110 (a worker has no events for tests)
                await asyncio.sleep(0.01)
    troubles = [entry for entry in logged if entry.get("loop") == "alerts"]
    assert {entry["event"] for entry in troubles} == {"database_trouble"}
    assert all("crm-sync grants" in entry["reason"] for entry in troubles)
    assert len({entry["reason"] for entry in troubles}) == len(troubles) <= 2


async def test_the_dead_mans_switch_is_pinged_while_all_is_well_and_fails_while_an_alert_is_open(app, url, receiver, monkeypatch):
    monkeypatch.setenv("ALERT_PING_URL", f"{receiver.url}/ping/uuid")
    async with alerting(url, ScriptedCrm(), replace(QUICK, alert_ping_s=0.1)):
        await receiver.until(lambda heard: len(heard) >= 2)
        assert {told.target for told in receiver.heard} == {"/ping/uuid"}
        await app.execute(HELD, "brevo")
        await receiver.until(lambda heard: [told.target for told in heard].count("/ping/uuid/fail") >= 2)
        await app.execute(RESUMED, "brevo")
        await receiver.until(lambda heard: heard[-1].target == "/ping/uuid")


async def test_counts_that_could_not_be_written_are_written_later(app, url, webhook, logged):
    crm = ScriptedCrm()
    async with alerting(url, crm, replace(QUICK, alert_look_s=0.02)):
        await app.execute("ALTER TABLE crm_sync.alert_codes RENAME TO away")
        crm.answer = lambda _: Outcome.rejected("DUPLICATE", "there is one")
        await insert(app, "Queued")
        await until(app, "brevo_sync_status = 'Error' FROM contacts")
        async with asyncio.timeout(30):
            while not any(entry.get("loop") == "alerts" for entry in logged):  # noqa: ASYNC110 (a worker has no events for tests)
                await asyncio.sleep(0.01)
        await app.execute("ALTER TABLE crm_sync.away RENAME TO alert_codes")
        await until(app, "coalesce(sum(contacts), 0) = 1 FROM crm_sync.alert_codes")


async def test_what_ended_long_ago_is_dropped(app, url, webhook):
    columns = "since, first_seen_at, seen_at, raised_at, well_since, ended_at"
    await app.execute(
        f"INSERT INTO crm_sync.alerts (id, condition, crm, contacts, reason, {columns}) "
        "SELECT d, 'LANE_DOWN', 'brevo', 1, 'old', t, t, t, t, t, t "
        "FROM (SELECT d, now() - make_interval(days => d) AS t FROM unnest('{29, 31}'::int[]) AS d) AS v"
    )
    async with alerting(url, ScriptedCrm()):
        await until(app, "count(*) = 1 FROM crm_sync.alerts")


async def test_looks_that_find_nothing_write_nothing(app, url, logged):
    async with alerting(url, ScriptedCrm()):
        await looked(app, 20)
    written = await app.fetch(
        "SELECT relname FROM pg_stat_user_tables WHERE relname LIKE 'alert%' AND n_tup_ins + n_tup_upd + n_tup_del > 2"
    )
    assert written == []


async def test_alerts_go_to_the_log_where_nobody_else_is_told(app, url, logged):
    crm = ScriptedCrm()
    crm.answer = down
    async with alerting(url, crm):
        await insert(app, "Queued")
        await until(app, "coalesce(bool_or(raised_at IS NOT NULL AND untold = '{}'), FALSE) FROM crm_sync.alerts")
        crm.answer = well
        await until(app, "bool_or(ended_at IS NOT NULL) FROM crm_sync.alerts")
    [raised] = [entry for entry in logged if entry["event"] == "alert_raised"]
    assert (raised["alert"], raised["crm"]) == ("LANE_DOWN", "brevo")


async def test_what_was_counted_since_the_last_look_is_written_when_the_worker_ends(app, url, logged):
    crm = ScriptedCrm()
    crm.answer = lambda _: Outcome.rejected("DUPLICATE", "there is one")
    async with alerting(url, crm, replace(QUICK, alert_look_s=3600.0, minute_s=3600.0)):
        await insert(app, "Queued")
        await until(app, "bool_and(brevo_sync_status = 'Error') FROM contacts")
    assert await app.fetchval("SELECT sum(contacts) FROM crm_sync.alert_codes") == 1
    assert await app.fetchval("SELECT sum(rejected) FROM crm_sync.minutes") == 1


async def test_in_a_database_that_was_restored_without_rows_somebody_takes_the_turn(app, url, webhook):
    await app.execute("DELETE FROM crm_sync.alert_duty")
    await app.execute(HELD, "brevo")
    async with alerting(url, ScriptedCrm()), alerting(url, ScriptedCrm()):
        await webhook.message("LANE_PAUSED_LONG")
        await looked(app, 20)
    assert len(webhook.messages()) == 1


async def test_what_a_later_version_has_raised_is_left_alone(app, url, webhook):
    columns = "since, first_seen_at, seen_at, raised_at"
    await app.execute(
        f"INSERT INTO crm_sync.alerts (id, condition, crm, contacts, reason, {columns}) "
        "VALUES (7, 'OF_LATER', 'brevo', 1, 'new', now(), now(), now(), now())"
    )
    async with alerting(url, ScriptedCrm()):
        await looked(app, 10)
    assert await app.fetchval("SELECT ended_at IS NULL FROM crm_sync.alerts")


async def test_a_wrong_channel_stops_a_start_and_a_reload(url, monkeypatch):
    monkeypatch.setenv("ALERT_WEBHOOK_URL", "http://alerts.example.com/hook")
    for step in ("run", "check"):
        with pytest.raises(ConfigurationError, match="ALERT_WEBHOOK_URL: expected https"):
            await getattr(daemon_for(url, ScriptedCrm()), step)()


async def test_many_alerts_at_once_are_told_some_at_a_time_and_each_once(app, url, webhook):
    await app.execute(
        "INSERT INTO crm_sync.alert_codes SELECT 'brevo', 'CODE_' || n, now(), now(), 1 FROM generate_series(1, 50) AS n"
    )
    async with alerting(url, ScriptedCrm()):
        await webhook.until(lambda heard: len(heard) == 50)
        await until(app, "count(*) = 0 FROM crm_sync.alerts WHERE untold <> '{}'")
        await looked(app)
    assert len({body["id"] for body in webhook.messages()}) == len(webhook.messages()) == 50
