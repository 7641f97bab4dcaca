"""The line is a hint: missing entries are found by the full look, and entries without a contact do no harm, and are removed."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from crm_sync.core.outcome import Kind
from crm_sync.core.retry import RetryPolicy
from crm_sync.daemon.recovery import Charge, Recovery
from crm_sync.postgres import locks
from crm_sync.postgres.statements import query
from crm_sync.table.line import SWEEP
from tests.adoption.steps import adopt
from tests.steps import insert, open_worker, orphan, pair, read, watch, write

HOUR = timedelta(hours=1)
IN_LINE = "SELECT key FROM crm_sync.brevo_line ORDER BY due_at"
LINES = "SELECT count(*) FROM crm_sync.brevo_line"
UNSEEN = "SET session_replication_role = replica"
SEEN = "RESET session_replication_role"


async def lines(app):
    return [row["key"] for row in await app.fetch(IN_LINE)]


async def full_look(worker):
    """As a worker makes it at start, and from time to time. Returns whether it found anything."""
    charges = {"brevo": Charge(worker.contacts, RetryPolicy(3, 60.0))}
    recovery = Recovery(
        worker.database,
        charges,
        on_found=lambda _: None,
        knows=lambda *_: False,
        has=lambda _, token: token >> 32 == worker.number,
        worker=lambda: worker.number,
    )
    return await recovery.look_over("brevo")


async def claimed(worker):
    return [contact.id for contact in await worker.claim()]


# The protocol.


async def test_a_flip_adds_a_line_and_a_finish_takes_it_away(app, worker):
    contact = await insert(app)
    assert await lines(app) == []
    await write(app, contact, sync_status="Queued")
    assert await app.fetchrow("SELECT due_at, key FROM crm_sync.brevo_line") == (
        (await read(app, contact))["due_at"],
        contact,
    )
    (in_flight,) = await worker.claim()
    assert await lines(app) == [contact], "it stands for a contact in flight too"
    await worker.finish(in_flight, Kind.DELIVERED)
    assert await lines(app) == []


async def test_each_crm_has_a_line_of_its_own(app):
    contact = await insert(app)
    await app.execute("UPDATE contacts SET hubspot_sync_status = 'Queued'")
    assert await lines(app) == []
    assert await app.fetchval("SELECT key FROM crm_sync.hubspot_line") == contact


async def test_a_second_flip_in_line_adds_none(app):
    contact = await insert(app, "Queued")
    await write(app, contact, sync_status="Queued")
    assert await lines(app) == [contact]


@pytest.mark.parametrize("kind", [Kind.RETRY, Kind.DEFERRED, Kind.ORPHANED])
async def test_a_contact_that_is_due_again_has_one_line_at_its_new_time(app, worker, kind):
    contact = await insert(app, "Queued")
    (in_flight,) = await worker.claim()
    await worker.finish(in_flight, kind, error="A: b", delay_s=60)
    assert await app.fetch("SELECT due_at, key FROM crm_sync.brevo_line") == [((await read(app, contact))["due_at"], contact)]


async def test_a_flip_in_flight_has_its_line_when_the_contact_is_finished(app, worker):
    contact = await insert(app, "Queued")
    (in_flight,) = await worker.claim()
    await write(app, contact, sync_status="Queued")
    await worker.finish(in_flight, Kind.DELIVERED)
    assert await lines(app) == [contact]
    assert await claimed(worker) == [contact]


async def test_a_watched_column_adds_a_line(app, worker, complete):
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    assert await lines(app) == [complete]
    assert await claimed(worker) == [complete]


async def test_a_contact_inserted_in_line_has_a_line_with_the_key_that_it_gets_in_the_end(app, worker):
    """The application's own trigger runs after ours, and sets the key."""
    key = "00000000-0000-4000-8000-000000000001"
    await app.execute(f"""
        CREATE FUNCTION give_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := '{key}'; RETURN NEW; END $$;
        CREATE TRIGGER z_give_key BEFORE INSERT ON contacts FOR EACH ROW EXECUTE FUNCTION give_key();
    """)
    await insert(app, "Queued")
    assert [str(one) for one in await claimed(worker)] == [key]


