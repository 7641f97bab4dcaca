"""Metrics of all workers: reported by one of them, at a bounded cost, and absent in the others."""

import asyncio
from datetime import timedelta

import pytest

from crm_sync import events
from crm_sync.core.outcome import Outcome
from crm_sync.core.waits import Waits
from crm_sync.postgres import locks
from crm_sync.sandbox.postgres import free_port
from tests.harness import ScriptedCrm, running, until
from tests.process import environment, process
from tests.roles import WORKER
from tests.steps import insert
from tests.telling.scrape import Scrape, get, scraped
from tests.tiers import slow

BACKLOG = "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@example.com', 'Queued' FROM generate_series(1, $1) AS n"
QUICK = Waits(count_s=0.05, tell_s=0.05, tick_s=0.2, pulse_s=0.05)


@pytest.fixture
def addresses():
    return [f"127.0.0.1:{free_port()}" for _ in range(2)]


def tells(scrape: Scrape) -> bool:
    return scrape.value("workers") is not None


async def both(addresses):
    return [Scrape.of((await get(address, "/metrics"))[1]) for address in addresses]


@slow
async def test_one_worker_tells_and_when_it_goes_another_one_does(url, addresses):
    first, second = addresses
    async with running(url, ScriptedCrm(), metrics_listen=second, waits=QUICK) as staying:
        await scraped(second, tells)
        async with running(url, ScriptedCrm(), metrics_listen=first, waits=QUICK):
            await scraped(second, lambda scrape: scrape.value("workers") == 2)
            scrapes = await both(addresses)
            assert [tells(scrape) for scrape in scrapes] == [False, True]
            shared = {name for name in scrapes[1].names - scrapes[0].names if not name.endswith(("_bucket", "_sum", "_count"))}
            assert "crm_sync_contacts" in shared
            assert "crm_sync_lane_state" in shared
        await scraped(second, lambda scrape: scrape.value("workers") == 1)
        assert staying.told is not None


@slow
async def test_the_next_one_takes_over_from_the_one_that_told(url, addresses):
    first, second = addresses
    async with running(url, ScriptedCrm(), metrics_listen=first, waits=QUICK) as leaving:
        await scraped(first, tells)
        async with running(url, ScriptedCrm(), metrics_listen=second, waits=QUICK):
            await scraped(second, lambda scrape: scrape.value("session_up"))
            assert not tells((await both(addresses))[1])
            leaving.stop.set()
            await scraped(second, tells)


@slow
async def test_a_stranger_that_has_the_lock_silences_nobody(app, url, addresses):
    """Any role that may connect can take it. Then the living worker with the lowest id reports, alone."""
    await app.execute(f"SELECT pg_advisory_lock({locks.COUNT}, {locks.METRICS})")
    async with running(url, ScriptedCrm(), metrics_listen=addresses[0], waits=QUICK):
        await scraped(addresses[0], tells)
        async with running(url, ScriptedCrm(), metrics_listen=addresses[1], waits=QUICK):
            await scraped(addresses[0], lambda scrape: scrape.value("workers") == 2)
            assert [tells(scrape) for scrape in await both(addresses)] == [True, False]


