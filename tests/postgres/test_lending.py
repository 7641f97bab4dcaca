"""The connection that was used last stays at hand."""

import asyncio

import asyncpg
import pytest

from crm_sync.errors import DatabaseTroubleError
from crm_sync.postgres import lending, pool
from crm_sync.postgres.pool import Database
from tests.harness import TIMEOUT_S, until
from tests.roles import as_worker

PID = "SELECT pg_backend_pid()"
WAITS = "SELECT 1 FROM pg_stat_activity WHERE query LIKE $1 AND wait_event = 'PgSleep'"
OPEN = "count(*) FROM pg_stat_activity WHERE application_name = 'crm-sync' AND datname = current_database()"


async def test_statements_one_after_another_share_a_connection(app, url):
    async with Database(as_worker(url), size=3) as database:
        assert len({await database.value(PID) for _ in range(5)}) == 1
        assert await app.fetchval(f"SELECT {OPEN}") == 1


async def test_statements_at_the_same_time_have_a_connection_each(app, url):
    async with Database(as_worker(url), size=3) as database:
        await database.value(PID)
        asked = [database.value("SELECT pg_backend_pid() FROM pg_sleep(0.05)") for _ in range(3)]
        assert len(set(await asyncio.gather(*asked))) == 3


async def test_a_statement_that_waits_for_a_connection_gets_the_one_given_back(app, url):
    async with Database(as_worker(url), size=1) as database:
        waited = [database.value("SELECT pg_backend_pid() FROM pg_sleep(0.01)") for _ in range(4)]
        assert len(set(await asyncio.gather(*waited))) == 1


async def test_a_connection_that_stays_idle_is_closed(app, url, monkeypatch):
    monkeypatch.setattr(lending, "AT_HAND_S", 0.02)
    monkeypatch.setattr(pool, "IDLE_S", 0.05)
    async with Database(as_worker(url), size=2) as database:
        await database.value(PID)
        await until(app, f"count(*) = 0 {OPEN.removeprefix('count(*)')}")
        assert await database.value("SELECT 1") == 1


async def test_a_connection_that_the_server_ended_meanwhile_is_not_used_again(app, url):
    async with Database(as_worker(url), size=1) as database:
        former = await database.value(PID)
        async with database.connection() as connection:
            driver = connection._con
        await app.execute("SELECT pg_terminate_backend($1, 5000)", former)
        async with asyncio.timeout(TIMEOUT_S):
            while not driver.is_closed():  # noqa: ASYNC110 (the driver has no event for it)
                await asyncio.sleep(0.01)
        assert await database.value(PID) != former


async def test_a_connection_that_ends_after_its_statement_costs_that_one_nothing(app, url):
    async with Database(as_worker(url), size=1) as database:
        async with database.connection() as connection, asyncio.timeout(TIMEOUT_S):
            former = await connection.fetchval(PID)
            await app.execute("SELECT pg_terminate_backend($1, 5000)", former)
            while connection._con is not None:  # noqa: ASYNC110 (the driver has no event for it)
                await asyncio.sleep(0.01)
        assert await database.value(PID) != former


async def test_no_connection_is_used_after_an_error_that_may_be_its_own(app, url):
    async with Database(as_worker(url), size=1) as database:
        former = await database.value(PID)
        with pytest.raises(DatabaseTroubleError):
            async with database.connection():
                raise asyncpg.InterfaceError("broken")
        assert await database.value(PID) != former


async def test_a_cancelled_statement_leaves_no_connection_at_hand(app, url):
    async with Database(as_worker(url), size=1) as database:
        former = await database.value(PID)
        sleeping = asyncio.create_task(database.fetch("SELECT pg_sleep(60)"))
        await until(app, f"EXISTS ({WAITS})", "%pg_sleep(60)%")
        sleeping.cancel()
        await asyncio.wait([sleeping])
        assert await database.value(PID) != former


async def test_a_renewed_pool_does_not_use_what_the_former_one_had_at_hand(app, url):
    async with Database(as_worker(url), size=1) as database:
        former = await database.value(PID)
        await database.renew()
        assert await database.value(PID) != former


async def test_a_connection_on_which_a_late_statement_may_still_run_is_used_by_no_other(app, url):
    """Behind a pooler the statement is waited for. Its task may be cancelled meanwhile."""
    await app.execute(
        "CREATE FUNCTION stubborn() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(10); "
        "EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(0.5); END $$"
    )
    async with Database(as_worker(url), size=2, behind_pooler=True, timeout_s=0.6) as database:
        late = asyncio.create_task(database.fetch("SELECT public.stubborn()"))
        async with asyncio.timeout(TIMEOUT_S):
            while not late.done() and not await app.fetchval(WAITS, "%stubborn%"):  # noqa: ASYNC110 (no event says so)
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.7)  # it is over time, and waited for
        late.cancel()
        await asyncio.wait([late])
        asked = [database.value("SELECT 1 FROM pg_sleep(0.1)") for _ in range(4)]
        assert await asyncio.gather(*asked) == [1] * 4
    assert late.cancelled()


@pytest.mark.parametrize("broken_off", ["BEGIN", "ROLLBACK"])
async def test_a_transaction_that_could_not_begin_or_end_is_no_longer_there(app, url, monkeypatch, broken_off):
    """Its own words were cancelled by the server: that says nothing about the connection, which the pool resets."""
    execute, refused = asyncpg.Connection.execute, []

    async def refuse_once(connection, statement, *arguments, **options):
        if statement.startswith(broken_off) and not refused:
            refused.append(statement)
            raise asyncpg.QueryCanceledError("canceling statement due to user request")
        return await execute(connection, statement, *arguments, **options)

    async with Database(as_worker(url), size=1) as database:
        monkeypatch.setattr(asyncpg.Connection, "execute", refuse_once)
        with pytest.raises(DatabaseTroubleError):
            await database.fetch_within(5, "SELECT 1/0")
        assert (await database.fetch_within(5, "SELECT 1"))[0][0] == 1
    assert refused


async def test_a_connection_that_is_never_idle_is_replaced_as_well(app, url, monkeypatch):
    """Otherwise what a backend keeps in its memory would grow for years."""
    monkeypatch.setattr(lending, "MOST_IN_A_ROW", 5)
    async with Database(as_worker(url), size=1) as database:
        database._arguments["max_queries"] = 10
        await database.renew()
        assert len({await database.value(PID) for _ in range(30)}) > 1