async def test_an_upsert_lines_up_the_row_that_was_there(app, worker):
    contact = await insert(app)
    upsert = "INSERT INTO contacts (id, email, brevo_sync_status) VALUES ($1, 'ada@example.com', 'Queued') ON CONFLICT (id) DO"
    for _ in range(2):
        await app.execute(f"{upsert} UPDATE SET brevo_sync_status = excluded.brevo_sync_status", contact)
        assert await lines(app) == [contact]
    await app.execute(f"{upsert} NOTHING", contact)
    assert await lines(app) == [contact]
    assert await claimed(worker) == [contact]


async def of_another_key(app, contact):
    await app.execute("UPDATE contacts SET id = gen_random_uuid() WHERE id = $1", contact)


@pytest.mark.parametrize("is_in_flight", [False, True], ids=["in line", "in flight"])
async def test_a_contact_whose_key_changes_has_a_line_with_the_new_one(app, worker, is_in_flight):
    contact = await insert(app, "Queued")
    if is_in_flight:
        await worker.claim()
    await of_another_key(app, contact)
    renamed = await app.fetchval("SELECT id FROM contacts")
    assert set(await lines(app)) == {contact, renamed}
    if is_in_flight:
        assert [one[0] for one in await worker.contacts.orphans([1])] == [renamed]
    else:
        assert await claimed(worker) == [renamed]
    await worker.contacts.line.sweep()
    assert await lines(app) == [renamed]


async def test_a_key_that_is_saved_as_it_was_adds_no_line(app):
    contact = await insert(app, "Queued")
    await app.execute("UPDATE contacts SET id = id")
    assert await lines(app) == [contact]


# In line without a contact.


async def withdrawn(app, contact):
    await write(app, contact, sync_status="Skipped")


async def deleted(app, contact):
    await app.execute("DELETE FROM contacts WHERE id = $1", contact)


async def truncated(app, _contact):
    await app.execute("TRUNCATE contacts")


@pytest.mark.parametrize("happens", [withdrawn, deleted, truncated])
async def test_a_line_for_nobody_is_stepped_over_and_dropped(app, worker, happens):
    contact = await insert(app, "Queued")
    other = None if happens is truncated else await insert(app, "Queued", "bob@example.com")
    await happens(app, contact)
    assert (await worker.contacts.line.next_due()).id == other
    await worker.contacts.line.sweep()
    assert await lines(app) == ([] if other is None else [other])
    assert await claimed(worker) == ([] if other is None else [other])


async def test_a_flip_that_ends_a_wait_leaves_the_line_of_the_wait_and_is_claimed_once(app, worker):
    contact = await insert(app, "Queued")
    (in_flight,) = await worker.claim()
    await worker.finish(in_flight, Kind.RETRY, error="A: b", delay_s=3600)
    await write(app, contact, sync_status="Queued")
    assert await lines(app) == [contact, contact]
    assert await claimed(worker) == [contact]
    assert await claimed(worker) == []
    await worker.contacts.line.next_due()
    await worker.contacts.line.tidy()
    assert await lines(app) == [contact], "each look would step over the other one until its time has come"


async def test_a_flip_that_a_trigger_of_the_application_undoes_takes_nobody_out_of_line(app, worker):
    """Whatever happens to the row, ours has only added a line."""
    contact = await insert(app, "Queued")
    await app.execute("""
        CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
        CREATE TRIGGER z_keep BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION keep();
    """)
    await withdrawn(app, contact)
    await app.execute("DROP TRIGGER z_keep ON contacts")
    await worker.contacts.line.sweep()
    assert await claimed(worker) == [contact]


async def test_a_finish_that_is_not_written_leaves_the_line(app, worker):
    contact = await insert(app, "Queued")
    (in_flight,) = await worker.claim()
    await app.execute("""
        CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
        CREATE TRIGGER z_keep BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION keep();
    """)
    assert not await worker.finish(in_flight, Kind.DELIVERED)
    assert await lines(app) == [contact]


async def test_a_flip_that_is_rolled_back_leaves_none(app):
    contact = await insert(app)
    transaction = app.transaction()
    await transaction.start()
    await write(app, contact, sync_status="Queued")
    await transaction.rollback()
    assert await lines(app) == []


async def test_a_line_that_is_there_twice_is_claimed_once_and_goes_with_its_contact(app, worker):
    contact = await insert(app, "Queued")
    await app.execute("INSERT INTO crm_sync.brevo_line SELECT * FROM crm_sync.brevo_line")
    (in_flight,) = await worker.claim()
    assert in_flight.attempts == 1
    await worker.finish(in_flight, Kind.DELIVERED)
    assert await lines(app) == []
    assert (await pair(app, contact))[0] == "Complete"


