"""One contact, four CRMs, a real worker: each gets it, and none waits for another."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from crm_sync.sandbox.__main__ import UNLIMITED
from crm_sync.sandbox.comparison import record
from crm_sync.sandbox.process import CRMS, settings
from crm_sync.sandbox.server import Answer, Fault
from tests.harness import until
from tests.process import environment, process
from tests.tiers import slow

FLIP_ALL = "UPDATE contacts SET " + ", ".join(f"{crm}_sync_status = 'Queued'" for crm in CRMS)
PEOPLE = (
    "INSERT INTO contacts (email, first_name, last_name, phone) "
    "SELECT 'person.' || n || '@example.com', 'Ada', 'Lovelace', '+3363998000' || n FROM generate_series(1, 9) AS n"
)


@pytest.fixture
async def sandboxes():
    async with AsyncExitStack() as stack:
        yield {crm: await stack.enter_async_context(UNLIMITED[crm](0)) for crm in CRMS}


def worker(url, sandboxes):
    env = environment(url)
    for crm, sandbox in sandboxes.items():
        env |= settings(crm, sandbox.url)
    return process(env)


def there(sandboxes, crm):
    """What a CRM holds, by address."""
    shown = sandboxes[crm].table("contacts")
    as_json = [one if isinstance(one, dict) else {name: getattr(one, name) for name in one.__slots__} for one in shown]
    return {one.email: one for one in (record(crm, each) for each in as_json)}


def complete(*crms):
    return " AND ".join(f"bool_and({crm}_sync_status = 'Complete')" for crm in crms) + " FROM contacts"


async def test_one_contact_fans_out_to_all_four(app, url, sandboxes):
    async with worker(url, sandboxes):
        await app.execute(PEOPLE)
        await app.execute(FLIP_ALL)
        await until(app, complete(*CRMS))
    for crm in CRMS:
        held = there(sandboxes, crm)
        assert len(held) == 9
        assert {(one.first_name, one.last_name) for one in held.values()} == {("Ada", "Lovelace")}
        column = "n8n_workflow_id" if crm == "n8n" else f"{crm}_contact_id"
        ids = await app.fetch(f"SELECT email, {column} AS id FROM contacts")
        assert {row["email"]: row["id"] for row in ids} == {email: one.id for email, one in held.items()}


@slow
@pytest.mark.parametrize("crm", CRMS)
async def test_a_flip_in_flight_that_no_trigger_saw_is_delivered_with_its_values(app, url, sandboxes, crm):
    """Its time is that of the previous flip: a workflow that has handled that one handles this one, too."""
    sandboxes[crm].standing_faults.append(Fault(matches=lambda call: call.method != "GET", applies=True, delay_s=0.5))
    async with worker(url, sandboxes):
        await app.execute("INSERT INTO contacts (email, first_name) VALUES ('person.1@example.com', 'Ada')")
        await app.execute(f"UPDATE contacts SET {crm}_sync_status = 'Queued'")
        await until(app, f"bool_and({crm}_sync_status = 'Processing') FROM contacts")
        while not there(sandboxes, crm):  # noqa: ASYNC110 (a sandbox has no events)
            await asyncio.sleep(0.01)
        async with app.transaction():
            await app.execute("SET LOCAL session_replication_role = replica")
            again = f"UPDATE contacts SET first_name = 'Eve', {crm}_sync_status = 'Queued' WHERE {crm}_claimed_by IS NOT NULL"
            assert await app.execute(again) == "UPDATE 1"
        await until(app, complete(crm))
    assert there(sandboxes, crm)["person.1@example.com"].first_name == "Eve"


async def test_a_changed_address_stays_the_same_record_in_each(app, url, sandboxes):
    async with worker(url, sandboxes):
        await app.execute(PEOPLE)
        await app.execute(FLIP_ALL)
        await until(app, complete(*CRMS))
        await app.execute("UPDATE contacts SET email = 'new.' || email")
        await app.execute(FLIP_ALL)
        await until(app, complete(*CRMS))
    for crm in ("hubspot", "brevo", "mautic"):
        held = there(sandboxes, crm)
        assert sorted(held) == [f"new.person.{n}@example.com" for n in range(1, 10)]


@pytest.mark.parametrize("down", CRMS)
async def test_one_that_is_down_delays_no_other_and_marks_no_contact(app, url, sandboxes, down):
    outage = Fault(answer=Answer(503, b"down", {"Content-Type": "text/plain"}))
    sandboxes[down].standing_faults.append(outage)
    others = [crm for crm in CRMS if crm != down]
    async with worker(url, sandboxes):
        await app.execute(PEOPLE)
        await app.execute(FLIP_ALL)
        await until(app, complete(*others))
        marks = f"count(*) FILTER (WHERE {down}_processing_error IS NOT NULL OR {down}_sync_status = 'Error') = 0 FROM contacts"
        assert await app.fetchval(f"SELECT {marks}")
        sandboxes[down].standing_faults.remove(outage)
        await until(app, complete(*CRMS))
    assert len(there(sandboxes, down)) == 9
    assert await app.fetchval(f"SELECT max({down}_attempts) FROM contacts") == 1


async def test_two_workers_make_no_contact_of_mautic_twice(app, url, sandboxes):
    """Mautic does not enforce unique addresses: two concurrent requests with one address would create two records."""
    mautic = sandboxes["mautic"]
    mautic.work_s = 0.05  # between looking for an address and writing it
    only = {"mautic": mautic}
    async with worker(url, only), worker(url, only):
        await until(app, "count(*) = 2 FROM crm_sync.workers")
        for spelling in ("ada{}@example.com", "Ada{}@example.com", "ADA{}@EXAMPLE.COM", " ada{}@example.com"):
            for number in range(10):
                await app.execute(
                    "INSERT INTO contacts (email, mautic_sync_status) VALUES ($1, 'Queued')", spelling.format(number)
                )
        await until(app, complete("mautic"))
    assert len(mautic.table("contacts")) == 10
    assert await app.fetchval("SELECT count(DISTINCT mautic_contact_id) FROM contacts") == 10
    assert len({row[0] for row in await app.fetch("SELECT mautic_claimed_by FROM contacts")}) == 1, "nothing is left claimed"


@slow
async def test_deleted_contacts_are_deleted_in_each(app, url, sandboxes):
    """Two of nine, by the real worker, at its own tick. HubSpot erases."""
    for crm in CRMS:
        await app.execute("SELECT crm_sync.set_on_delete($1, $2)", crm, "erase" if crm == "hubspot" else "delete")
    async with worker(url, sandboxes):
        await app.execute(PEOPLE)
        await app.execute(FLIP_ALL)
        await until(app, complete(*CRMS))
        await app.execute("DELETE FROM contacts WHERE email IN ('person.3@example.com', 'person.4@example.com')")
        await until(app, "count(*) = 0 FROM crm_sync.tombstones")
    for crm in CRMS:
        assert sorted(there(sandboxes, crm)) == [f"person.{n}@example.com" for n in (1, 2, 5, 6, 7, 8, 9)]
    assert not sandboxes["hubspot"].account.archived
