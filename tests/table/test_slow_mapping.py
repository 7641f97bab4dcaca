"""A slow mapping is computed without holding locks: writes by others to those rows do not wait for it.

Here it waits for a lock held by the application, so that the test does not depend on timing.
"""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from crm_sync.core.waits import Waits
from crm_sync.errors import TooSlowError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.table.contacts import Contacts
from crm_sync.table.schema import read_schema
from tests.harness import until
from tests.roles import as_worker
from tests.steps import insert

AN_HOUR = 3600.0
WAITING = (
    "CASE first_name WHEN 'slow' THEN pg_advisory_xact_lock_shared(7)::text || first_name "
    "WHEN 'bad' THEN first_name::integer::text ELSE first_name END"
)
WAITS_AT_IT = "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted)"


@asynccontextmanager
async def claiming(url, *, behind_pooler=False, **waits):
    """One claim at a time, with a database that has no time limit."""
    async with Database(as_worker(url), size=2, behind_pooler=behind_pooler, timeout_s=AN_HOUR) as database:
        await database.fetch(query("register_worker"), 1, "test", 1, "0")
        table = (await read_schema(database)).lanes["brevo"]
        contacts = Contacts(database, table, "email", {"FIRSTNAME": WAITING}, Waits(**waits))
        tokens = iter(range(1 << 32, 2 << 32))
        yield lambda: contacts.claim(100, next(tokens))


async def queued(app, *names):
    keys = [await insert(app, "New", f"{name}@example.com") for name in names]
    for key, name in zip(keys, names, strict=True):
        await app.execute("UPDATE contacts SET first_name = $2, brevo_sync_status = 'Queued' WHERE id = $1", key, name)
    return keys


@asynccontextmanager
async def held_up(app, claim):
    """While the mapping of a claim waits."""
    await app.execute("SELECT pg_advisory_lock(7)")
    task = asyncio.create_task(claim())
    try:
        yield task
    finally:
        await app.execute("SELECT pg_advisory_unlock(7)")
        await task


async def write_to(app, keys):
    async with app.transaction():
        await app.execute("SELECT FROM contacts WHERE id = ANY ($1) FOR UPDATE NOWAIT", keys)


def names(claimed):
    return {*(contact.email.partition("@")[0] for contact in claimed.contacts if contact.fields)}


@pytest.mark.parametrize("behind_pooler", [False, True])
async def test_what_the_mapping_takes_long_for_keeps_no_row_locked(app, url, behind_pooler):
    keys = await queued(app, "slow", "quick")
    async with claiming(url, behind_pooler=behind_pooler, claim_patience_s=0.05) as claim:
        async with held_up(app, claim) as task:
            await until(app, f"{WAITS_AT_IT} AND bool_and(brevo_claimed_by IS NOT NULL) FROM contacts")
            await write_to(app, keys)
        claimed = task.result()
        assert not claimed.unreadable
        assert {contact.id for contact in (*claimed.contacts, *claimed.returned)} == {*keys}


async def test_a_mapping_that_was_slow_is_computed_outside_of_the_locks_the_next_time(app, url):
    async with claiming(url, claim_patience_s=AN_HOUR, slow_mapping_s=0.0) as claim:
        await queued(app, "quick")
        assert names(await claim()) == {"quick"}
        keys = await queued(app, "slow")
        async with held_up(app, claim):
            await until(app, f"{WAITS_AT_IT} AND bool_and(brevo_claimed_by IS NOT NULL) FROM contacts")
            await write_to(app, keys)


async def test_one_that_is_quick_again_is_computed_by_the_claim_itself(app, url):
    async with claiming(url, claim_patience_s=AN_HOUR, slow_mapping_s=AN_HOUR) as claim:
        await queued(app, "bad")
        assert len((await claim()).unreadable) == 1, "first claimed, then read"
        keys = await queued(app, "slow")
        async with held_up(app, claim):
            await until(app, WAITS_AT_IT)
            with pytest.raises(asyncpg.LockNotAvailableError):
                await write_to(app, keys)


async def test_a_statement_that_takes_longer_than_it_may_is_cancelled_and_its_connection_is_as_it_was(url):
    async with Database(as_worker(url), size=1, timeout_s=AN_HOUR) as database:
        before = await database.value("SELECT pg_backend_pid()")
        with pytest.raises(TooSlowError):
            await database.fetch_briefly(0.01, "SELECT pg_sleep(600)")
        assert [tuple(row) for row in await database.fetch_briefly(AN_HOUR, "SELECT pg_backend_pid()")] == [(before,)]
