"""Triggers of the application that flip a contact whenever a worker writes its row: it is sent less and less often, and told."""

from datetime import timedelta

import pytest

from crm_sync import events
from crm_sync.core.outcome import Kind
from crm_sync.core.waits import Waits
from crm_sync.postgres.pool import Database
from crm_sync.reports.looping_contacts import looping_notes
from crm_sync.reports.table_notes import table_notes
from crm_sync.table.schema import inspect_schema
from tests.faults.promise import LINE_UP, said
from tests.harness import running, until
from tests.roles import as_worker
from tests.steps import insert, open_worker, read, watch, write

QUICK = Waits(tick_s=0.2)
OTHERS = 20
FINISHED = "OLD.brevo_claimed_by IS NOT NULL AND NEW.brevo_claimed_by IS NULL"
CLAIMED = "NEW.brevo_claimed_by IS NOT NULL AND OLD.brevo_claimed_by IS NULL"
OF_A_WORKER = "NEW.brevo_claimed_by IS DISTINCT FROM OLD.brevo_claimed_by"
FLIPS = "UPDATE contacts SET brevo_sync_status = 'Queued' WHERE id = NEW.id;"
FLIPS_OTHERS = "UPDATE contacts SET brevo_sync_status = 'Queued' WHERE id <> NEW.id;"
FLIPS_HUBSPOT = "UPDATE contacts SET hubspot_sync_status = 'Queued' WHERE id = NEW.id;"
CHANGES = "UPDATE contacts SET last_name = last_name || '.' WHERE id = NEW.id;"
NO_PAUSE = timedelta(0)
LONGEST = timedelta(minutes=5)


def function(body: str) -> str:
    return f"CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN {body} RETURN NEW; END $$;"


def trigger(when: str = FINISHED, body: str = FLIPS, kind: str = "TRIGGER", more: str = "") -> str:
    return (
        f"{function(body)} CREATE {kind} again AFTER UPDATE ON contacts {more} FOR EACH ROW WHEN ({when}) "
        "EXECUTE FUNCTION again();"
    )


FLIPS_THESE = (
    "UPDATE contacts AS c SET brevo_sync_status = 'Queued' FROM after AS a WHERE c.id = a.id AND a.brevo_claimed_by IS NULL;"
)
STATEMENT = f"""
{function(FLIPS_THESE)}
CREATE TRIGGER again AFTER UPDATE ON contacts REFERENCING NEW TABLE AS after FOR EACH STATEMENT
WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION again();
"""
BEFORE = f"""
{function("NEW.brevo_sync_status := 'Queued';")}
CREATE TRIGGER again BEFORE UPDATE ON contacts FOR EACH ROW WHEN ({FINISHED}) EXECUTE FUNCTION again();
SELECT crm_sync.create_catch();
"""
OVER_ANOTHER_TABLE = f"""
CREATE TABLE audit (id uuid);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN INSERT INTO audit VALUES (NEW.id); RETURN NEW; END $$;
CREATE TRIGGER note AFTER UPDATE ON contacts FOR EACH ROW WHEN ({FINISHED}) EXECUTE FUNCTION note();
CREATE FUNCTION audited() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {FLIPS} RETURN NEW; END $$;
CREATE TRIGGER audited AFTER INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audited();
"""
CAUGHT_ERROR = f"BEGIN {FLIPS} EXCEPTION WHEN division_by_zero THEN NULL; END;"
KINDS = {
    "a row's": (trigger(), "again"),
    "every UPDATE": (trigger("pg_trigger_depth() = 0"), "again"),
    "a statement's": (STATEMENT, "again"),
    "deferred": (trigger(kind="CONSTRAINT TRIGGER", more="DEFERRABLE INITIALLY DEFERRED"), "again"),
    "in a subtransaction": (trigger(body=CAUGHT_ERROR), "again"),
    "before the row is written": (BEFORE, "again"),
    "over another table": (OVER_ANOTHER_TABLE, "note"),
    "at the claim": (trigger(CLAIMED), "again"),
    "at both": (trigger(OF_A_WORKER), "again"),
}


async def pass_time(app) -> None:
    """What waits is due now. No trigger of the table sees it."""
    async with app.transaction():
        await app.execute("SET LOCAL session_replication_role = replica")
        await app.execute(
            "UPDATE crm_sync.brevo_line AS l SET due_at = '2020-01-01' FROM contacts AS c WHERE c.brevo_due_at = l.due_at"
        )
        await app.execute("UPDATE contacts SET brevo_due_at = '2020-01-01' WHERE brevo_due_at IS NOT NULL")


async def deliver(app, worker, kind: Kind = Kind.DELIVERED, **details) -> None:
    """All that is in line, once."""
    await pass_time(app)
    for contact in await worker.claim():
        assert await worker.finish(contact, kind, **details)


async def pause(app, contact) -> timedelta:
    row = await read(app, contact)
    assert row["sync_status"] == "Queued"
    return row["due_at"] - row["flipped_at"]