async def test_lines_of_contacts_in_flight_and_of_those_who_wait_stay(app, worker):
    await insert(app, "Queued")
    (in_flight,) = await worker.claim()
    await insert(app, "Queued", "bob@example.com")
    (waiting,) = await worker.claim()
    await worker.finish(waiting, Kind.RETRY, error="A: b", delay_s=3600)
    await worker.contacts.line.sweep()
    assert await lines(app) == [in_flight.id, waiting.id]


async def test_more_lines_for_nobody_than_are_looked_at_at_once_all_go(app, worker):
    contact = await insert(app, "Queued")
    many = 2 * SWEEP + 1
    await app.execute(
        f"INSERT INTO crm_sync.brevo_line SELECT now() - interval '1 day', gen_random_uuid() FROM generate_series(1, {many})"
    )
    await worker.contacts.line.sweep()
    assert await lines(app) == [contact]


async def test_a_line_for_nobody_goes_at_the_tick_of_an_idle_worker_which_asks_for_nothing_where_there_is_none(app, worker):
    swept = []
    sweep = worker.contacts.line.sweep

    async def noted():
        swept.append(1)
        await sweep()

    worker.contacts.line.sweep = noted
    for _ in range(2):
        await worker.contacts.line.next_due()
        await worker.contacts.line.tidy()
    assert swept == []
    contact = await insert(app, "Queued")
    await withdrawn(app, contact)
    for _ in range(2):
        await worker.contacts.line.next_due()
        await worker.contacts.line.tidy()
    assert swept == [1]
    assert await lines(app) == []


async def test_two_workers_drop_the_same_lines_without_a_quarrel(app, worker, other_worker):
    await app.execute("INSERT INTO crm_sync.brevo_line SELECT now(), gen_random_uuid() FROM generate_series(1, 2000)")
    await asyncio.gather(worker.contacts.line.sweep(), other_worker.contacts.line.sweep())
    assert await lines(app) == []


# Missing from the line.


async def disabled(app, contact):
    await app.execute("ALTER TABLE contacts DISABLE TRIGGER crm_sync_brevo_update")
    await write(app, contact, sync_status="Queued")
    await app.execute("ALTER TABLE contacts ENABLE TRIGGER crm_sync_brevo_update")


async def replicated(app, contact):
    """As logical replication and a data-only restore write."""
    await app.execute(UNSEEN)
    await write(app, contact, sync_status="Queued", processing_status="Queued", due_at=datetime.now(UTC))
    await app.execute(SEEN)


async def restored(app, contact):
    """Without the tables of crm-sync, or with those of another time."""
    await write(app, contact, sync_status="Queued")
    await app.execute("TRUNCATE crm_sync.brevo_line")


async def of_another_key_unseen(app, contact):
    await write(app, contact, sync_status="Queued")
    await app.execute(UNSEEN)
    await of_another_key(app, contact)
    await app.execute(SEEN)


async def due_earlier(app, contact):
    await write(app, contact, sync_status="Queued")
    await app.execute("UPDATE contacts SET brevo_due_at = now() - interval '1 day'")


async def due_later(app, contact):
    await write(app, contact, sync_status="Queued")
    await app.execute("UPDATE contacts SET brevo_due_at = clock_timestamp()")


@pytest.mark.parametrize(
    "happens", [disabled, replicated, restored, of_another_key_unseen, due_earlier, due_later], ids=lambda one: one.__name__
)
async def test_what_is_missing_from_the_line_is_found_by_the_full_look(app, worker, happens):
    contact = await insert(app)
    await happens(app, contact)
    contact = await app.fetchval("SELECT id FROM contacts")
    assert await claimed(worker) == [], "nothing else finds it"
    assert await full_look(worker)
    await worker.contacts.line.sweep()
    assert await lines(app) == [contact]
    assert await claimed(worker) == [contact]
    assert not await full_look(worker)


@pytest.mark.parametrize("is_forgotten", [False, True], ids=["its worker is dead", "its worker is dead and forgotten"])
async def test_an_orphan_that_is_missing_from_the_line_is_found_by_the_full_look(app, worker, is_forgotten):
    contact = await insert(app, "Queued")
    dead = await orphan(app)
    await app.execute("TRUNCATE crm_sync.brevo_line")
    if is_forgotten:
        await worker.database.fetch(query("forget_workers"), [dead])
    assert await worker.contacts.orphans([dead]) == []
    assert await full_look(worker)
    assert await pair(app, contact) == ("Queued", "Queued")
    assert await claimed(worker) == [contact]


