"""Worker identities: no two living workers have the same id, and none ends because of an id that it cannot have."""

import asyncio

import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.waits import Waits
from crm_sync.errors import ConfigurationError
from crm_sync.postgres import locks
from crm_sync.postgres.pool import connect
from crm_sync.postgres.translation import translated
from tests.harness import ALL_COMPLETE, SESSIONS, TIMEOUT_S, ScriptedCrm, running, until, until_asleep
from tests.roles import as_worker
from tests.steps import insert, orphan, read
from tests.strangers import stranger

NO_TICK = Waits(tick_s=3600.0)
QUICK_TICK = Waits(tick_s=0.1)
BEHIND = "SELECT setval('crm_sync.workers_id_seq', 1, false)"
IDS = "array_agg(id ORDER BY id) FROM crm_sync.workers"
HOLD = f"SELECT pg_advisory_lock({locks.WORKER}, n) FROM generate_series($1::integer, $2::integer) AS n"

OLDER = "INSERT INTO crm_sync.workers (id, host, pid, version) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING"


@pytest.fixture
def crm() -> ScriptedCrm:
    return ScriptedCrm()


async def test_a_worker_whose_sequence_is_behind_takes_an_id_that_nobody_has(app, url, crm):
    other = ScriptedCrm()
    async with running(url, crm, waits=NO_TICK) as first:
        await until_asleep(app)
        await app.execute(BEHIND)
        async with running(url, other, waits=NO_TICK) as second:
            await until(app, "count(*) = 2 FROM crm_sync.workers")
            await asyncio.wait_for(second._wiring.session.opened.wait(), TIMEOUT_S)
            await insert(app, "Queued")
            await until(app, ALL_COMPLETE)
            sessions = [worker._wiring.session for worker in (first, second)]
            assert sorted(session.known_id for session in sessions) == await app.fetchval(f"SELECT {IDS}")
            assert [session.openings for session in sessions] == [1, 1], "neither has ended the other"
    assert len(crm.requests) + len(other.requests) == 1


async def test_the_id_of_a_dead_worker_is_not_given_out_before_its_contacts_are_back_in_line(app, url, crm):
    contact = await insert(app, "Queued")
    dead = await orphan(app)
    await app.execute("SELECT setval('crm_sync.workers_id_seq', $1, false)", dead)
    async with running(url, crm, waits=NO_TICK) as worker:
        await until(app, ALL_COMPLETE)
        assert worker._wiring.session.known_id != dead
    assert contact in crm.store


async def test_a_sequence_that_has_come_to_its_end_begins_anew(app, url, crm):
    await app.execute("SELECT setval('crm_sync.workers_id_seq', 2147483647)")
    await insert(app, "Queued")
    async with running(url, crm, waits=NO_TICK):
        await until(app, ALL_COMPLETE)


@pytest.mark.parametrize("held", [3, 2000])
async def test_ids_whose_locks_a_stranger_holds_are_stepped_over(app, url, crm, held):
    """Terminating that session needs a right that workers lack, and ends no worker."""
    first = await app.fetchval("SELECT nextval('crm_sync.workers_id_seq')")
    async with stranger(url) as eve:
        await eve.execute(HOLD, first, first + held)
        await insert(app, "Queued")
        async with running(url, crm, waits=NO_TICK) as worker:
            await until(app, ALL_COMPLETE)
            assert not first <= worker._wiring.session.known_id <= first + held


async def test_a_worker_whose_id_was_taken_while_it_reconnected_goes_on_with_another_and_finishes_what_it_had(app, url, crm):
    crm.gate.clear()
    async with stranger(url) as eve, running(url, crm, waits=QUICK_TICK) as worker:
        contact = await insert(app, "Queued")
        await crm.reached(1)
        former = worker._wiring.session.known_id
        waiting = asyncio.create_task(eve.execute(HOLD, former, former))
        await until(app, f"count(*) = 1 FROM pg_locks WHERE classid = {locks.WORKER} AND NOT granted")
        await app.execute(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
        await waiting
        await until(app, f"count(*) = 2 AND bool_or(id = {former}) FROM crm_sync.workers")
        assert worker._wiring.session.known_id != former
        assert (await read(app, contact))["claimed_by"] >> 32 == former, "it is in hand, and no orphan"
        crm.gate.set()
        await until(app, ALL_COMPLETE)
        other = await insert(app, "Queued", "bob@example.com")
        await until(app, ALL_COMPLETE)
    assert [request[0].id for request in crm.requests] == [contact, other]


async def test_a_worker_whose_row_in_the_registry_is_gone_enters_it_again(app, url, crm):
    with capture_logs() as log:
        async with running(url, crm, waits=QUICK_TICK) as worker:
            await until_asleep(app)
            await app.execute("DELETE FROM crm_sync.workers")
            await insert(app, "Queued")
            await until(app, ALL_COMPLETE)
            assert await app.fetchval(f"SELECT {IDS}") == [worker._wiring.session.known_id]
            assert worker._wiring.session.openings == 1
    assert [entry["event"] for entry in log].count(events.REGISTERED_AGAIN) == 1


async def test_after_all_of_the_registry_was_emptied_two_workers_go_on_side_by_side(app, url, crm):
    """As after a cleanup between tests, or a restore."""
    other = ScriptedCrm()
    async with running(url, crm, waits=QUICK_TICK):
        await until_asleep(app)
        await app.execute("TRUNCATE crm_sync.workers, crm_sync.permits RESTART IDENTITY")
        async with running(url, other, waits=QUICK_TICK):
            await until(app, "count(*) = 2 FROM crm_sync.workers")
            await insert(app, "Queued")
            await until(app, ALL_COMPLETE)
    assert len(crm.requests) + len(other.requests) == 1


async def test_a_row_of_the_registry_that_names_another_session_is_put_right(app, url, crm):
    """As after the restore of a dump."""
    async with running(url, crm, waits=QUICK_TICK):
        await until_asleep(app)
        await app.execute("UPDATE crm_sync.workers SET backend_pid = 1")
        await until(app, f"backend_pid IN (SELECT pid {SESSIONS}) FROM crm_sync.workers")
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)


async def test_a_worker_of_an_older_version_is_refused_by_a_sentence_that_says_so(app, url):
    """It has the lock of its id and registers as version 0.1.0 did. Where it ends depends on that version."""
    session = await connect(as_worker(url))
    try:
        await session.execute("SELECT pg_advisory_lock($1, 7)", locks.WORKER)
        with pytest.raises(ConfigurationError, match=r"older version of crm-sync \(0\.0\.9\) than its database: install"):
            async with translated():
                await session.execute(OLDER, 7, "a-host", 4711, "0.0.9")
    finally:
        await session.close()
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 0


async def test_what_a_restore_writes_into_the_registry_is_taken(app):
    await app.execute(OLDER, 7, "a-host", 4711, "0.0.9")
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 1
