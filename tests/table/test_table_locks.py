"""A transaction of the application that locks the table more and more strongly: no claim or finish waits with a lock in hand."""

import asyncio

import pytest

from crm_sync.core.outcome import Finish, Kind
from tests.harness import until
from tests.steps import insert, open_worker

LOCKS_OF_OTHERS = (
    "pg_locks WHERE relation = 'contacts'::regclass AND pid <> pg_backend_pid() "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
ALTERED = "ALTER TABLE contacts ALTER last_name TYPE varchar(200)"


async def claim(worker):
    return await worker.claim()


async def claim_single(worker):
    return await worker.claim(rung=True)


async def claim_by_keys(worker):
    worker.contacts._kept = 1
    return await worker.claim()


@pytest.mark.parametrize("uses", [0, 6], ids=["new", "used"])
@pytest.mark.parametrize("claim", [claim, claim_single, claim_by_keys])
async def test_a_claim_waits_for_an_index_without_a_lock(app, url, claim, uses):
    async with open_worker(url, 1) as worker:
        await worker.claim()  # the first one looks at the whole line in another statement
        for number in range(uses):
            await insert(app, "Queued", f"{number}@example.com")
            (claimed,) = await claim(worker)
            await worker.finish(claimed, Kind.DELIVERED)
        await insert(app, "Queued")
        async with app.transaction():
            await app.execute("CREATE INDEX ON contacts (last_name)")
            claiming = asyncio.create_task(claim(worker))
            await until(app, f"EXISTS (SELECT FROM {LOCKS_OF_OTHERS} AND NOT granted)")
            assert await app.fetch(f"SELECT mode FROM {LOCKS_OF_OTHERS} AND granted") == []
            await app.execute(ALTERED)
        assert [contact.email for contact in await claiming if contact.email] in ([], ["ada@example.com"])


@pytest.mark.parametrize("uses", [0, 6], ids=["new", "used"])
async def test_so_does_a_finish(app, url, uses):
    async with open_worker(url, 1) as worker:
        for number in range(uses):
            await insert(app, "Queued", f"{number}@example.com")
            (claimed,) = await worker.claim()
            await worker.finish(claimed, Kind.DELIVERED)
        await insert(app, "Queued")
        (claimed,) = await worker.claim()
        async with app.transaction():
            await app.execute("CREATE INDEX ON contacts (last_name)")
            finishing = asyncio.create_task(worker.contacts.finish([Finish(claimed.id, claimed.token, Kind.DELIVERED)]))
            await until(app, f"EXISTS (SELECT FROM {LOCKS_OF_OTHERS} AND NOT granted)")
            assert await app.fetch(f"SELECT mode FROM {LOCKS_OF_OTHERS} AND granted") == []
            await app.execute(ALTERED)
        assert len((await finishing).written) == 1
