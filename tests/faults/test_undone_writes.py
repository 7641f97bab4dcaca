"""Triggers of the application that undo a worker's write, without an error: they keep a row as it is, or put a column back."""

import asyncio

import pytest

from crm_sync import events
from crm_sync.core.outcome import Finish, Kind
from crm_sync.core.waits import Waits
from crm_sync.postgres.pool import Database
from crm_sync.reports.refused_rows import refused_notes
from tests.faults.promise import LINE_UP, said
from tests.harness import running, until, until_asleep
from tests.roles import as_worker
from tests.steps import counted_statements, insert, open_worker, read

OTHERS = 20
OTHERS_COMPLETE = "count(*) = $1 FROM contacts WHERE email <> 'ada@example.com' AND brevo_sync_status = 'Complete'"
IN_LINE = "brevo_sync_status = 'Queued' AND brevo_processing_status = 'Queued' FROM contacts WHERE id = $1"
CLAIMED = "NEW.brevo_claimed_by IS NOT NULL"
FINISHED = "OLD.brevo_claimed_by IS NOT NULL"
SLEEPS = "EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database())"
QUICK = Waits(tick_s=0.2, avoid_row_s=0.2)


def guard(when: str, body: str = "RETURN NULL;", whom: str = "OLD.email = 'ada@example.com'") -> str:
    return f"""
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$;
CREATE TRIGGER guard BEFORE UPDATE ON contacts FOR EACH ROW WHEN ({whom} AND {when}) EXECUTE FUNCTION guard();
"""


def put_back(column: str) -> str:
    return f"NEW.{column} := OLD.{column};"


@pytest.mark.parametrize("body", ["RETURN NULL;", put_back("brevo_sync_status"), put_back("brevo_claimed_by")])
async def test_a_contact_whose_claim_is_undone_is_not_sent_and_is_delivered_once_the_trigger_is_gone(app, url, crm, log, body):
    await app.execute(guard(CLAIMED, body))
    contact = await insert(app, "Queued")
    async with running(url, crm, waits=QUICK):
        await app.execute(LINE_UP, "good", OTHERS)
        await until(app, OTHERS_COMPLETE, OTHERS)
        await said(log, events.CONTACT_REFUSED, "guard")
        await until(app, "EXISTS (SELECT FROM crm_sync.progress WHERE refused ? $1)", str(contact))
        async with Database(as_worker(url), size=1) as database:
            ((name, note),) = await refused_notes(database)
        assert name == "brevo"
        assert note.startswith(f"the contacts table refuses to have the row of {contact} written: a trigger")
        assert "ada@example.com" not in crm.log
        await until(app, IN_LINE, contact)  # it may be tried once more just now
        await app.execute("DROP TRIGGER guard ON contacts")
        await until(app, "brevo_sync_status = 'Complete' FROM contacts WHERE id = $1", contact)
    assert crm.log.count("ada@example.com") == 1


@pytest.mark.parametrize("body", ["RETURN NULL;", put_back("brevo_claimed_by")])
async def test_a_contact_that_comes_alone_and_whose_claim_is_undone_is_told_too(app, url, crm, log, body):
    await app.execute(guard(CLAIMED, body))
    async with running(url, crm, waits=QUICK):
        await insert(app, "Queued", "bob@example.com")
        await until(app, OTHERS_COMPLETE, 1)
        contact = await insert(app, "Queued")
        await said(log, events.CONTACT_REFUSED, "guard")
        await until(app, IN_LINE, contact)  # it may be tried once more just now
    assert "ada@example.com" not in crm.log


async def test_after_a_ring_one_that_is_kept_is_found_by_the_next_claim(app, url):
    contact = await insert(app, "Queued")
    await app.execute(guard(CLAIMED))
    async with open_worker(url, 1) as worker:
        assert await worker.claim(rung=True) == []
        assert (await worker.contacts.line.next_due()).in_s <= 0, "so the lane claims again"
        assert await worker.claim() == []
        assert [*worker.contacts.refused(9)] == [str(contact)]


async def test_while_a_claim_is_kept_the_lane_sleeps(app, url):
    """Not 40 transactions a second."""
    contact = await insert(app, "Queued")
    await app.execute(guard(CLAIMED))
    async with open_worker(url, 1) as worker:
        assert await worker.claim() == []
        assert [*worker.contacts.refused(9)] == [str(contact)]
        assert (await worker.contacts.line.next_due()).in_s is None


async def test_many_that_are_kept_starve_nobody_behind_them(app, url):
    await app.execute(LINE_UP, "kept", 50)
    await app.execute(LINE_UP, "good", OTHERS)
    await app.execute(guard(CLAIMED, whom="OLD.email LIKE 'kept%'"))
    async with open_worker(url, 1) as worker:
        served = [contact for _ in range(4) for contact in await worker.claim(10)]
    assert len(served) == OTHERS


async def test_beside_others_the_kept_one_is_found_by_the_next_claim(app, url):
    contact = await insert(app, "Queued")
    await app.execute(LINE_UP, "good", OTHERS)
    await app.execute(guard(CLAIMED))
    async with open_worker(url, 1) as worker:
        assert len(await worker.claim()) == OTHERS
        assert await worker.claim() == []
        assert [*worker.contacts.refused(9)] == [str(contact)]


async def test_a_probe_that_is_kept_gives_way_to_another_contact(app, url):
    await insert(app, "Queued")
    other = await insert(app, "Queued", "bob@example.com")
    await app.execute(guard(CLAIMED))
    async with open_worker(url, 1) as worker:
        assert await worker.claim(1, probe=True) == []
        assert [contact.id for contact in await worker.claim(1, probe=True)] == [other]


