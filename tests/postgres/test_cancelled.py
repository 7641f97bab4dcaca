"""A task that is cancelled before a Postgres that has gone silent: it ends at once, and as cancelled."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from crm_sync.errors import DatabaseTroubleError
from crm_sync.postgres.brief_transaction import brief_transaction
from crm_sync.postgres.pool import Database, connect
from crm_sync.postgres.translation import translated
from crm_sync.postgres.visiting import ReadOnly
from tests.faults.proxy import Proxy
from tests.harness import TIMEOUT_S
from tests.roles import as_worker

ENDLESS_S = 600.0  # what waits for the timeout of a statement waits for longer than the test


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[Proxy]:
    async with Proxy(url) as proxy:
        yield proxy


async def read_alone(database):
    await database.fetch("SELECT 1")


async def read_within_a_time(database):
    await database.fetch_within(ENDLESS_S, "SELECT 1")


async def read_in_a_transaction(database):
    async with brief_transaction(database) as connection:
        await connection.fetch("SELECT 1")


@pytest.mark.parametrize("kind", [Database, ReadOnly])
@pytest.mark.parametrize("read", [read_alone, read_within_a_time, read_in_a_transaction])
async def test_in_the_middle_of_a_statement(proxy, kind, read):
    async with kind(as_worker(proxy.url), size=1, timeout_s=ENDLESS_S) as database:
        await database.fetch("SELECT 1")
        lost = proxy.lose_answer("SELECT 1", silent=True)
        reading = asyncio.create_task(read(database))
        await asyncio.wait_for(lost.happened.wait(), TIMEOUT_S)
        proxy.black_hole()
        reading.cancel()
        await asyncio.wait([reading], timeout=TIMEOUT_S)
        assert reading.cancelled()


async def through_the_pool(url):
    async with Database(url, size=1, timeout_s=ENDLESS_S) as database:
        await database.fetch("SELECT 1")


async def beside_it(url):
    connection = await connect(url, timeout_s=ENDLESS_S)
    await connection.close()


@pytest.mark.parametrize("connecting", [through_the_pool, beside_it])
async def test_while_a_connection_is_being_set_up(proxy, connecting):
    lost = proxy.lose_answer("transaction_timeout", silent=True)
    opening = asyncio.create_task(connecting(as_worker(proxy.url)))
    done, _ = await asyncio.wait([opening, asyncio.create_task(lost.happened.wait())], return_when=asyncio.FIRST_COMPLETED)
    if opening in done:
        pytest.skip("a server older than 17 has nothing to set up")
    proxy.black_hole()
    opening.cancel()
    await asyncio.wait([opening], timeout=TIMEOUT_S)
    assert opening.cancelled()


async def test_an_error_that_comes_at_the_same_moment_does_not_take_the_place_of_the_cancellation():
    async def fail_as_it_is_cancelled():
        async with translated():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise OSError("the connection broke") from None

    failing = asyncio.create_task(fail_as_it_is_cancelled())
    await asyncio.sleep(0)
    failing.cancel()
    await asyncio.wait([failing], timeout=TIMEOUT_S)
    assert failing.cancelled()


async def test_without_a_cancellation_it_is_trouble_with_the_database():
    with pytest.raises(DatabaseTroubleError):
        async with translated():
            raise OSError("the connection broke")


async def test_a_transaction_that_fails_is_rolled_back_and_its_connection_is_used_again(app, url):
    async def give_up(database):
        async with brief_transaction(database) as connection:
            backends.append(await connection.fetchval("SELECT pg_backend_pid()"))
            await connection.execute("INSERT INTO public.contacts (email) VALUES ('ada@example.com')")
            raise LookupError

    backends = []
    async with Database(url, size=1) as database:
        with pytest.raises(LookupError):
            await give_up(database)
        assert [await database.value("SELECT pg_backend_pid()")] == backends
    assert await app.fetchval("SELECT count(*) FROM contacts") == 0
