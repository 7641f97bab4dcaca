"""A watched column: when it changes, the database itself flips a contact that is in the CRM."""

import asyncpg
import pytest

from crm_sync.core.outcome import Kind
from tests.steps import first_names, insert, pair, read, watch, write
from tests.table.test_trigger import BELL, BREVO, IMPOSTORS, hear, said_by_now

TRAP = """
CREATE OR REPLACE FUNCTION crm_sync.brevo_watch() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the function was called'; END $$
"""


# In the CRM.


async def test_a_change_is_a_flip(app, worker, complete):
    before = await read(app, complete)
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    row = await read(app, complete)
    assert (row["sync_status"], row["processing_status"], row["attempts"], row["claimed_by"]) == ("Queued", "Queued", 0, None)
    assert before["flipped_at"] < row["flipped_at"] == row["due_at"] <= await app.fetchval("SELECT clock_timestamp()")
    assert (row["contact_id"], row["synced_at"]) == ("7", before["synced_at"])
    assert await first_names(worker) == ["Eve"]


async def test_a_change_forgets_what_was_not_sent_along_before(app, worker, complete):
    await write(app, complete, sync_status="Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.DELIVERED, error="FIELD_NOT_SENT: SMS")
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    assert (await read(app, complete))["processing_error"] is None


async def test_a_hundred_changes_before_the_claim_are_one_delivery_of_the_last(app, worker, complete):
    for number in range(100):
        await app.execute("UPDATE contacts SET first_name = $1", f"Ada {number}")
    assert await first_names(worker) == ["Ada 99"]
    assert await worker.claim() == []


async def test_a_change_that_is_rolled_back_is_none(app, complete):
    before = await read(app, complete)
    transaction = app.transaction()
    await transaction.start()
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    await transaction.rollback()
    assert await read(app, complete) == before


async def test_an_update_of_many_flips_those_that_change(app, worker, complete):
    await app.execute(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) SELECT n || '@example.com', 'Ada', 'Queued' "
        "FROM generate_series(1, 20) AS n"
    )
    for claimed in await worker.claim():
        await worker.finish(claimed, Kind.DELIVERED)
    await app.execute("UPDATE contacts SET first_name = 'Eve' WHERE email LIKE '1%'")
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Queued'") == 21
    assert len(await worker.claim()) == 21


async def test_an_upsert_flips_too(app, complete):
    await app.execute("CREATE UNIQUE INDEX ON contacts (email)")
    await app.execute(
        "INSERT INTO contacts (email, first_name) VALUES ('ada@example.com', 'Eve') "
        "ON CONFLICT (email) DO UPDATE SET first_name = excluded.first_name"
    )
    assert await pair(app, complete) == ("Queued", "Queued")


async def test_to_and_from_null_is_a_change(app, worker, complete):
    for value in (None, "Ada"):
        await app.execute("UPDATE contacts SET first_name = $1", value)
        (claimed,) = await worker.claim()
        await worker.finish(claimed, Kind.DELIVERED)
    await app.execute("UPDATE contacts SET first_name = first_name")
    assert await pair(app, complete) == ("Complete", "Complete")


# No cost for unaffected rows.


@pytest.mark.parametrize(
    "update",
    [
        "UPDATE contacts SET last_name = 'Byron'",
        "UPDATE contacts SET updated_at = now()",
        "UPDATE contacts SET first_name = 'Ada', email = email",
        "UPDATE contacts SET hubspot_sync_status = 'Queued'",
        "UPDATE contacts SET brevo_sync_status = 'Skipped', first_name = 'Eve'",
        "UPDATE contacts SET brevo_sync_status = 'Queued', first_name = 'Eve'",
    ],
)
async def test_an_update_without_a_watched_change_or_with_a_word_of_its_own_never_calls_the_function(app, complete, update):
    await app.execute(TRAP)
    await app.execute(f"{update} WHERE id = $1", complete)
    await insert(app, "Complete")
    with pytest.raises(asyncpg.RaiseError, match="the function was called"):
        await app.execute("UPDATE contacts SET first_name = 'Bob' WHERE id <> $1", complete)


async def test_the_worker_never_calls_the_function(app, worker, complete):
    await write(app, complete, sync_status="Queued")
    await app.execute(TRAP)
    (claimed,) = await worker.claim()
    assert await worker.finish(claimed, Kind.RETRY, error="TIMEOUT: slow")
    (claimed,) = await worker.claim()
    assert await worker.finish(claimed, Kind.DELIVERED)


