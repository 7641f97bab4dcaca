"""What happens when the Postgres server itself fails, or is being maintained: a separate server, with real faults."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count

import asyncpg
import psycopg
import pytest

from crm_sync import events
from crm_sync.sandbox.postgres import Postgres
from tests.faults.promise import LINE_UP, RecordingCrm, Stopwatch, assert_promise_kept, said
from tests.faults.proxy import Proxy
from tests.harness import ALL_COMPLETE, SESSIONS, TIMEOUT_S, running, until, until_asleep
from tests.roles import PASSWORD, WORKER, migrate
from tests.servers import OPTIONS, VERSION, memory, running_server
from tests.steps import insert
from tests.tiers import alone, slow

OURS = "FROM pg_stat_activity WHERE application_name LIKE 'crm-sync%' AND datname = current_database()"
_numbers = count(1)


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    """A server that may be stopped and killed, whatever server the other tests use. Workers log in with their password."""
    with running_server() as server:
        rules = server.data / "pg_hba.conf"
        rules.write_text(f"host all {WORKER} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")
        migrate(server.create_database("migrated"))
        yield server


@pytest.fixture
def url(own: Postgres) -> Iterator[str]:
    name = f"contacts_{next(_numbers)}"
    yield own.create_database(name, "migrated")
    own.drop_database(name)


@asynccontextmanager
async def application(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@slow
@alone
async def test_it_delivers_within_three_seconds_of_a_restart_under_load(own, url, mode):
    crm = RecordingCrm(batch_limit=5, concurrency=4)
    async with running(url, crm):
        async with application(url) as app:
            await app.execute(LINE_UP, "before.", 500)
        await crm.reached(5)
        await asyncio.to_thread(own.stop, mode)
        await asyncio.to_thread(own.start)
        stopwatch = Stopwatch()
        sent = len(crm.log)
        async with application(url) as app:
            await insert(app, "Queued")
            await until(app, "brevo_sync_status = 'Complete' FROM contacts WHERE email = 'ada@example.com'")
            assert stopwatch.tell(f"restart {mode}, from accepting to a fresh flip delivered") < 3
            await until(app, ALL_COMPLETE)
            await assert_promise_kept(app, crm)
    assert len(crm.log) > sent
    # An immediate stop is a crash: it undoes finishes of the last three wal_writer_delay, which is all of them here.
    twice = 4 * 5 + 100 if mode == "fast" else 501
    assert len(crm.log) <= 501 + twice, "what was in flight or being written may be sent twice, and no more"


@slow
@alone
async def test_a_backend_that_crashes_takes_all_down_and_it_delivers_within_three_seconds(own, url):
    """The server ends every backend and goes through recovery: 57P02, 57P03, resets."""
    crm = RecordingCrm(batch_limit=5, concurrency=4)
    async with running(url, crm):
        async with application(url) as app:
            await until_asleep(app)
            await app.execute(LINE_UP, "before.", 500)
            await crm.reached(5)
            victim = await app.fetchval(f"SELECT pid {OURS} AND application_name <> 'crm-sync session' LIMIT 1")
            stopwatch = Stopwatch()
            os.kill(victim, signal.SIGKILL)
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await until(app, "false")
        async with application(await accepting(url)) as app:
            stopwatch.tell("backend crashed, from the kill to accepting")
            stopwatch.start()
            await insert(app, "Queued")
            await until(app, "brevo_sync_status = 'Complete' FROM contacts WHERE email = 'ada@example.com'")
            assert stopwatch.tell("backend crashed, from accepting to a fresh flip delivered") < 3
            await until(app, ALL_COMPLETE)
            await assert_promise_kept(app, crm)


async def accepting(url: str) -> str:
    """The same URL, once the server accepts connections."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                await (await asyncpg.connect(url)).close()
            except (asyncpg.PostgresError, OSError):
                await asyncio.sleep(0.02)
            else:
                return url


@slow
async def test_one_backend_of_the_pool_that_is_terminated_costs_nothing(url):
    crm = RecordingCrm(batch_limit=5, concurrency=4)
    async with running(url, crm), application(url) as app:
        await until_asleep(app)
        await app.execute(LINE_UP, "a", 500)
        for requests in (5, 20, 40, 60):
            await crm.reached(requests)
            await app.execute(f"SELECT pg_terminate_backend(pid) {OURS} AND application_name <> 'crm-sync session' LIMIT 1")
        await until(app, ALL_COMPLETE)
        await assert_promise_kept(app, crm)


async def test_a_primary_that_becomes_read_only_stops_all_calls_and_says_so(own, url, crm, log):
    async with running(url, crm), application(url) as app:
        await until_asleep(app)
        await app.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await app.execute("SELECT pg_reload_conf()")
        await until(app, "current_setting('default_transaction_read_only')::boolean")
        await app.execute("SET default_transaction_read_only = off")
        await insert(app, "Queued")
        await said(log, events.DATABASE_TROUBLE, "read-only")
        assert crm.log == []
        await app.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await app.execute("SELECT pg_reload_conf()")
        stopwatch = Stopwatch()
        await until(app, ALL_COMPLETE)
        assert stopwatch.tell("read-only, from writable to delivered") < 10
        await assert_promise_kept(app, crm)