@pytest.mark.parametrize(("statements", "name"), KINDS.values(), ids=KINDS)
async def test_the_contact_counts_its_deliveries_and_says_which_trigger_it_is_from_the_third_on(app, url, statements, name):
    contact = await insert(app, "Queued")
    await app.execute(statements)
    async with open_worker(url, 1) as worker:
        for attempts in (1, 2, 3, 4):
            await deliver(app, worker)
            row = await read(app, contact)
            assert (row["sync_status"], row["processing_status"], row["attempts"]) == ("Queued", "Queued", attempts)
            assert (row["processing_error"] is None) == (attempts < 3)
        assert row["processing_error"].startswith(f"TRIGGER_LOOP: the trigger {name} flips this contact")


async def test_each_pause_is_twice_as_long_up_to_five_minutes(app, url):
    contact = await insert(app, "Queued")
    await app.execute(trigger())
    pauses = []
    async with open_worker(url, 1) as worker:
        for _ in range(12):
            await deliver(app, worker)
            pauses.append(await pause(app, contact))
    assert pauses == [NO_PAUSE, *(timedelta(seconds=2**n) for n in range(9)), LONGEST, LONGEST]


async def test_one_that_is_flipped_at_its_claim_waits_as_long(app, url):
    contact = await insert(app, "Queued")
    await app.execute(trigger(CLAIMED))
    async with open_worker(url, 1) as worker:
        for _ in range(10):
            await deliver(app, worker)
        assert await pause(app, contact) > timedelta(minutes=4)
        (known,) = await app.fetch("SELECT due_at, key FROM crm_sync.brevo_line WHERE due_at > clock_timestamp()")
        assert known["key"] == contact


@pytest.mark.parametrize("when", [FINISHED, CLAIMED])
async def test_a_flip_of_the_application_ends_the_pause_and_counts_anew(app, url, when):
    contact = await insert(app, "Queued")
    await app.execute(trigger(when))
    async with open_worker(url, 1) as worker:
        for _ in range(8):
            await deliver(app, worker)
        await app.execute("UPDATE contacts SET first_name = 'Bob', brevo_sync_status = 'Queued' WHERE id = $1", contact)
        row = await read(app, contact)
        assert (row["attempts"], row["processing_error"], row["due_at"]) == (0, None, row["flipped_at"])
        (claimed,) = await worker.claim()
        assert claimed.fields == {"FIRSTNAME": "Bob"}


async def test_so_does_a_change_of_a_watched_column(app, url):
    contact = await insert(app, "Queued")
    await watch(app, "first_name")
    await app.execute(trigger())
    async with open_worker(url, 1) as worker:
        for _ in range(8):
            await deliver(app, worker)
        await app.execute("UPDATE contacts SET first_name = 'Bob' WHERE id = $1", contact)
        row = await read(app, contact)
        assert (row["attempts"], row["processing_error"], row["due_at"]) == (0, None, row["flipped_at"])


@pytest.mark.parametrize("when", [FINISHED, CLAIMED, OF_A_WORKER])
async def test_a_watched_column_that_a_trigger_changes_is_such_a_flip_too(app, url, when):
    contact = await insert(app, "Queued")
    await app.execute("UPDATE contacts SET last_name = 'Lovelace'")
    await watch(app, "last_name")
    await app.execute(trigger(when, CHANGES))
    async with open_worker(url, 1) as worker:
        for attempts in (1, 2, 3, 4):
            await deliver(app, worker)
            assert (await read(app, contact))["attempts"] == attempts
        assert (await read(app, contact))["processing_error"].startswith("TRIGGER_LOOP: the trigger again flips")


async def test_a_flip_of_the_application_in_flight_is_sent_at_once(app, url):
    contact = await insert(app, "Queued")
    await app.execute(trigger(CLAIMED))
    async with open_worker(url, 1) as worker:
        for _ in range(8):
            await deliver(app, worker)
        await pass_time(app)
        (claimed,) = await worker.claim()
        await write(app, contact, sync_status="Queued")
        assert await worker.finish(claimed, Kind.DELIVERED)
        row = await read(app, contact)
        assert (row["sync_status"], row["attempts"], row["processing_error"]) == ("Queued", 0, None)
        assert len(await worker.claim()) == 1


async def test_two_contacts_that_flip_each_other_are_braked_both(app, url):
    both = [await insert(app, "Queued"), await insert(app, "Complete", "bob@example.com")]
    await app.execute(trigger(body=FLIPS_OTHERS))
    async with open_worker(url, 1) as worker:
        for _ in range(8):
            await deliver(app, worker)
        told = [await read(app, contact) for contact in both]
    assert [row["processing_error"] is not None for row in told if row["sync_status"] == "Queued"] == [True]
    assert sum(row["attempts"] for row in told) >= 8


