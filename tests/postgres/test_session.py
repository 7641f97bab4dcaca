"""The session: lost, refused, and taken over."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from crm_sync.core.waits import Waits
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.postgres import locks
from crm_sync.table.contacts import Claimed, Contacts
from tests.harness import ALL_COMPLETE, SESSIONS, TIMEOUT_S, ScriptedCrm, daemon_for, running, until, until_asleep
from tests.roles import as_worker, migrate
from tests.servers import running_server
from tests.steps import insert, orphan, read
from tests.tiers import slow


@pytest.fixture
def crm() -> ScriptedCrm:
    return ScriptedCrm()


# Recovery here does not wait for the safety look, unless the test says so.
NO_TICK = Waits(tick_s=3600.0)
QUICK_TICK = Waits(tick_s=0.1)


async def test_a_killed_session_is_opened_again_and_a_flip_made_in_the_gap_is_delivered(app, url, crm):
    async with running(url, crm, waits=NO_TICK):
        await until_asleep(app)
        async with app.transaction():
            await app.execute(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
            contact = await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
    assert contact in crm.store
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 0


async def test_a_session_that_has_ended_is_opened_no_more(app, url, crm):
    """It would register its worker again, and nothing would undo that."""
    async with running(url, crm, waits=QUICK_TICK) as worker:
        await until_asleep(app)
        session = worker._wiring.session
        await session.end(unsure=False)
        await until(app, f"count(*) = 0 {SESSIONS}")
        await asyncio.wait_for(session.run(), TIMEOUT_S)
        assert session.openings == 1
        assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 0


async def test_what_is_in_flight_when_the_session_is_lost_is_finished_once_and_not_sent_again(app, url, crm):
    crm.gate.clear()
    async with running(url, crm, waits=NO_TICK):
        contact = await insert(app, "Queued")
        await crm.reached(1)
        claimed_by = (await read(app, contact))["claimed_by"]
        former = await app.fetchval(f"SELECT pid {SESSIONS}")
        await app.execute("SELECT pg_terminate_backend($1)", former)
        await until(app, f"bool_and(pid <> $1) {SESSIONS}", former)
        await until_asleep(app)
        assert (await read(app, contact))["claimed_by"] == claimed_by, "its worker lives, so it is no orphan"
        crm.gate.set()
        await until(app, ALL_COMPLETE)
    assert len(crm.requests) == 1


async def test_all_connections_killed_under_load_lose_nothing(app, url):
    crm = ScriptedCrm(batch_limit=10, concurrency=4)
    ours = "FROM pg_stat_activity WHERE application_name LIKE 'crm-sync%' AND datname = current_database()"
    async with running(url, crm, waits=NO_TICK):
        for round_ in range(5):
            await app.execute(
                "INSERT INTO contacts (email, brevo_sync_status) "
                "SELECT $1 || '.' || n || '@example.com', 'Queued' FROM generate_series(1, 200) AS n",
                str(round_),
            )
            await app.execute(f"SELECT pg_terminate_backend(pid) {ours}")
        await until(app, ALL_COMPLETE)
    assert crm.twice_in_flight == []
    assert len(crm.store) == 1000


async def test_a_silent_session_of_ours_is_ended_when_it_blocks_our_own_lock(app, url, crm):
    """The network dropped and the server has not noticed: the former session still holds the worker's lock."""
    async with running(url, crm, waits=NO_TICK) as daemon:
        await until_asleep(app)
        worker = await app.fetchval("SELECT id FROM crm_sync.workers")
        former = forget_the_connection(daemon)
        await until(app, f"count(*) = 1 {SESSIONS} AND pid <> $1", former.get_server_pid())
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        assert await app.fetchval("SELECT array_agg(id) FROM crm_sync.workers") == [worker]
        await until(app, f"count(*) = 1 {SESSIONS}")  # the former one was terminated


def forget_the_connection(daemon):
    """The session's connection: it is lost to the worker, and the server does not know."""
    session = daemon._wiring.session
    former, session._connection = session._connection, None
    session._lost.set()
    return former


