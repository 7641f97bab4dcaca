"""The connection that was used last stays at hand."""

import asyncio

import asyncpg
import pytest

from crm_sync.errors import DatabaseTroubleError
from crm_sync.postgres import lending, pool
from crm_sync.postgres.pool import Database
from tests.harness import until
from tests.roles import as_worker

PID = "SELECT pg_backend_pid()"
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
        async with asyncio.timeout(5):
            while not driver.is_closed():  # noqa: ASYNC110 (the driver has no event for it)
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
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await database.fetch("SELECT pg_sleep(5)")
        assert await database.value(PID) != former


async def test_a_renewed_pool_does_not_use_what_the_former_one_had_at_hand(app, url):
    async with Database(as_worker(url), size=1) as database:
        former = await database.value(PID)
        await database.renew()
        assert await database.value(PID) != former
