"""A person is deleted and inserted again with the same address: in whatever order two workers and the CRM do what follows, the
CRM ends with the new contact.

In each test the row of Ada is delivered, deleted, and inserted again. The tests differ in when the deletion and the new delivery
arrive. Of each step, the test knows when it has happened.
"""

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import pytest

from crm_sync.core.waits import Waits
from crm_sync.sandbox.process import CRMS, settings
from crm_sync.sandbox.server import Answer, Fault, Hold
from tests.faults.real_crms import complete, delivering, records, remote_id, sandboxes
from tests.harness import until
from tests.process import environment, process
from tests.tiers import one_quick, slow

ADA, KEY, OTHER_KEY = "ada@example.com", "2d1e0a1c-0000-4000-8000-000000000001", "2d1e0a1c-0000-4000-8000-000000000002"
QUICK = Waits(tick_s=0.05, address_busy_s=0.05, first_probe_s=0.05, longest_probe_s=0.05)
TRIED = "bool_and(attempts = 1 AND claimed_by IS NULL) FROM crm_sync.tombstones"
NONE_LEFT = "count(*) = 0 FROM crm_sync.tombstones"
every_crm = pytest.mark.parametrize("crm", one_quick(CRMS))
pytestmark = pytest.mark.usefixtures("indexed")
either_key = pytest.mark.parametrize("key", one_quick([OTHER_KEY, KEY]))


def is_deletion(call):
    """Of any of the CRMs."""
    told = isinstance(call.body, dict) and call.body.get("event") == "deleted"
    return told or call.method == "DELETE" or call.path.endswith(("/batch/archive", "/gdpr-delete"))


def is_delivery(call):
    """A request that writes a contact of the name New."""
    return call.method in ("POST", "PUT", "PATCH") and "New" in str(call.body)


async def insert(app, crm, name, key=KEY, email=ADA):
    statement = f"INSERT INTO contacts (id, email, first_name, {crm}_sync_status) VALUES ($1, $2, $3, 'Queued')"
    await app.execute(statement, key, email, name)


async def delete(app):
    await app.execute("DELETE FROM contacts WHERE first_name = 'Old'")


@pytest.fixture
async def indexed(app):
    """As applications do that look people up by address. Without, only n8n's own workflow knows who an address is."""
    await app.execute("CREATE INDEX ON contacts (lower(email))")


@pytest.fixture
def old_in(app, url, monkeypatch):
    """Two workers have delivered the old contact. Yields the CRM's sandbox, in which it is."""

    @asynccontextmanager
    async def two_workers(crm, *, timeout_s=None):
        await app.execute("SELECT crm_sync.set_on_delete($1, 'delete')", crm)
        async with sandboxes(crm) as there:
            worker = partial(delivering, url, monkeypatch, {crm: there[crm].url}, waits=QUICK, timeout_s=timeout_s)
            async with worker(), worker():
                await until(app, "count(*) = 2 FROM crm_sync.living_workers")
                await insert(app, crm, "Old")
                await until(app, complete(crm))
                yield there[crm]

    return two_workers


async def all_over(app, crm):
    """Every deletion is over, without the waits between its attempts, and every contact delivered."""
    due_now = "WITH due AS (UPDATE crm_sync.tombstones SET due_at = now() WHERE claimed_by IS NULL AND due_at > now()) "
    async with asyncio.timeout(60):
        while not await app.fetchval(f"{due_now} SELECT {NONE_LEFT}"):  # noqa: ASYNC110 (the table has no events)
            await asyncio.sleep(0.01)
    await until(app, complete(crm))


async def assert_the_new_one_is_there(app, crm, sandbox):
    [one] = [one for one in records(crm, sandbox) if one.email == ADA]
    assert one.first_name == "New"
    if crm != "n8n":  # whose id is that of a run
        assert await app.fetchval(f"SELECT {remote_id(crm)} FROM contacts") == one.id


@every_crm
@either_key
async def test_delivered_before_the_deletion_is_sent(app, old_in, crm, key):
    async with old_in(crm) as sandbox:
        async with app.transaction():
            await delete(app)
            await app.execute("UPDATE crm_sync.tombstones SET due_at = now() + interval '1 hour'")
            await insert(app, crm, "New", key)
        await until(app, complete(crm))
        assert not any(map(is_deletion, sandbox.requests))
        await all_over(app, crm)
        await assert_the_new_one_is_there(app, crm, sandbox)