async def assert_shut_out_without_hammering(url, crm, log, *, strike: str, reason: str, mend: str) -> None:
    """The worker's role can no longer connect: this is reported and waited for, and nothing is sent meanwhile."""
    async with application(url) as app, Proxy(url) as proxy, running(proxy.url, crm):
        await until_asleep(app)
        try:
            await app.execute(strike)
            await app.execute(f"SELECT pg_terminate_backend(pid) {OURS}")
            before = proxy.attempts
            await insert(app, "Queued")
            await said(log, events.DATABASE_TROUBLE, reason)
            await asyncio.sleep(2)  # the time in which the attempts are counted
            attempts = proxy.attempts - before
            assert crm.log == []
        finally:
            await app.execute(mend)
        stopwatch = Stopwatch()
        await until(app, ALL_COMPLETE)
        stopwatch.tell(f"{reason}, {attempts} attempts in 2 s, from mended to delivered")
        await assert_promise_kept(app, crm)
    assert attempts <= 30


@slow
@pytest.mark.parametrize("limit", [0, 1])
async def test_a_reached_connection_limit_is_said_and_waited_for_without_hammering(url, crm, log, limit):
    """With 0 nothing connects; with 1 the session does, but its pool does not."""
    strike, mend = (f"ALTER ROLE {WORKER} CONNECTION LIMIT {number}" for number in (limit, -1))
    await assert_shut_out_without_hammering(url, crm, log, strike=strike, reason="too many connections for role", mend=mend)


@slow
async def test_a_changed_password_is_said_and_waited_for_without_hammering(url, crm, log):
    strike, mend = (f"ALTER ROLE {WORKER} PASSWORD '{password}'" for password in ("another", PASSWORD))
    await assert_shut_out_without_hammering(url, crm, log, strike=strike, reason="password authentication failed", mend=mend)
    assert PASSWORD not in str(log)


DDL = {
    "a column is added": "ALTER TABLE contacts ADD COLUMN nickname text DEFAULT 'none'",
    "a mapped column changes its type": "ALTER TABLE contacts ALTER COLUMN first_name TYPE varchar(300)",
    "the table is rewritten": "ALTER TABLE contacts ALTER COLUMN email TYPE varchar(400) USING lower(email)",
    "an index is made": "CREATE INDEX contacts_first_name ON contacts (first_name)",
    "an index is made beside the traffic": "CREATE INDEX CONCURRENTLY contacts_last_name ON contacts (last_name)",
    "the table is rewritten by VACUUM": "VACUUM FULL contacts",
    "all statements are analysed anew": "ANALYZE contacts",
}


@asynccontextmanager
async def flips_going_on(url: str) -> AsyncIterator[None]:
    """An application that keeps editing and flipping a tenth of the contacts."""
    over = asyncio.Event()

    async def flip() -> None:
        async with application(url) as client:
            for number in count():
                if over.is_set():
                    return
                await client.execute(
                    "UPDATE contacts SET first_name = $1, brevo_sync_status = 'Queued' WHERE email LIKE $2",
                    str(number), f"%{number % 10}@example.com",
                )  # fmt: skip

    async with asyncio.TaskGroup() as group:
        group.create_task(flip())
        try:
            yield
        finally:
            over.set()


@pytest.mark.parametrize("statement", DDL.values(), ids=DDL.keys())
async def test_work_on_the_table_under_load_loses_nothing(url, log, statement):
    crm = RecordingCrm(batch_limit=5, concurrency=4)
    async with application(url) as app, running(url, crm):
        await until_asleep(app)
        await app.execute(LINE_UP, "a", 300)
        async with flips_going_on(url):
            await crm.reached(60)
            await app.execute(statement)
            await crm.reached(len(crm.requests) + 20)
        await until(app, ALL_COMPLETE)
        await assert_promise_kept(app, crm)
    assert not [entry for entry in log if entry["event"] == events.LOOP_FAILED]


async def test_a_table_lock_is_waited_for_and_what_was_flipped_is_delivered(url, crm):
    crm.gate.clear()
    async with application(url) as app, running(url, crm):
        await insert(app, "Queued")
        await crm.reached(1)
        async with app.transaction():
            await app.execute("LOCK TABLE contacts")
            await insert(app, "Queued", "bob@example.com")
            crm.gate.set()
            await until(app, "count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'contacts'::regclass")
        await until(app, ALL_COMPLETE)
        await assert_promise_kept(app, crm)
    assert sorted(crm.log) == ["ada@example.com", "bob@example.com"]