COMPANY = (
    f"FROM pg_locks WHERE locktype = 'advisory' AND classid = {locks.ADDRESS_SEED} AND objsubid = 2 AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
ALONE = f"{COMPANY} AND mode = 'ExclusiveLock'"


async def test_a_worker_is_alone_until_another_comes_and_again_when_that_has_gone(app, url):
    async with running(url, ScriptedCrm(), waits=QUICK_TICK):
        await until(app, f"count(*) = 1 {ALONE}")
        async with running(url, ScriptedCrm(), waits=QUICK_TICK):
            # Both hold the shared lock, so neither can get the exclusive one, however often they tried.
            await until(app, f"count(*) = 2 {COMPANY} AND mode = 'ShareLock'")
        await until(app, f"count(*) = 1 {ALONE}")


async def test_a_worker_does_not_wait_long_for_one_that_is_alone_and_stands_still(app, other_app, url, crm):
    await other_app.execute("SELECT pg_advisory_lock($1, 4711), pg_advisory_lock($2, 0)", locks.WORKER, locks.ADDRESS_SEED)
    contact = await insert(app, "Queued")
    async with running(url, crm, waits=Waits(tick_s=0.1, company_patience_s=0.1)):
        await until(app, ALL_COMPLETE)
        await other_app.execute("SELECT pg_advisory_unlock_all()")
        await until(app, f"count(*) = 1 {ALONE}")
    assert contact in crm.store


REGISTER = "INSERT INTO crm_sync.workers (id, host, pid, version) VALUES (7777, 'gone', 1, '0')"
# As the dead worker's own claim would leave it.
CLAIMED_BY_IT = (
    "INSERT INTO contacts (email, brevo_sync_status, brevo_processing_status, brevo_attempts, brevo_due_at, brevo_claimed_by) "
    "VALUES ('a@example.com', 'Processing', 'Processing', 1, now(), (7777::bigint << 32) | 1)"
)
ITS_LINE = "INSERT INTO crm_sync.brevo_line (due_at, key) SELECT brevo_due_at, id FROM contacts"


async def test_contacts_of_a_dead_worker_are_taken_over_at_the_tick(app, url, crm):
    async with running(url, crm, waits=QUICK_TICK):
        await until_asleep(app)
        await app.execute("SET session_replication_role = replica")
        await app.execute(CLAIMED_BY_IT)
        await app.execute(ITS_LINE)
        await app.execute(REGISTER)
        await until(app, ALL_COMPLETE)


@slow
async def test_a_claim_that_a_dead_worker_had_on_its_way_is_found_before_the_worker_is_forgotten(app, url, crm, monkeypatch):
    """The server executes it when no worker waits for it any more, and after the first look for orphans."""
    looks = []
    look = Contacts.orphans

    async def watch(self, workers):
        found = await look(self, workers)
        looks.append(list(workers))
        return found

    monkeypatch.setattr(Contacts, "orphans", watch)
    async with running(url, crm, waits=replace(QUICK_TICK, forget_worker_s=1.0)):
        await until_asleep(app)
        await app.execute(REGISTER)
        async with asyncio.timeout(TIMEOUT_S):
            while [7777] not in looks:  # noqa: ASYNC110 (a look has no event)
                await asyncio.sleep(0.01)
        await app.execute("SET session_replication_role = replica")
        await app.execute(CLAIMED_BY_IT)
        await app.execute(ITS_LINE)
        await until(app, ALL_COMPLETE)
        await until(app, "count(*) = 1 FROM crm_sync.workers")


async def test_a_worker_that_is_stopped_after_the_answer_to_a_claim_was_lost_leaves_the_contact_to_others(
    app, url, crm, monkeypatch
):
    claim = Contacts.claim

    async def lose_the_answer(self, limit, token, **options):
        if (await claim(self, limit, token, **options)).contacts:
            raise DatabaseTroubleError("the answer was lost")
        return Claimed([], [])

    with monkeypatch.context() as patched:
        patched.setattr(Contacts, "claim", lose_the_answer)
        async with running(url, crm, waits=NO_TICK):
            await until_asleep(app)
            contact = await insert(app, "Queued")
            await until(app, "bool_and(brevo_claimed_by IS NOT NULL) FROM contacts")
    assert crm.requests == []
    async with running(url, crm, waits=NO_TICK):
        await until(app, ALL_COMPLETE)
    assert [request[0].id for request in crm.requests] == [contact]


async def test_an_orphan_locked_by_the_application_is_recovered_at_a_later_tick(app, other_app, url, crm):
    contact = await insert(app, "Queued")
    dead = await orphan(app)
    async with running(url, crm, waits=QUICK_TICK):
        async with other_app.transaction():
            await other_app.execute("SELECT 1 FROM contacts FOR UPDATE")
            await until_asleep(app)
            assert await app.fetchval("SELECT count(*) FROM crm_sync.workers WHERE id = $1", dead) == 1
        await until(app, ALL_COMPLETE)
    assert contact in crm.store


async def test_a_session_that_hears_nothing_is_refused_at_the_start(url, empty_url, crm):
    daemon = daemon_for(url, crm, listen_database_url=as_worker(empty_url), waits=Waits(listen_timeout_s=0.2))
    with pytest.raises(ConfigurationError, match=r"LISTEN_DATABASE_URL.*direct connection"):
        await asyncio.wait_for(daemon.run(), TIMEOUT_S)


async def test_a_read_only_database_is_waited_for_and_no_crm_is_called(app, url, crm):
    name = url.rpartition("/")[2]
    await app.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('a@example.com', 'Queued')")
    async with running(url, crm, waits=NO_TICK) as daemon:
        await asyncio.sleep(1)
        assert crm.requests == []
        assert not daemon.stop.is_set()
        await app.execute(f"SET default_transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only")
        await until(app, ALL_COMPLETE)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@slow
async def test_it_goes_on_when_postgres_is_restarted(mode):
    with running_server() as server:
        url = server.create_database("contacts")
        await asyncio.to_thread(migrate, url)
        crm = ScriptedCrm()
        async with running(url, crm, waits=NO_TICK):
            app = await asyncpg.connect(url)
            await insert(app, "Queued")
            await until(app, ALL_COMPLETE)
            await app.close()
            await asyncio.to_thread(server.stop, mode)
            await asyncio.to_thread(server.start)
            app = await asyncpg.connect(url)
            await insert(app, "Queued", "bob@example.com")
            await until(app, ALL_COMPLETE)
            await app.close()


async def test_a_claim_whose_answer_was_lost_is_noticed_and_its_contacts_are_delivered(app, url, crm, monkeypatch):
    claim = Contacts.claim
    lost = 0

    async def lose_the_answer(self, limit, token, **options):
        nonlocal lost
        claimed = await claim(self, limit, token, **options)
        if claimed.contacts and lost == 0:
            lost += len(claimed.contacts)
            raise DatabaseTroubleError("the answer was lost")
        return claimed

    monkeypatch.setattr(Contacts, "claim", lose_the_answer)
    async with running(url, crm, waits=Waits(tick_s=0.2)):
        await until_asleep(app)
        contact = await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
    assert lost == 1
    assert (await read(app, contact))["attempts"] == 1
    assert len(crm.requests) == 1


async def test_a_finish_that_a_crash_of_the_database_took_back_is_made_good(app, url, crm):
    async with running(url, crm, waits=NO_TICK):
        contact = await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        worker = await app.fetchval("SELECT id FROM crm_sync.workers")
        await app.execute("SET session_replication_role = replica")
        await app.execute(
            "UPDATE contacts SET brevo_sync_status = 'Processing', brevo_processing_status = 'Processing', brevo_due_at = now(), "
            "brevo_claimed_by = ($1::bigint << 32) | 1",
            worker,
        )
        await app.execute(ITS_LINE)
        await app.execute(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
        await until(app, ALL_COMPLETE)
    assert [request[0].id for request in crm.requests] == [contact, contact], "an upsert is repeated, and that is all"