@every_crm
@either_key
async def test_inserted_while_the_deletion_is_under_way(app, old_in, crm, key):
    async with old_in(crm) as sandbox:
        sandbox.next_faults.append(Fault(is_deletion, hold=(hold := Hold())))
        await delete(app)
        await hold.reached.wait()
        await insert(app, crm, "New", key)
        await until(app, f"bool_and({crm}_due_at > {crm}_flipped_at) FROM contacts")  # put back: the address is busy
        hold.release()
        await all_over(app, crm)
        await assert_the_new_one_is_there(app, crm, sandbox)


@every_crm
@either_key
@pytest.mark.parametrize("applies", one_quick([True, False]))
async def test_the_answer_to_the_deletion_is_lost(app, old_in, crm, key, applies):
    """It took effect, or never arrived."""
    async with old_in(crm) as sandbox:
        sandbox.next_faults.append(Fault(is_deletion, applies=applies, answer=Answer(502, b"bad gateway")))
        await delete(app)
        await until(app, TRIED)
        await insert(app, crm, "New", key)
        await until(app, complete(crm))
        await all_over(app, crm)
        await assert_the_new_one_is_there(app, crm, sandbox)


@every_crm
@either_key
async def test_the_deletion_that_timed_out_arrives_after_the_new_delivery(app, old_in, crm, key):
    async with old_in(crm, timeout_s=0.5) as sandbox:
        sandbox.next_faults.append(Fault(is_deletion, hold=(hold := Hold())))
        await delete(app)
        await until(app, TRIED)
        await insert(app, crm, "New", key)
        await until(app, complete(crm))
        hold.release()
        await until_arrived(sandbox, is_deletion)
        await all_over(app, crm)
        await assert_the_new_one_is_there(app, crm, sandbox)


async def until_arrived(sandbox, matches):
    async with asyncio.timeout(30):
        while not any(map(matches, sandbox.requests)):  # noqa: ASYNC110 (a log has no events)
            await asyncio.sleep(0.01)


@every_crm
async def test_the_deletion_comes_before_the_outcome_of_the_new_delivery_is_written(app, url, old_in, crm):
    """The application has locked the row, so it stays in flight."""
    async with old_in(crm) as sandbox:
        sandbox.next_faults.append(Fault(is_delivery, hold=(hold := Hold())))
        async with app.transaction():
            await delete(app)
            await app.execute("UPDATE crm_sync.tombstones SET due_at = now() + interval '1 hour'")
            await insert(app, crm, "New", OTHER_KEY)
        await hold.reached.wait()
        application = await asyncpg.connect(url)
        try:
            async with application.transaction():
                await application.execute("SELECT FROM contacts FOR UPDATE")
                hold.release()
                await until_arrived(sandbox, is_delivery)
                await app.execute("UPDATE crm_sync.tombstones SET due_at = now()")
                await until(app, "bool_and(due_at > now() AND claimed_by IS NULL) FROM crm_sync.tombstones")
        finally:
            await application.close()
        await all_over(app, crm)
        await assert_the_new_one_is_there(app, crm, sandbox)


@slow
@every_crm
async def test_the_worker_that_deletes_is_killed_and_its_deletion_arrives_last(app, url, monkeypatch, crm):
    await app.execute("SELECT crm_sync.set_on_delete($1, 'delete')", crm)
    async with sandboxes(crm) as there:
        sandbox = there[crm]
        async with process(environment(url) | settings(crm, sandbox.url)) as worker:
            await insert(app, crm, "Old")
            await until(app, complete(crm))
            sandbox.next_faults.append(Fault(is_deletion, hold=(hold := Hold())))
            await delete(app)
            await hold.reached.wait()
            worker.kill()
        async with delivering(url, monkeypatch, {crm: sandbox.url}, waits=QUICK):
            await insert(app, crm, "New", OTHER_KEY)
            await until(app, complete(crm))
            hold.release()
            await until_arrived(sandbox, is_deletion)
            await app.execute("UPDATE crm_sync.tombstones SET due_at = now()")
            await all_over(app, crm)
            await assert_the_new_one_is_there(app, crm, sandbox)