CLAIM = """
UPDATE contacts
SET brevo_sync_status = 'Processing', brevo_processing_status = 'Processing', brevo_attempts = 1, brevo_claimed_by = $1
"""
TAKES_CLAIMS_BACK = """
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.brevo_claimed_by := NULL; RETURN NEW; END $$;
CREATE TRIGGER guard BEFORE UPDATE ON contacts FOR EACH ROW WHEN (NEW.brevo_claimed_by IS NOT NULL) EXECUTE FUNCTION guard();
"""


async def taken_by_a_trigger(app, token):
    await app.execute(TAKES_CLAIMS_BACK)
    await app.execute(CLAIM, token)
    await app.execute("DROP TRIGGER guard ON contacts")


async def taken_unseen(app, token):
    await app.execute(CLAIM, token)
    await app.execute(UNSEEN)
    await app.execute("UPDATE contacts SET brevo_claimed_by = NULL")
    await app.execute(SEEN)


@pytest.mark.parametrize("taken", [taken_by_a_trigger, taken_unseen])
async def test_a_contact_whose_claim_is_taken_away_is_not_taken_for_withdrawn(app, worker, taken):
    """The worker that claimed it puts it back in line, unless a full look or its own end comes first."""
    contact = await insert(app, "Queued")
    flipped = await read(app, contact)
    await taken(app, worker.number << 32 | 1)
    assert (await read(app, contact))["sync_status"] == "Processing"
    assert await full_look(worker)
    row = await read(app, contact)
    assert (row["sync_status"], row["due_at"]) == ("Queued", flipped["due_at"]), "it keeps its place"
    assert await claimed(worker) == [contact]
    assert await lines(app) == [contact]


async def test_the_full_look_leaves_what_a_living_worker_has_in_flight(app, worker, other_worker):
    await app.execute("UPDATE crm_sync.workers SET backend_pid = pg_backend_pid(), backend_start = NULL WHERE id = 1")
    await app.execute("SELECT pg_advisory_lock($1, 1)", locks.WORKER)
    await insert(app, "Queued")
    (in_flight,) = await worker.claim()
    await app.execute("TRUNCATE crm_sync.brevo_line")
    assert await full_look(other_worker)
    assert (await read(app, in_flight.id))["claimed_by"] == in_flight.token
    assert await worker.finish(in_flight, Kind.DELIVERED)
    assert await lines(app) == []


# What the full look writes.


@pytest.mark.parametrize("status", ["Processing", "Queued", "Skipped"])
@pytest.mark.parametrize("is_placed", [True, False], ids=["with a due time", "without"])
async def test_a_lost_claim_that_is_released_has_one_line_where_it_is_due_again_and_else_none(app, worker, status, is_placed):
    contact = await insert(app, "Queued")
    await orphan(app)
    await write(app, contact, sync_status=status)
    if not is_placed:
        await app.execute("UPDATE contacts SET brevo_due_at = NULL")
        await app.execute("TRUNCATE crm_sync.brevo_line")
    assert await full_look(worker)
    row = await read(app, contact)
    assert row["claimed_by"] is None
    in_line = [] if status == "Skipped" else [(row["due_at"], contact)]
    assert await app.fetch("SELECT due_at, key FROM crm_sync.brevo_line") == in_line
    assert await claimed(worker) == [contact for _, contact in in_line]


async def test_a_lost_claim_whose_release_is_not_written_keeps_its_line(app, worker):
    contact = await insert(app, "Queued")
    await orphan(app)
    await app.execute("""
        CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
        CREATE TRIGGER z_keep BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION keep();
    """)
    await full_look(worker)
    assert await lines(app) == [contact]


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen by the trigger", "not seen"])
async def test_a_flip_from_the_future_leaves_no_line_there(app, worker, is_seen):
    """The clock was set back."""
    contact = await insert(app, "Queued")
    await app.execute(UNSEEN)
    await app.execute("UPDATE contacts SET brevo_due_at = brevo_due_at + $1, brevo_flipped_at = brevo_flipped_at + $1", HOUR)
    await app.execute(SEEN)
    await app.execute("UPDATE crm_sync.brevo_line SET due_at = due_at + $1", HOUR)
    if not is_seen:
        await app.execute("ALTER TABLE contacts DISABLE TRIGGER crm_sync_brevo_update")
    await full_look(worker)
    assert await app.fetch("SELECT due_at, key FROM crm_sync.brevo_line") == [((await read(app, contact))["due_at"], contact)]
    assert await claimed(worker) == ([contact] if is_seen else [])