async def test_a_row_that_the_application_has_locked_is_not_taken_for_a_kept_one(app, other_app, url):
    contact = await insert(app, "Queued")
    async with open_worker(url, 1) as worker:
        async with other_app.transaction():
            await other_app.execute("SELECT FROM contacts WHERE id = $1 FOR UPDATE", contact)
            assert await worker.claim() == []
        assert worker.contacts.refused(9) == {}
        assert len(await worker.claim()) == 1


async def test_a_delivery_whose_row_is_kept_is_in_error_with_that_reason(app, url, crm, log):
    await app.execute(guard("NEW.brevo_sync_status = 'Complete'"))
    contact = await insert(app, "Queued")
    async with running(url, crm, waits=QUICK):
        await app.execute(LINE_UP, "good", OTHERS)
        await until(app, OTHERS_COMPLETE, OTHERS)
        await until(app, "brevo_sync_status = 'Error' FROM contacts WHERE id = $1", contact)
    error = (await read(app, contact))["processing_error"]
    assert (
        error == "ROW_REFUSED: a trigger of the table keeps the row as it is, because it returns NULL. Look at its trigger guard"
    )
    assert crm.log.count("ada@example.com") == 1


@pytest.mark.parametrize("body", ["RETURN NULL;", put_back("brevo_claimed_by")])
async def test_one_that_takes_no_outcome_at_all_stays_claimed_and_is_not_sent_again(app, url, crm, log, body):
    await app.execute(guard(FINISHED, body))
    contact = await insert(app, "Queued")
    async with running(url, crm, waits=QUICK):
        await app.execute(LINE_UP, "good", OTHERS)
        await until(app, OTHERS_COMPLETE, OTHERS)
        await said(log, events.CONTACT_REFUSED, "guard")
    await app.execute("DROP TRIGGER guard ON contacts")
    await app.execute("UPDATE contacts SET first_name = 'Bob', brevo_sync_status = 'Queued' WHERE id = $1", contact)
    # A full look finds it, such as that of a worker that starts.
    async with running(url, crm, waits=QUICK):
        await until(app, "brevo_sync_status = 'Complete' FROM contacts WHERE id = $1", contact)
    assert crm.log.count("ada@example.com") == 2
    assert crm.records["ada@example.com"][1]["FIRSTNAME"] == "Bob"


@pytest.mark.parametrize("column", ["brevo_sync_status", "brevo_due_at", "brevo_contact_id"])
async def test_a_column_of_an_outcome_that_is_put_back_is_named(app, url, crm, log, column):
    await app.execute(guard(FINISHED, put_back(column)))
    async with running(url, crm, waits=QUICK):
        await until_asleep(app)
        await insert(app, "Queued")
        await said(log, events.CONTACT_REFUSED, f"a trigger of the table changes what a worker writes to {column}. Look at")
    assert crm.log.count("ada@example.com") == 1


async def test_an_outcome_that_a_locked_row_waits_for_is_not_taken_for_a_kept_one(app, other_app, url):
    contact = await insert(app, "Queued")
    async with open_worker(url, 1) as worker:
        (claimed,) = await worker.claim()
        async with other_app.transaction():
            await other_app.execute("SELECT FROM contacts WHERE id = $1 FOR UPDATE", contact)
            assert not await worker.finish(claimed, Kind.DELIVERED)
        assert worker.contacts.refused(9) == {}
        assert await worker.finish(claimed, Kind.DELIVERED)


# A policy is asked about a row before it is locked.
WAIT = """
CREATE FUNCTION second_is_written() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    WHILE EXISTS (SELECT FROM public.contacts WHERE email = 'bob@example.com' AND last_name IS NULL) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN TRUE;
END;
$$;
CREATE POLICY wait ON contacts USING (second_is_written());
ALTER TABLE contacts ENABLE ROW LEVEL SECURITY;
"""


async def after_writing(other_app, contact, statement):
    """The result of the statement; the contact is written once the statement has begun, before it reaches it."""
    running_statement = asyncio.create_task(statement)
    await until(other_app, SLEEPS)
    await other_app.execute("UPDATE contacts SET last_name = 'Builder' WHERE id = $1", contact)
    return await running_statement


async def test_nor_is_one_whose_row_was_written_after_the_statement_began(app, other_app, url):
    """As by another CRM's lane: the statement locks the new version of the row, but does not see it, and leaves it out."""
    first = await insert(app, "Queued")
    second = await insert(app, "Queued", "bob@example.com")
    async with open_worker(url, 1) as worker:
        claimed = {contact.id: contact for contact in await worker.claim()}
        await app.execute(WAIT)
        both = [Finish(one, claimed[one].token, Kind.DELIVERED) for one in (first, second)]
        finished = await after_writing(other_app, second, worker.contacts.finish(both))
        assert ([one.id for one in finished.written], finished.refused) == ([first], [])
        assert worker.contacts.refused(9) == {}
        finished = await worker.contacts.finish(both[1:])
        assert [one.kind for one in finished.written] == [Kind.DELIVERED]


async def test_a_contact_written_after_a_claim_began_comes_with_the_next_one(app, other_app, url):
    async with open_worker(url, 1) as worker:
        assert await worker.claim() == []  # the first one looks at the whole line in another statement
        first = await insert(app, "Queued")
        second = await insert(app, "Queued", "bob@example.com")
        await app.execute(WAIT)
        assert [one.id for one in await after_writing(other_app, second, worker.claim())] == [first]
        with counted_statements() as statements:
            assert [one.id for one in await worker.claim()] == [second]
        assert statements == ["claim_contacts"]
        assert worker.contacts.refused(9) == {}