@pytest.mark.parametrize("status", ["New", "Selected", "Skipped", "Error"])
async def test_a_contact_that_is_not_wanted_there_or_waits_for_a_person_stays_as_it_is(app, worker, status):
    await watch(app, "first_name")
    contact = await insert(app, status)
    before = await read(app, contact)
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    assert await read(app, contact) == before
    assert await worker.claim() == []


# In line, and in flight.


async def test_a_contact_in_line_keeps_its_place_and_gets_a_new_time_of_its_flip(app, worker):
    """Its current values are sent anyway; the time distinguishes them from what an earlier attempt may have sent."""
    await watch(app, "first_name")
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.RETRY, error="TIMEOUT: slow", delay_s=3600)
    before = await read(app, contact)
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    after = await read(app, contact)
    assert after.pop("flipped_at") > before.pop("flipped_at")
    assert after == before
    assert await app.fetchval("SELECT next_retry_at = brevo_due_at FROM contacts")


async def test_a_flip_together_with_a_change_ends_the_wait_for_a_retry(app, worker):
    await watch(app, "first_name")
    await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.RETRY, error="TIMEOUT: slow", delay_s=3600)
    await app.execute("UPDATE contacts SET first_name = 'Eve', brevo_sync_status = 'Queued'")
    assert await first_names(worker) == ["Eve"]


@pytest.mark.parametrize("outcome", [Kind.DELIVERED, Kind.RETRY, Kind.REJECTED, Kind.DEFERRED])
async def test_a_change_in_flight_is_sent_after_the_flight_however_that_ends(app, worker, outcome):
    await watch(app, "first_name")
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    await app.execute("UPDATE contacts SET first_name = 'Bob'")
    row = await read(app, contact)
    assert (row["sync_status"], row["processing_status"], row["claimed_by"]) == ("Queued", "Processing", claimed.token)
    assert row["flipped_at"] > claimed.flipped_at
    assert await worker.claim() == []
    await worker.finish(claimed, outcome, error="LOCKED: x")
    assert await first_names(worker) == ["Bob"]
    assert await worker.claim() == []


async def test_a_contact_withdrawn_in_flight_stays_withdrawn(app, worker):
    await watch(app, "first_name")
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await write(app, contact, sync_status="Skipped")
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    await worker.finish(claimed, Kind.DELIVERED)
    assert await pair(app, contact) == ("Skipped", "Complete")


# The bell.


async def test_a_change_rings_an_armed_bell_once_a_transaction(app, other_app, worker, complete):
    heard = await hear(other_app)
    await other_app.fetchval(f"SELECT pg_advisory_lock({BELL}, ({BREVO}))")
    async with app.transaction():
        for number in range(10):
            await app.execute("UPDATE contacts SET first_name = $1", f"Ada {number}")
    assert await said_by_now(app, heard) == ["brevo"]


async def test_an_awake_worker_is_not_notified(app, complete):
    heard = await hear(app)
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    assert await said_by_now(app, heard) == []


async def test_the_bell_cannot_be_armed_while_a_change_is_uncommitted(app, other_app, complete):
    async with app.transaction():
        await app.execute("UPDATE contacts SET first_name = 'Eve'")
        assert not await other_app.fetchval(f"SELECT pg_try_advisory_lock({BELL}, ({BREVO}))")
    assert await other_app.fetchval(f"SELECT pg_try_advisory_lock({BELL}, ({BREVO}))")


# Any role that updates.


async def test_the_function_looks_nothing_up_by_the_search_path_of_whoever_updates(app, other_app, complete):
    await app.execute(IMPOSTORS)
    await other_app.fetchval(f"SELECT pg_advisory_lock({BELL}, ({BREVO}))")
    heard = await hear(other_app)
    await app.execute("SET search_path = impostors, pg_catalog, public")
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    await app.execute("RESET search_path")
    row = await read(app, complete)
    assert (row["sync_status"], row["processing_status"]) == ("Queued", "Queued")
    assert row["due_at"] == row["flipped_at"] <= await app.fetchval("SELECT clock_timestamp()")
    assert await said_by_now(app, heard) == ["brevo"]


async def test_an_application_without_rights_on_our_schema_changes_what_is_watched(app, complete):
    role = f"plain_{await app.fetchval('SELECT pg_backend_pid()')}"
    await app.execute(f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA public TO {role}; GRANT SELECT, UPDATE ON contacts TO {role}")
    try:
        async with app.transaction():
            await app.execute(f"SET LOCAL ROLE {role}")
            await app.execute("UPDATE contacts SET first_name = 'Eve'")
        assert await pair(app, complete) == ("Queued", "Queued")
    finally:
        await app.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