async def test_one_that_others_flip_now_and_then_is_sent_at_once(app, url):
    """Nobody but the other's delivery ever flips it."""
    first, second = await insert(app), await insert(app, "Complete", "bob@example.com")
    await app.execute(trigger(f"{FINISHED} AND NEW.email = 'ada@example.com'", FLIPS_OTHERS))
    async with open_worker(url, 1) as worker:
        for _ in range(5):
            await write(app, first, sync_status="Queued")
            await deliver(app, worker)
            assert await pause(app, second) == NO_PAUSE
            await deliver(app, worker)
            async with app.transaction():
                await app.execute("SET LOCAL session_replication_role = replica")
                await app.execute("UPDATE contacts SET brevo_synced_at = brevo_synced_at - interval '11 minutes'")


async def test_a_flip_at_another_crm_is_not_braked(app, url):
    contact = await insert(app, "Queued")
    await app.execute(trigger(body=FLIPS_HUBSPOT))
    async with open_worker(url, 1) as worker:
        for _ in range(5):
            await deliver(app, worker)
            row = await app.fetchrow("SELECT * FROM contacts")
            assert (row["brevo_sync_status"], row["hubspot_sync_status"]) == ("Complete", "Queued")
            assert (row["hubspot_due_at"], row["hubspot_processing_error"]) == (row["hubspot_flipped_at"], None)
            await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued', hubspot_sync_status = 'Complete'")
    assert contact == row["id"]


async def test_a_trigger_that_flips_once_is_not_braked(app, url):
    contact = await insert(app, "Queued")
    await app.execute(trigger(f"{FINISHED} AND OLD.brevo_contact_id IS NULL AND NEW.brevo_contact_id IS NOT NULL"))
    async with open_worker(url, 1) as worker:
        await deliver(app, worker, remote_id="4711")
        assert await pause(app, contact) == NO_PAUSE
        await deliver(app, worker)
        assert (await read(app, contact))["sync_status"] == "Complete"


async def test_a_wait_for_a_retry_is_kept(app, url):
    contact = await insert(app, "Queued")
    await app.execute(trigger())
    async with open_worker(url, 1) as worker:
        await deliver(app, worker, Kind.RETRY, error="TIMEOUT: too late", delay_s=3600)
        row = await read(app, contact)
        assert (row["sync_status"], row["attempts"], row["processing_error"]) == ("Queued", 1, "TIMEOUT: too late")
        assert await worker.claim() == []


async def test_one_in_error_that_is_flipped_by_that_is_braked(app, url):
    contact = await insert(app, "Queued")
    await app.execute(trigger())
    async with open_worker(url, 1) as worker:
        for _ in range(5):
            await deliver(app, worker, Kind.REJECTED, error="REJECTED: no")
        assert await pause(app, contact) == timedelta(seconds=8)


async def test_a_worker_tells_of_it_and_others_do_not_wait(app, url, crm, log):
    contact = await insert(app, "Queued")
    await app.execute(trigger("NEW.email = 'ada@example.com' AND pg_trigger_depth() = 0"))
    async with running(url, crm, waits=QUICK):
        await app.execute(LINE_UP, "good", OTHERS)
        await until(
            app, "count(*) = $1 FROM contacts WHERE email <> 'ada@example.com' AND brevo_sync_status = 'Complete'", OTHERS
        )
        await said(log, events.CONTACT_IN_LOOP, "TRIGGER_LOOP: the trigger again flips")
        async with Database(as_worker(url), size=1) as database:
            schema = await inspect_schema(database)
            ((name, note),) = await looping_notes(database, schema.lanes.values())
        assert (name, note.partition(":")[0]) == ("brevo", "a contact is sent again and again")
        assert "ada@example.com" in crm.log
        await app.execute("DROP TRIGGER again ON contacts")
        await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued' WHERE id = $1", contact)
        await until(app, "brevo_sync_status = 'Complete' FROM contacts WHERE id = $1", contact)
    assert [entry["contact"] for entry in log if entry["event"] == events.CONTACT_IN_LOOP] == [str(contact)]
    assert (await read(app, contact))["processing_error"] is None


UPDATE_OF = (
    "CREATE TRIGGER again AFTER UPDATE OF {} ON contacts FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION again();"
)


@pytest.mark.parametrize(
    ("statements", "is_noted"),
    [
        (trigger("pg_trigger_depth() = 0"), True),
        (function(FLIPS) + UPDATE_OF.format("email, brevo_attempts"), True),
        (function(FLIPS) + UPDATE_OF.format("email"), False),
        (trigger("current_user <> 'crm_worker'"), False),
        (trigger("pg_trigger_depth() = 0", f"IF NEW.email <> OLD.email THEN {FLIPS} END IF;"), False),
        (trigger("pg_trigger_depth() = 0", "NOTIFY something;"), False),
    ],
)
async def test_check_names_a_trigger_that_flips_whatever_is_written(app, url, statements, is_noted):
    await app.execute(statements)
    async with Database(as_worker(url), size=1) as database:
        schema = await inspect_schema(database)
        notes = await table_notes(database, schema.table, schema.lanes.values())
    assert [note for note in notes if note.startswith("The trigger again may flip")] == notes
    assert bool(notes) == is_noted