async def test_a_stranger_that_has_the_lock_is_named(app, url, addresses, lines):
    await app.execute(f"SELECT pg_advisory_lock({locks.COUNT}, {locks.METRICS})")
    pid = await app.fetchval("SELECT pg_backend_pid()")
    async with running(url, ScriptedCrm(), metrics_listen=addresses[0], waits=QUICK), asyncio.timeout(30):
        while not (told := [line for line in lines if line["event"] == events.LOCKS_TAKEN]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert told[0]["pids"] == [pid]


@slow
async def test_a_right_that_is_missing_is_told_once_and_costs_no_delivery(app, url, addresses, lines):
    """Numbers that could no longer be counted are not reported either."""
    async with running(url, ScriptedCrm(), metrics_listen=addresses[0], waits=QUICK):
        await scraped(addresses[0], tells)
        await app.execute(f"REVOKE SELECT (held_reason) ON crm_sync.lanes FROM {WORKER}")
        await scraped(addresses[0], lambda scrape: not tells(scrape))
        await insert(app, "Queued")
        await scraped(addresses[0], lambda scrape: scrape.total("contacts_finished_total"))
        await app.execute(f"GRANT SELECT (held_reason) ON crm_sync.lanes TO {WORKER}")
        await scraped(addresses[0], tells)
    told = [line for line in lines if line["event"] == events.DATABASE_TROUBLE and line.get("loop") == "metrics"]
    assert len(told) == 1


class TestOfContacts:
    async def test_the_states_are_counted(self, app, url, addresses):
        crm = ScriptedCrm(concurrency=1)
        crm.answer = lambda contact: (
            Outcome.rejected("REJECTED", "no")
            if contact.email.startswith("no")
            else Outcome.failed("LOCKED", "not now")
            if contact.email.startswith("later")
            else Outcome.delivered("7")
        )
        async with running(url, crm, metrics_listen=addresses[0], waits=QUICK):
            for email in ("no@example.com", "later@example.com", "yes@example.com"):
                await insert(app, "Queued", email)
            await until(app, "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = 1 FROM contacts")
            await until(app, "count(*) FILTER (WHERE brevo_sync_status = 'Error') = 1 FROM contacts")
            crm.gate.clear()
            await insert(app, "Queued", "held@example.com")
            await crm.reached(4)
            counted = {"waiting": 1, "in_flight": 1, "error": 1, "ready": 0}
            await scraped(
                addresses[0],
                lambda scrape: {state: scrape.value("contacts", crm="brevo", state=state) for state in counted} == counted,
            )
            crm.gate.set()

    async def test_the_oldest_that_is_ready_is_told_by_its_age(self, app, url, addresses):
        """Held by the application, so that it stays ready."""
        await insert(app, "Queued")
        async with app.transaction():
            await app.execute("UPDATE contacts SET brevo_due_at = brevo_due_at - interval '1 hour'")
            await app.execute("UPDATE crm_sync.brevo_line SET due_at = due_at - interval '1 hour'")
        async with app.transaction():
            await app.execute("SELECT FROM contacts FOR UPDATE")
            async with running(url, ScriptedCrm(), metrics_listen=addresses[0], waits=QUICK):
                scrape = await scraped(addresses[0], lambda scrape: scrape.value("contacts", crm="brevo", state="ready") == 1)
                assert 3600 < scrape.value("oldest_ready_seconds", crm="brevo") < 3700

    async def test_those_that_nobody_counts_live_are_told_as_last_counted(self, app, url, addresses):
        await insert(app, "New")
        async with running(url, ScriptedCrm(), metrics_listen=addresses[0], waits=QUICK):
            scrape = await scraped(addresses[0], lambda scrape: scrape.value("contacts", crm="brevo", state="new") == 1)
        assert scrape.value("contacts", crm="brevo", state="complete") == 0


@slow
async def test_the_limits_of_the_account_and_what_is_used_of_them(app, url, brevo, addresses):
    env = environment(url, brevo, BREVO_LIMITS="50/s 1000/day", METRICS_LISTEN=addresses[0])
    async with process(env):
        await insert(app, "Queued")
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
        scrape = await scraped(addresses[0], tells)
    assert scrape.value("limit_requests", crm="brevo", window="1d") == 1000
    assert scrape.value("limit_requests", crm="brevo", window="1s") == 50
    assert scrape.value("limit_used_requests", crm="brevo", window="1d") >= 0
    assert scrape.values_of("window") == {"1s", "1d"}


async def test_deletions_that_wait_and_those_that_were_given_up(app, url, addresses):
    await app.execute(
        "INSERT INTO crm_sync.tombstones (crm, contact_id, policy, due_at, error) SELECT crm, n::text, 'delete', due, NULL "
        "FROM (VALUES ('mautic', clock_timestamp() + interval '1 day'), ('mautic', NULL), ('mautic', NULL)) AS v (crm, due), "
        "generate_series(1, 2) AS n"
    )
    async with running(url, ScriptedCrm(), metrics_listen=addresses[0], waits=QUICK):
        scrape = await scraped(addresses[0], tells)
    assert scrape.value("tombstones", crm="mautic", state="waiting") == 2
    assert scrape.value("tombstones", crm="mautic", state="failed") == 4
    assert scrape.value("tombstones", crm="brevo", state="failed") == 0


@slow
async def test_the_end_of_a_backlog_is_told_by_the_pace_of_all_workers(app, url, addresses):
    crm = ScriptedCrm(concurrency=1)
    async with running(url, crm, metrics_listen=addresses[0], waits=QUICK):
        await insert(app, "Queued")
        await scraped(addresses[0], lambda scrape: scrape.total("contacts_finished_total"))
        crm.gate.clear()
        await app.execute(BACKLOG, 50)
        scrape = await scraped(
            addresses[0], lambda scrape: scrape.value("backlog_ends_timestamp_seconds", crm="brevo") is not None
        )
        now = (await app.fetchval("SELECT clock_timestamp()")).timestamp()
        assert now < scrape.value("backlog_ends_timestamp_seconds", crm="brevo") < now + timedelta(hours=2).total_seconds()
        crm.gate.set()


@slow
async def test_a_lane_whose_columns_are_gone_has_its_state_and_no_counts(app, url, addresses):
    waits = Waits(count_s=0.05, tell_s=0.05, tick_s=0.2, first_mending_look_s=0.05, longest_mending_look_s=0.1)
    async with running(url, ScriptedCrm(), metrics_listen=addresses[0], waits=waits):
        await scraped(addresses[0], lambda scrape: scrape.value("contacts", crm="brevo", state="ready") == 0)
        await app.execute("ALTER TABLE contacts DROP COLUMN brevo_attempts CASCADE")
        scrape = await scraped(addresses[0], lambda scrape: scrape.value("lane_state", crm="brevo", state="faulty"))
        assert scrape.value("contacts", crm="mautic", state="ready") == 0