async def test_a_lock_that_is_held_longer_than_the_role_may_wait_is_waited_for(url, crm):
    """A lock_timeout set for a role or a database does not affect a worker."""
    async with application(url) as app:
        await app.execute(f"ALTER ROLE {WORKER} SET lock_timeout = '1ms'")
        try:
            async with running(url, crm):
                await until_asleep(app)
                async with app.transaction():
                    await app.execute("LOCK TABLE contacts")
                    await insert(app, "Queued")
                    async with application(url) as other:
                        await other.execute("SELECT pg_notify('crm_sync', 'brevo')")
                        waits = "application_name = 'crm-sync' AND wait_event_type = 'Lock'"
                        await until(app, f"count(*) > 0 FROM pg_stat_activity WHERE {waits}")
                await until(app, ALL_COMPLETE)
        finally:
            await app.execute(f"ALTER ROLE {WORKER} RESET lock_timeout")
        await assert_promise_kept(app, crm)


async def test_a_column_of_ours_dropped_under_way_is_told_with_its_name_and_the_worker_goes_on(url, crm):
    async with application(url) as app, running(url, crm):
        await until_asleep(app)
        await insert(app)
        # Together, so that the worker finds it in line.
        flip = "UPDATE contacts SET brevo_sync_status = 'Queued'"
        await app.execute(f"{flip}; ALTER TABLE contacts DROP COLUMN brevo_synced_at CASCADE")
        fault = "fault FROM crm_sync.lanes WHERE crm = 'brevo'"
        await until(app, "fault IS NOT NULL FROM crm_sync.lanes WHERE crm = 'brevo'")
        assert "brevo_synced_at: run `crm-sync migrate`" in await app.fetchval(f"SELECT {fault}")


class Replica(Postgres):
    """A hot standby of another server."""

    def follow(self, primary: Postgres) -> None:
        self._run("pg_basebackup", "-D", self.data, "-d", primary.url(), "-R", "-c", "fast")
        self.start()

    def stop_following(self) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
            connection.execute("SELECT pg_reload_conf()")

    def promote(self) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")


@slow
async def test_after_a_failover_that_lost_the_last_commits_everything_lost_is_sent_again():
    """The replica has the claims, but not their finishes, nor the last flips."""
    crm = RecordingCrm(batch_limit=1, concurrency=4)
    crm.gate.clear()
    with running_server() as primary:
        replica = Replica(VERSION, OPTIONS, within=memory())
        try:
            primary_url = primary.create_database("contacts")
            await asyncio.to_thread(migrate, primary_url)
            await asyncio.to_thread(replica.follow, primary)
            both = f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{replica.port}/contacts"
            async with running(f"{both}?target_session_attrs=read-write", crm):
                async with application(primary_url) as app:
                    await app.execute(LINE_UP, "kept.", 20)
                    await crm.reached(4)
                    async with application(replica.url("contacts")) as there:
                        await until(there, "count(*) = 20 AND count(brevo_claimed_by) >= 4 FROM contacts")
                        await asyncio.to_thread(replica.stop_following)
                        await until(there, "count(*) = 0 FROM pg_stat_wal_receiver")
                    await app.execute(LINE_UP, "lost.", 5)
                    crm.gate.set()
                    await until(app, ALL_COMPLETE)
                assert len(crm.log) == 25
                async with application(replica.url("contacts")) as there:
                    assert await there.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Complete'") == 0
                await asyncio.to_thread(primary.stop, "immediate")
                await asyncio.to_thread(replica.promote)
                stopwatch = Stopwatch()
                async with application(replica.url("contacts")) as app:
                    await insert(app, "Queued")
                    await until(app, ALL_COMPLETE)
                    stopwatch.tell("failover, from promoted to all delivered")
                    assert await app.fetchval("SELECT count(*) FROM contacts") == 21
                    await assert_promise_kept(app, crm)
            assert len(crm.log) == 25 + 20 + 1
        finally:
            replica.destroy()


@slow
async def test_a_synchronous_standby_that_is_away_keeps_no_worker_from_starting_delivering_or_ending(own, url):
    """Commits of the application wait for it by default; the worker's do not."""
    async with application(url) as app:
        await app.execute("SET synchronous_commit = local")
        await app.execute("ALTER SYSTEM SET synchronous_standby_names = 'away'")
        await app.execute("SELECT pg_reload_conf()")
        try:
            await until(app, "current_setting('synchronous_standby_names') = 'away'")
            for name in ("a", "b"):  # the second one finds nothing left by the first
                crm = RecordingCrm()
                async with running(url, crm):
                    await insert(app, "Queued", f"{name}@example.com")
                    await until(app, ALL_COMPLETE)
                await until(app, "count(*) = 0 FROM crm_sync.workers")
                await until(app, f"count(*) = 0 {SESSIONS}")
        finally:
            await app.execute("ALTER SYSTEM RESET synchronous_standby_names")
            await app.execute("SELECT pg_reload_conf()")