# Changes of the application's table.


KEYLESS = "; ".join(f"DROP TRIGGER crm_sync_{crm}_key ON t" for crm in ("brevo", "hubspot", "mautic", "n8n"))


async def test_a_key_that_grows_goes_on_being_lined_up_before_the_next_adoption_and_after_it(owner, empty_url):
    async with adopted(owner, empty_url, "CREATE TABLE t (id int PRIMARY KEY, email text)") as again:
        await owner.execute(f"{KEYLESS}; ALTER TABLE t ALTER id TYPE bigint")
        await owner.execute("INSERT INTO t (id, email, brevo_sync_status) VALUES (5000000000, 'a@example.com', 'Queued')")
        await owner.execute("INSERT INTO t (id, email) VALUES (6000000000, 'b@example.com')")
        await owner.execute("UPDATE t SET brevo_sync_status = 'Queued' WHERE id = 6000000000")
        await again()
        async with open_worker(empty_url, 1) as worker:
            assert await claimed(worker) == [5_000_000_000, 6_000_000_000]


async def test_a_key_of_another_type_keeps_no_flip_from_being_made_and_the_next_adoption_makes_a_line_for_it(owner, empty_url):
    async with adopted(owner, empty_url, "CREATE TABLE t (id uuid PRIMARY KEY, email text)") as again:
        await owner.execute("INSERT INTO t VALUES (gen_random_uuid(), 'a@example.com')")
        await owner.execute(f"{KEYLESS}; ALTER TABLE t ALTER id TYPE text; UPDATE t SET id = 'ada'")
        await owner.execute("UPDATE t SET brevo_sync_status = 'Queued'")
        assert await owner.fetchval("SELECT brevo_due_at IS NOT NULL FROM t")
        await again()
        async with open_worker(empty_url, 1) as worker:
            await full_look(worker)
            await owner.execute("INSERT INTO t (id, email, brevo_sync_status) VALUES ('bob', 'b@example.com', 'Queued')")
            assert await claimed(worker) == ["ada", "bob"]


@asynccontextmanager
async def adopted(owner, url, setup):
    async def again():
        await adopt(url, "t")

    await owner.execute(setup + "; ALTER TABLE t ADD first_name text")
    await again()
    yield again


# Rights.


async def test_under_a_publication_of_all_tables_contacts_are_flipped_and_delivered(app, worker):
    await app.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    await insert(app, "Queued")
    (in_flight,) = await worker.claim()
    assert await worker.finish(in_flight, Kind.DELIVERED)
    assert await app.fetchval(LINES) == 0


@pytest.mark.parametrize("function", ["brevo_flip", "brevo_placed", "brevo_watch"])
async def test_nobody_else_may_have_their_rows_lined_up(app, function):
    await watch(app, "first_name")
    role = f"stranger_{await app.fetchval('SELECT pg_backend_pid()')}"
    await app.execute(f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA crm_sync TO {role}")
    try:
        async with app.transaction():
            await app.execute(f"SET LOCAL ROLE {role}")
            await app.execute("CREATE TEMP TABLE mine (LIKE pg_class)")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with app.transaction():
                    await app.execute(
                        f"CREATE TRIGGER t BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION crm_sync.{function}()"
                    )
    finally:
        await app.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_function_that_another_role_owns_may_add_lines(app, worker):
    """In a schema created by one role and updated by another."""
    role = f"former_{await app.fetchval('SELECT pg_backend_pid()')}"
    await app.execute(
        f"CREATE ROLE {role}; GRANT USAGE, CREATE ON SCHEMA crm_sync TO {role}; GRANT USAGE ON SCHEMA public TO {role}"
    )
    try:
        for name in ("flip", "placed"):
            await app.execute(f"ALTER FUNCTION crm_sync.brevo_{name}() OWNER TO {role}")
        await app.execute("SELECT crm_sync.create_flip_function('brevo')")
        contact = await insert(app)
        await write(app, contact, sync_status="Queued")
        await insert(app, "Queued", "bob@example.com")
        assert len(await worker.claim()) == 2
    finally:
        await app.execute(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}")
