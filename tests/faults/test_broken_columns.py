"""A column that crm-sync needs is renamed, dropped or of another type: the application writes as before, and nothing is lost."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest
import structlog

from crm_sync.core.outcome import Finish, Kind
from tests import roles
from tests.adoption.older import adopt_before
from tests.adoption.steps import adopt
from tests.adoption.test_partitions import LIST
from tests.daemon.test_lane_faults import FAULTY, QUICK, WELL, of_both
from tests.faults.broken_columns import CASES, KEY, OF_BREVO, Broken, warnings
from tests.faults.promise import RecordingCrm
from tests.harness import ALL_COMPLETE, SESSIONS, daemon_for, until, working
from tests.steps import insert, open_worker, read, watch
from tests.table.test_caught_flips import LAST, ON_CHANGE
from tests.tiers import one_case_quick

STATUS = "brevo_sync_status"
NOT_SEEN = "crm-sync has not seen this change for brevo: "
QUICKER = replace(QUICK, strays_again_s=0.05, avoid_row_s=3600.0)  # no row is refused


async def without_triggers(app, statement):
    await app.execute(f"SET session_replication_role = replica; {statement}; RESET session_replication_role")


async def lines(app, crm):
    return {row[0] for row in await app.fetch(f"SELECT c.email FROM contacts AS c JOIN crm_sync.{crm}_line AS l ON c.id = l.key")}


@pytest.fixture
async def contacts(app):
    """One in each state, by its address."""
    for name, status in (("new", "New"), ("in line", "Queued"), ("in flight", "Queued"), ("deleted", "Queued")):
        await insert(app, status, name)
    await without_triggers(
        app, "UPDATE contacts SET brevo_claimed_by = 5, brevo_sync_status = 'Processing' WHERE email = 'in flight'"
    )


@pytest.mark.parametrize(("column", "way"), CASES)
async def test_each_write_goes_through_as_it_is_and_the_other_crm_sees_it(app, url, contacts, column, way):
    broken = Broken(url, column, way)
    await broken.begin(app)
    status = broken.now(STATUS)
    with warnings(app) as told:
        for name, word in (("new", "Queued"), ("in line", "Skipped"), ("in flight", "Queued")):
            ours = f"{status} = '{word}', " if status else ""
            await app.execute(f"UPDATE contacts SET {ours}hubspot_sync_status = 'Queued' WHERE email = $1", name)
            if status:
                assert await app.fetchval(f"SELECT {status}::text FROM contacts WHERE email = $1", name) == word
        ours = (f"{status}, ", "'Queued', ") if status else ("", "")
        await app.execute(f"INSERT INTO contacts ({ours[0]}email, hubspot_sync_status) VALUES ({ours[1]}'inserted', 'Queued')")
        await app.execute("DELETE FROM contacts WHERE email = 'deleted'")
    wanted = {"new", "in line", "in flight", "inserted"}
    seen = await app.fetch("SELECT email FROM contacts WHERE hubspot_due_at IS NOT NULL AND hubspot_processing_status = 'Queued'")
    assert {row["email"] for row in seen} == wanted
    if column != KEY:
        assert await lines(app, "hubspot") == wanted
        assert all(message.message.startswith(NOT_SEEN) for message in told)
    if way != "of another type":
        assert all(f'has no field "{column}"' in message.message and "crm-sync adopt" in message.hint for message in told)
        # What is dropped takes triggers with it.
        assert told or way == "dropped" or column == "next_retry_at"


@pytest.mark.parametrize("column", [column for column in OF_BREVO if column != "brevo_contact_id"])  # no plain flip reads it
async def test_a_statement_warns_once_however_many_rows_it_writes(app, url, column):
    await app.execute("INSERT INTO contacts (email) SELECT n FROM generate_series(1, 50) AS n")
    broken = Broken(url, column, "renamed")
    await broken.begin(app)
    with warnings(app) as told:
        await app.execute(f"UPDATE contacts SET {broken.now(STATUS)} = 'Queued'")
    assert [message.message for message in told] == [f'{NOT_SEEN}record "new" has no field "{column}"']


async def test_a_warning_has_no_value_of_a_row(owner, empty_url):
    """The line takes numbers, and the key has become an address."""
    await owner.execute("CREATE TABLE contacts (id bigint PRIMARY KEY, email text)")
    await adopt(empty_url)
    for crm in ("brevo", "hubspot", "mautic", "n8n"):
        await owner.execute(f"DROP TRIGGER crm_sync_{crm}_key ON contacts")
    await owner.execute("ALTER TABLE contacts ALTER id TYPE text")
    with warnings(owner) as told:
        await owner.execute("INSERT INTO contacts (id, brevo_sync_status) VALUES ('ada@example.com', 'Queued')")
    assert [message.message for message in told] == [f"{NOT_SEEN}SQLSTATE 22P02"]


async def test_a_flip_of_many_rows_takes_one_transaction_id(app):
    """A subtransaction that writes takes one of its own, and more than 64 of them make every snapshot on the server slow."""
    await app.execute("INSERT INTO contacts (email) SELECT n FROM generate_series(1, 100) AS n")
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
    await app.execute("INSERT INTO contacts (email, hubspot_sync_status) SELECT n, 'Queued' FROM generate_series(1, 100) AS n")
    for crm in ("brevo", "hubspot"):
        found = await app.fetchrow(f"SELECT count(*) AS lines, count(DISTINCT xmin::text) AS ids FROM crm_sync.{crm}_line")
        assert tuple(found) == (100, 1)


MENDED = [(column, way) for column, way in CASES if (column, way) != (STATUS, "dropped")]  # then every contact is New again


@pytest.mark.parametrize(("column", "way"), one_case_quick([("brevo_due_at", "renamed"), *MENDED]))
async def test_once_it_is_mended_all_that_was_flipped_meanwhile_is_delivered_and_once(app, url, column, way):
    brevo, hubspot = RecordingCrm(), RecordingCrm()
    await insert(app, "New", "new@x.org")
    await insert(app, "Queued", "in-flight@x.org")
    brevo.gate.clear()
    broken = Broken(url, column, way)
    async with working(of_both(url, brevo, hubspot, waits=QUICKER, shutdown_grace_s=0.1)):  # the requests do not end
        await brevo.reached(1)
        await insert(app, "Queued", "in-line@x.org")
        await brevo.reached(2)
        await insert(app, "Queued", "withdrawn@x.org")
        await brevo.reached(3)
        await broken.begin(app)
        if way != "of another type":  # which a lane may be able to use
            await until(app, FAULTY)
        status = broken.now(STATUS)
        flip = f"UPDATE contacts SET first_name = 'Eve', {status} = '{{}}' WHERE email = $1"
        await app.execute(flip.format("Queued"), "new@x.org")
        await app.execute(flip.format("Queued"), "in-flight@x.org")
        await app.execute(flip.format("Skipped"), "withdrawn@x.org")
        await app.execute(f"INSERT INTO contacts (email, first_name, {status}) VALUES ('inserted@x.org', 'Ada', 'Queued')")
        if column not in (KEY, "next_retry_at"):
            await app.execute("UPDATE contacts SET hubspot_sync_status = 'Queued'")
            await until(app, "bool_and(hubspot_sync_status = 'Complete') FROM contacts")
        await broken.mend(app)
        brevo.gate.set()
        await until(app, f"bool_and({STATUS} = 'Complete') FROM contacts WHERE email <> 'withdrawn@x.org'")
        await until(app, WELL)
    assert brevo.twice_in_flight == []
    counts = {email: brevo.log.count(email) for email in brevo.log}
    assert counts["new@x.org"] == counts["inserted@x.org"] == 1
    assert max(counts.values()) <= 2
    assert {email: brevo.records[email][1]["FIRSTNAME"] for email in ("new@x.org", "in-flight@x.org")} == {
        "new@x.org": "Eve",
        "in-flight@x.org": "Eve",
    }
    assert await app.fetchval(f"SELECT {STATUS} FROM contacts WHERE email = 'withdrawn@x.org'") == "Skipped"


async def test_an_outcome_that_comes_before_the_full_look_is_written_once_the_due_time_is_back(app, url):
    for email in "abc":
        await insert(app, "Queued", email)
    broken = Broken(url, "brevo_due_at", "dropped")
    async with open_worker(url, 1) as worker:
        contacts = await worker.claim()
        await broken.begin(app)
        await broken.mend(app)
        kinds = [Kind.DELIVERED, Kind.RETRY, Kind.REJECTED]
        finishes = [Finish(one.id, one.token, kind, "A: b") for one, kind in zip(contacts, kinds, strict=True)]
        assert (await worker.contacts.finish(finishes)).written == []
        assert await worker.contacts.still_claimed(finishes) == {one.id for one in contacts}
        finished = await worker.contacts.finish(finishes)
        assert (finished.written, finished.refused) == (finishes, [])
        assert not worker.contacts.avoiding
    assert {row[0] for row in await app.fetch("SELECT brevo_sync_status::text FROM contacts")} == {"Complete", "Queued", "Error"}
    assert await app.fetchval("SELECT array_agg(outcome ORDER BY outcome) FROM crm_sync.history") == sorted(kinds)


async def test_the_other_crm_ends_a_wait_for_a_retry_though_the_roll_up_reads_the_column(app, url):
    contact = await insert(app, "New")
    await app.execute("UPDATE contacts SET hubspot_sync_status = 'Queued'")
    later = "hubspot_due_at = now() + interval '1 hour', hubspot_processing_error = 'A: b', hubspot_attempts = 1"
    await without_triggers(app, f"UPDATE contacts SET {later}")
    await Broken(url, "brevo_due_at", "renamed").begin(app)
    with warnings(app) as told:
        await app.execute("UPDATE contacts SET hubspot_sync_status = 'Queued'")
    row = await app.fetchrow(
        "SELECT hubspot_due_at <= now() + interval '1 s', hubspot_attempts FROM contacts WHERE id = $1", contact
    )
    assert tuple(row) == (True, 0)
    assert told == []


async def test_without_its_line_a_flip_goes_through_and_is_found_once_there_is_one(app, url):
    contact = await insert(app, "New")
    await app.execute("DROP TABLE crm_sync.brevo_line")
    with warnings(app) as told:
        await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
        await insert(app, "Queued", "eve@example.com")
    assert {message.message for message in told} == {f'{NOT_SEEN}relation "crm_sync.brevo_line" does not exist'}
    assert (await read(app, contact))["due_at"] is not None
    await adopt(url)
    async with open_worker(url, 1) as worker:
        await worker.strays.line_up(0, 100)
        assert {one.email for one in await worker.claim()} == {"ada@example.com", "eve@example.com"}


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        (
            "TYPE public.crm_sync_status RENAME VALUE 'Queued' TO 'queued'",
            "TYPE public.crm_sync_status RENAME VALUE 'queued' TO 'Queued'",
        ),
        ("TYPE public.crm_sync_status SET SCHEMA other", "TYPE other.crm_sync_status SET SCHEMA public"),
        ("TYPE public.crm_processing_status RENAME TO states", "TYPE public.states RENAME TO crm_processing_status"),
        ("SCHEMA crm_sync RENAME TO ours", "SCHEMA ours RENAME TO crm_sync"),
    ],
)
async def test_a_type_or_the_schema_that_has_another_name_is_no_other_case(app, other_app, url, broken, mended):
    """In a session that has flipped before, and in a new one."""
    await insert(app, "Queued", "before")
    await app.execute(f"CREATE SCHEMA other; ALTER {broken}")
    word = "queued" if "VALUE" in broken else "Queued"
    for number, session in enumerate((app, other_app)):
        contact = await session.fetchval("INSERT INTO contacts (email) VALUES ($1) RETURNING id", str(number))
        await session.execute(f"UPDATE contacts SET brevo_sync_status = '{word}' WHERE id = $1", contact)
    await app.execute(f"ALTER {mended}")
    async with open_worker(url, 1) as worker:
        await worker.strays.line_up(0, 100)
        assert {one.email for one in await worker.claim()} == {"before", "0", "1"}


@pytest.mark.parametrize(
    "statement", ["SCHEMA public RENAME TO app", "TYPE public.crm_processing_status RENAME TO states"], ids=["schema", "type"]
)
async def test_a_name_that_stays_another_is_told_and_once_adopted_the_flips_made_meanwhile_are_delivered(app, url, statement):
    crm = RecordingCrm()
    async with working(daemon_for(url, crm, waits=QUICKER)):
        await insert(app, "Queued", "before@x.org")
        await until(app, ALL_COMPLETE)
        await app.execute(f"ALTER {statement}; SET search_path = public, app; DISCARD PLANS")
        await app.execute(f"SELECT pg_terminate_backend(pid) {SESSIONS}")  # what was parsed before goes on as it was
        await insert(app, "Queued", "meanwhile@x.org")
        await until(app, FAULTY)
        fault = await app.fetchval("SELECT fault FROM crm_sync.lanes WHERE crm = 'brevo'")
        assert fault.startswith("the type of a status column has another name or schema")
        assert fault.endswith("run `crm-sync adopt`")
        with structlog.testing.capture_logs():
            await asyncio.to_thread(roles.adopt, url)
            await asyncio.to_thread(roles.let_in, url)
        await until(app, ALL_COMPLETE)
        await insert(app, "Queued", "after@x.org")
        await until(app, ALL_COMPLETE)
    assert crm.log == ["before@x.org", "meanwhile@x.org", "after@x.org"]


@pytest.mark.parametrize(("column", "way"), one_case_quick([("brevo_attempts", "renamed"), *CASES]))
async def test_a_change_of_a_watched_column_goes_through_and_is_followed_later(app, url, column, way):
    await watch(app, "first_name")
    contact = await insert(app, "New")
    await without_triggers(app, "UPDATE contacts SET brevo_sync_status = 'Complete', brevo_synced_at = now()")
    broken = Broken(url, column, way)
    await broken.begin(app)
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    await broken.mend(app)
    if column in (KEY, STATUS):
        return  # another contact, or none that was wanted
    async with open_worker(url, 1) as worker:
        await worker.strays.line_up(0, 100)
        if way == "renamed":
            assert [one.id for one in await worker.claim()] == [contact]


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ("id", {}),
        ("brevo_contact_id", {}),
        ("brevo_claimed_by", {"wait": 300.0}),
        ("email", {"email": None}),
        ("brevo_synced_at", {}),
        ("brevo_attempts", {}),
    ],
)
async def test_a_deletion_is_passed_on_with_what_can_be_found_under_new_names(app, url, column, found):
    contact = await app.fetchval(
        "INSERT INTO contacts (email, brevo_contact_id) VALUES ('ada@example.com', '7') RETURNING id::text"
    )
    await app.execute("SELECT crm_sync.set_on_delete('brevo', 'delete')")
    await Broken(url, column, "renamed").begin(app)
    await app.execute("DELETE FROM contacts")
    row = await app.fetchrow(
        "SELECT contact_id, remote_id, email, round(extract(epoch FROM due_at - deleted_at))::float AS wait "
        "FROM crm_sync.tombstones"
    )
    assert dict(row) == {"contact_id": contact, "remote_id": "7", "email": "ada@example.com", "wait": 0.0} | found


@pytest.mark.parametrize("column", ["brevo_contact_id", "email", "brevo_claimed_by", "brevo_attempts"])
async def test_a_deletion_goes_through_when_a_column_is_gone(app, url, column):
    await app.execute("INSERT INTO contacts (email, brevo_contact_id, brevo_synced_at) VALUES ('ada@example.com', '7', now())")
    await app.execute("SELECT crm_sync.set_on_delete('brevo', 'delete')")
    await app.execute(f"ALTER TABLE contacts DROP COLUMN {column}" + ("" if column == "email" else " CASCADE"))
    assert await app.execute("DELETE FROM contacts") == "DELETE 1"


PARTED = [("id", "uid"), ("brevo_due_at", "due"), ("brevo_claimed_by", "claim"), ("brevo_attempts", "tries")]


@pytest.mark.parametrize(("column", "name"), PARTED)
async def test_a_row_that_moves_to_another_partition_meanwhile_stays_what_it_was(owner, empty_url, column, name):
    await owner.execute(LIST)
    await adopt(empty_url, "people", key="id")
    await owner.execute("SELECT crm_sync.set_on_delete('brevo', 'delete')")
    for number, (email, status) in enumerate((("flight", "Queued"), ("line", "Queued"), ("new", "New"), ("gone", "Queued")), 1):
        await owner.execute(
            "INSERT INTO people (id, email, region, brevo_sync_status) VALUES ($1, $2, 'eu', $3)", number, email, status
        )
    await without_triggers(
        owner,
        "UPDATE people SET brevo_claimed_by = 5, brevo_sync_status = 'Processing', brevo_contact_id = id WHERE id IN (1, 4)",
    )
    states = "SELECT to_jsonb(p) - '{region}'::text[] FROM people AS p WHERE email IN ('flight', 'line') ORDER BY email"
    await owner.execute(f"ALTER TABLE people RENAME {column} TO {name}")
    before = await owner.fetch(states)
    await owner.execute("UPDATE people SET region = 'us' WHERE email IN ('flight', 'line')")
    assert await owner.fetch(states) == before
    assert await owner.fetchval("SELECT count(*) FROM crm_sync.tombstones") == 0
    await owner.execute("UPDATE people SET region = 'us', brevo_sync_status = 'Queued' WHERE email = 'new'")
    await owner.execute("DELETE FROM people WHERE email = 'gone'")
    assert await owner.fetchval("SELECT remote_id FROM crm_sync.tombstones") == "4"
    await owner.execute(f"ALTER TABLE people RENAME {name} TO {column}")
    async with open_worker(empty_url, 1) as worker:
        await worker.strays.line_up(0, 100)
        assert {one.email for one in await worker.claim()} == {"line", "new"}


async def test_a_flip_of_the_application_s_own_trigger_is_seen_for_the_other_crm(app, url):
    both = ON_CHANGE.format(name=LAST).replace("IF NEW.first", "NEW.hubspot_sync_status := 'Queued'; IF NEW.first")
    await insert(app, "New")
    await app.execute(both)
    await adopt(url)
    broken = Broken(url, "brevo_due_at", "renamed")
    await broken.begin(app)
    with warnings(app) as told:
        await app.execute("UPDATE contacts SET first_name = 'Eve'")
    assert await lines(app, "hubspot") == {"ada@example.com"}
    assert [message.message for message in told] == [f'{NOT_SEEN}record "new" has no field "brevo_due_at"']
    await broken.mend(app)
    async with open_worker(url, 1) as worker:
        await worker.strays.line_up(0, 100)
        assert [one.email for one in await worker.claim()] == ["ada@example.com"]


async def test_migrate_brings_it_to_a_table_that_an_older_version_has_adopted(owner, empty_url):
    await asyncio.to_thread(adopt_before, empty_url, "0022.tolerant-flips")
    await owner.execute("SELECT crm_sync.set_on_delete('brevo', 'delete'); SELECT crm_sync.watch('brevo', '{first_name}')")
    await owner.execute(
        ON_CHANGE.format(name=LAST).replace("NEW.first_name", "NEW.last_name").replace("OLD.first_name", "OLD.last_name")
    )
    contact = await insert(owner, "Queued")
    await owner.execute("SELECT crm_sync.create_catch()")
    await owner.execute("ALTER TABLE contacts RENAME brevo_due_at TO due")
    for statement in ("brevo_sync_status = 'Queued'", "first_name = 'Eve'"):
        with pytest.raises(asyncpg.UndefinedColumnError):
            await owner.execute(f"UPDATE contacts SET {statement}")
    await owner.execute("ALTER TABLE contacts RENAME due TO brevo_due_at")
    await adopt(empty_url)
    await owner.execute("ALTER TABLE contacts RENAME brevo_due_at TO due; ALTER TABLE contacts RENAME id TO uid")
    await owner.execute("UPDATE contacts SET first_name = 'Eve'")
    await owner.execute("UPDATE contacts SET last_name = 'Noon'")
    await owner.execute("UPDATE contacts SET brevo_sync_status = 'Skipped'")
    await owner.execute("UPDATE contacts SET brevo_contact_id = '7'")
    await owner.execute("DELETE FROM contacts")
    assert await owner.fetchval("SELECT contact_id FROM crm_sync.tombstones") == str(contact)
