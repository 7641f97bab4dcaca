"""Any role that may connect can take advisory locks and send notifications. They take nothing from a worker."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.waits import Waits
from crm_sync.daemon.daemon import Daemon
from crm_sync.postgres import locks
from crm_sync.postgres.ear import FLOOD
from tests.faults.promise import Stopwatch
from tests.harness import ALL_COMPLETE, TIMEOUT_S, ScriptedCrm, account, configured, running, until, until_asleep, working
from tests.roles import as_worker
from tests.steps import insert, orphan
from tests.strangers import stranger
from tests.tiers import slow

NO_TICK = Waits(tick_s=3600.0)
QUICK_TICK = Waits(tick_s=0.1)
EARS = "FROM pg_stat_activity WHERE application_name = 'crm-sync ear' AND datname = current_database()"
ALONE = (
    f"count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = {locks.ADDRESS_SEED} AND objsubid = 2 AND granted "
    "AND mode = 'ExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
LANE = "(SELECT id FROM crm_sync.lanes WHERE crm = 'brevo')"
FLOOD_OF = f"SELECT pg_notify('crm_sync', $1 || n) FROM generate_series(1, {FLOOD + 1}) AS n"


@pytest.fixture
def crm() -> ScriptedCrm:
    return ScriptedCrm()


async def test_the_contacts_of_a_dead_worker_whose_lock_a_stranger_holds_go_back_in_line(app, url, crm):
    await insert(app, "Queued")
    dead = await orphan(app)
    async with stranger(url) as eve:
        await eve.execute("SELECT pg_advisory_lock($1, $2)", locks.WORKER, dead)
        async with running(url, crm, waits=NO_TICK):
            await until(app, ALL_COMPLETE)


async def test_its_permits_and_the_lane_that_it_kept_are_free(app, url):
    crm = ScriptedCrm(concurrency=2)
    dead = await orphan(app)
    await app.execute(f"INSERT INTO crm_sync.permits SELECT {LANE}, n, {dead} FROM generate_series(1, 2) AS n")
    await app.execute("UPDATE crm_sync.lanes SET keeper = $1", dead)
    async with stranger(url) as eve:
        await eve.execute("SELECT pg_advisory_lock($1, $2)", locks.WORKER, dead)
        async with running(url, crm, waits=NO_TICK) as worker:
            await until_asleep(app)
            await insert(app, "Queued")
            await until(app, ALL_COMPLETE)
            session = worker._wiring.session
            assert await app.fetchval("SELECT keeper FROM crm_sync.lanes WHERE crm = 'brevo'") == session.known_id
            assert await app.fetchval("SELECT count(*) FROM crm_sync.permits WHERE worker = $1", session.known_id) == 2


async def test_no_lock_of_a_stranger_keeps_the_lane_from_its_keeper_or_its_requests(app, url, crm):
    """Every number that could be ours, before the worker starts."""
    numbers = [number for number in locks.VARIABLES.values() if number != str(locks.ADOPTION)]
    async with stranger(url) as eve:
        for number in numbers:
            await eve.execute("SELECT pg_try_advisory_lock($1, n) FROM generate_series(0, 999) AS n", int(number))
        async with running(url, crm, waits=NO_TICK):
            for name in "abc":
                await insert(app, "Queued", f"{name}@example.com")
                await until(app, ALL_COMPLETE)


async def test_an_address_is_another_workers_only_where_a_worker_holds_it(app, url, crm):
    address = "ada@example.com"
    async with stranger(url) as eve, running(url, crm, waits=NO_TICK) as one, running(url, ScriptedCrm(), waits=NO_TICK) as two:
        await until(app, "count(*) = 2 FROM crm_sync.living_workers")
        first, second = one._wiring.session, two._wiring.session
        await eve.execute("SELECT pg_advisory_lock(hashtextextended('brevo ' || $1, $2))", address, locks.ADDRESS_SEED)
        assert (await first.lock_addresses("brevo", [address]))[0] == set()
        assert (await first.lock_addresses("brevo", ["bob@example.com"]))[0] == set()
        busy, _ = await second.lock_addresses("brevo", [address, "bob@example.com", "eve@example.com"])
        assert busy == {"bob@example.com"}


async def test_nobody_waits_for_a_stranger_that_holds_the_lock_of_who_is_alone(app, url, crm):
    async with stranger(url) as eve:
        await eve.execute("SELECT pg_advisory_lock($1, 0)", locks.ADDRESS_SEED)
        async with running(url, crm, waits=replace(QUICK_TICK, company_patience_s=3600.0)) as worker:
            await insert(app, "Queued")
            await until(app, ALL_COMPLETE)
            assert not worker._wiring.session.alone
            await eve.execute("SELECT pg_advisory_unlock_all()")
            await until(app, ALONE)


async def test_no_worker_is_alone_beside_one_that_a_stranger_has_kept_from_company(app, url, crm):
    async with stranger(url) as eve:
        await eve.execute("SELECT pg_advisory_lock($1, 0)", locks.ADDRESS_SEED)
        async with running(url, crm, waits=NO_TICK) as one:
            await until_asleep(app)
            await eve.execute("SELECT pg_advisory_unlock_all()")
            async with running(url, ScriptedCrm(), waits=NO_TICK) as two:
                await until(app, "count(*) = 2 FROM crm_sync.living_workers")
                await two._wiring.session.opened.wait()
                assert [one._wiring.session.alone, two._wiring.session.alone] == [False, False]


async def test_a_worker_that_hears_nothing_is_not_alone(app, url, crm):
    """It could not hear another one ask."""
    async with running(url, crm, waits=NO_TICK) as worker:
        await until(app, ALONE)
        await app.execute(f"SELECT pg_terminate_backend(pid) {EARS}")
        await until(app, ALONE.replace("= 1", "= 0", 1))
        assert not worker._wiring.session.alone


async def test_who_holds_our_locks_is_told_once(app, url, crm):
    with capture_logs() as log:
        async with stranger(url) as eve, running(url, crm, waits=QUICK_TICK):
            pid = eve.get_server_pid()
            await eve.execute("SELECT pg_advisory_lock($1, 1234)", locks.WORKER)
            await said(log, events.LOCKS_TAKEN)
            await insert(app, "Queued")
            await until(app, ALL_COMPLETE)
    assert [entry["pids"] for entry in log if entry["event"] == events.LOCKS_TAKEN] == [[pid]]


async def test_a_flood_of_notifications_ends_no_session_and_delays_no_flip(app, url, crm):
    with capture_logs() as log:
        async with stranger(url) as eve, running(url, crm, waits=NO_TICK) as worker:
            await until_asleep(app)
            await eve.execute(FLOOD_OF, "junk")
            await said(log, events.TOO_MANY_NOTIFICATIONS)
            for name in "abc":
                await insert(app, "Queued", f"{name}@example.com")
                await until(app, ALL_COMPLETE)
            assert worker._wiring.session.openings == 1
            pid = eve.get_server_pid()
    assert [entry["pid"] for entry in log if entry["event"] == events.TOO_MANY_NOTIFICATIONS] == [pid]


WORDS = ("gate brevo", "brevo", "news brevo", "n8n", "x" * 7900)


async def shout(eve, word):
    """As often as Postgres accepts it, once per transaction and many per transaction."""
    number = 0
    while True:
        number += 1
        await eve.execute("SELECT pg_notify('crm_sync', $1)", word)
        await eve.execute("SELECT pg_notify('crm_sync', left($1, 7000) || n) FROM generate_series(1, 500) AS n", word)


@slow
async def test_a_flood_that_does_not_end_keeps_no_lane_from_its_flips(app, url, crm):
    other = ScriptedCrm()
    waits = replace(QUICK_TICK, ear_rest_s=0.5)
    daemon = Daemon(configured({"brevo": account(crm), "n8n": account(other)}, database_url=as_worker(url)), waits=waits)
    with capture_logs() as log:
        async with working(daemon), AsyncExitStack() as crowd, asyncio.TaskGroup() as group:
            await until_asleep(app)
            shouting = [group.create_task(shout(await crowd.enter_async_context(stranger(url)), word)) for word in WORDS]
            await said(log, events.TOO_MANY_NOTIFICATIONS)
            longest_s = 0.0
            for number in range(20):
                stopwatch = Stopwatch()
                for lane in ("brevo", "n8n"):
                    await app.execute(
                        f"INSERT INTO contacts (email, {lane}_sync_status) VALUES ($1, 'Queued')", f"{lane}{number}@example.com"
                    )
                await until(app, "bool_and('Queued' NOT IN (brevo_sync_status, n8n_sync_status)) FROM contacts")
                longest_s = max(longest_s, stopwatch.tell("a flip of each lane"))
            print(f"the longest of 20: {longest_s:.2f} s")
            for task in shouting:
                task.cancel()
            assert daemon._wiring.session.openings == 1
    assert (len(crm.requests), len(other.requests)) == (20, 20)


async def test_after_the_flood_it_listens_again_and_sleeps(app, url, crm):
    with capture_logs() as log:
        async with stranger(url) as eve, running(url, crm, waits=replace(QUICK_TICK, ear_rest_s=0.2)):
            await until_asleep(app)
            await eve.execute(FLOOD_OF, "news ")
            await said(log, events.TOO_MANY_NOTIFICATIONS)
            await until(app, f"count(*) = 1 {EARS}")
            await until_asleep(app)
            await insert(app, "Queued")
            await until(app, ALL_COMPLETE)


async def test_a_flip_is_delivered_while_nobody_listens(app, url, crm):
    async with running(url, crm, waits=NO_TICK) as worker:
        await until_asleep(app)
        await app.execute(f"SELECT pg_terminate_backend(pid) {EARS}")
        await until(app, f"count(*) = 0 {EARS}")
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        assert worker._wiring.session.openings == 1


async def said(log, event):
    async with asyncio.timeout(TIMEOUT_S):
        while not any(entry["event"] == event for entry in log):  # noqa: ASYNC110 (a log has no events)
            await asyncio.sleep(0.01)
