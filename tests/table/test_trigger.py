"""The trigger's cases: whose change it is, and what happens to it."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from crm_sync.core.outcome import Kind
from crm_sync.postgres.locks import BELL
from tests.steps import insert, pair, read, write
from tests.tiers import slow

BREVO = "SELECT id FROM crm_sync.lanes WHERE crm = 'brevo'"


# Not in flight.


async def test_an_inserted_queued_contact_is_in_line(app):
    contact = await insert(app, "Queued")
    row = await read(app, contact)
    assert (row["sync_status"], row["processing_status"], row["attempts"]) == ("Queued", "Queued", 0)
    assert row["due_at"] <= await app.fetchval("SELECT clock_timestamp()")


async def test_an_inserted_new_contact_is_not(app):
    row = await read(app, await insert(app))
    assert (row["processing_status"], row["due_at"]) == (None, None)


async def test_a_flip_lines_a_contact_up(app):
    contact = await insert(app)
    await write(app, contact, sync_status="Queued")
    assert await pair(app, contact) == ("Queued", "Queued")


@pytest.mark.parametrize("before", ["New", "Selected", "Complete", "Error", "Skipped", "Processing"])
async def test_a_flip_lines_a_contact_up_from_every_state(app, before):
    contact = await insert(app, before)
    await write(app, contact, sync_status="Queued")
    row = await read(app, contact)
    assert (row["sync_status"], row["processing_status"], row["attempts"]) == ("Queued", "Queued", 0)
    assert row["due_at"] is not None


async def test_a_flip_forgets_the_failure_before(app, worker):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.REJECTED, error="REJECTED: no")
    await write(app, contact, sync_status="Queued")
    row = await read(app, contact)
    assert (row["processing_error"], row["attempts"]) == (None, 0)


async def test_a_contact_flipped_twice_keeps_its_place_in_line(app):
    contact = await insert(app, "Queued")
    before = await read(app, contact)
    await write(app, contact, sync_status="Queued")
    assert (await read(app, contact))["due_at"] == before["due_at"]


async def test_each_flip_has_a_time_of_its_own(app):
    contact = await insert(app, "Queued")
    first = (await read(app, contact))["flipped_at"]
    await write(app, contact, sync_status="Queued")
    assert (await read(app, contact))["flipped_at"] > first


async def test_a_flip_keeps_its_time_over_claims_and_retries(app, worker):
    contact = await insert(app, "Queued")
    flipped_at = (await read(app, contact))["flipped_at"]
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.RETRY, error="A: b")
    (again,) = await worker.claim()
    assert claimed.flipped_at == again.flipped_at == flipped_at
    await worker.finish(again, Kind.DELIVERED)
    assert (await read(app, contact))["flipped_at"] == flipped_at


async def test_a_flip_in_flight_has_its_own_time_when_it_is_claimed_after_it(app, worker):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await write(app, contact, sync_status="Queued")
    await worker.finish(claimed, Kind.DELIVERED)
    (again,) = await worker.claim()
    assert again.flipped_at > claimed.flipped_at


async def test_a_stale_row_saved_in_flight_does_not_change_the_time_of_the_flip(app, worker):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await write(app, contact, sync_status="Processing", flipped_at=None)
    assert (await read(app, contact))["flipped_at"] == claimed.flipped_at


async def test_a_contact_waiting_for_a_retry_goes_now_when_it_is_flipped(app, worker):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.RETRY, error="TIMEOUT: no answer", delay_s=3600)
    assert await app.fetchval("SELECT next_retry_at FROM contacts") is not None
    await write(app, contact, sync_status="Queued")
    row = await read(app, contact)
    assert row["due_at"] <= await app.fetchval("SELECT clock_timestamp()")
    assert (row["attempts"], row["processing_error"]) == (0, None)
    assert await app.fetchval("SELECT next_retry_at FROM contacts") is None


async def test_a_roll_up_keeps_the_retry_of_another_crm(app, worker):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.RETRY, error="TIMEOUT: no answer", delay_s=3600)
    later = datetime.now(UTC) + timedelta(hours=3)
    await app.execute("SET session_replication_role = replica")
    await app.execute("UPDATE contacts SET hubspot_due_at = $1, hubspot_processing_error = 'X: y'", later)
    await app.execute("RESET session_replication_role")
    await write(app, contact, sync_status="Skipped")
    assert await app.fetchval("SELECT next_retry_at FROM contacts") == later


@pytest.mark.parametrize("word", ["New", "Selected", "Skipped", "Complete", "Error"])
async def test_a_contact_in_line_is_withdrawn_by_any_other_word(app, worker, word):
    contact = await insert(app, "Queued")
    await write(app, contact, sync_status=word)
    row = await read(app, contact)
    assert (row["sync_status"], row["processing_status"], row["due_at"]) == (word, None, None)
    assert await worker.claim() == []


async def test_older_code_that_writes_these_columns_itself_keeps_working(app):
    contact = await insert(app, "Queued")
    await write(app, contact, sync_status="Processing", processing_status="Processing")
    assert await pair(app, contact) == ("Processing", "Processing")
    await write(app, contact, sync_status="Error", processing_status="Error", processing_error="its own words")
    row = await read(app, contact)
    assert (row["sync_status"], row["processing_status"], row["processing_error"]) == ("Error", "Error", "its own words")


async def test_an_edit_of_other_columns_changes_nothing_of_ours(app):
    contact = await insert(app, "Queued")
    before = await read(app, contact)
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    assert await read(app, contact) == before


# In flight.


async def test_a_contact_in_flight_keeps_what_the_worker_wrote_when_a_stale_row_is_saved(app, worker):
    contact = await insert(app, "Queued")
    stale = await read(app, contact)
    await worker.claim()
    before = await read(app, contact)
    columns = ("processing_status", "processing_error", "contact_id", "attempts", "due_at", "synced_at")
    await write(app, contact, sync_status="New", **{name: stale[name] for name in columns})
    after = await read(app, contact)
    assert after == {**before, "sync_status": "New"}


async def test_a_stale_claim_saved_in_flight_or_after_it_is_nobodys(app, worker):
    """An ORM whose model has all columns saves what it has read, including the claim."""
    contact = await insert(app, "Queued")
    in_line = await read(app, contact)
    (claimed,) = await worker.claim()
    in_flight = await read(app, contact)
    await write(app, contact, **in_line)
    row = await read(app, contact)
    assert (row["claimed_by"], row["due_at"]) == (claimed.token, in_flight["due_at"])
    await worker.finish(claimed, Kind.DELIVERED)
    await worker.finish((await worker.claim())[0], Kind.DELIVERED)
    finished = await read(app, contact)
    await write(app, contact, **in_flight)
    assert await read(app, contact) == finished


@pytest.mark.parametrize("column", ["due_at", "flipped_at"])
@pytest.mark.parametrize("word", ["New", "Complete", "Error", "Processing"])
async def test_a_row_read_before_a_flip_and_saved_after_it_does_not_take_it_back(app, worker, word, column):
    """One of the two is enough to show that the row is stale."""
    contact = await insert(app, word)
    await write(app, contact, sync_status="Queued")
    in_line = await read(app, contact)
    await write(app, contact, **{"sync_status": word, column: None})
    assert await read(app, contact) == in_line
    (claimed,) = await worker.claim()
    in_flight = await read(app, contact)
    if column == "flipped_at":
        await write(app, contact, sync_status=word, flipped_at=None)
        assert await read(app, contact) == in_flight
    assert await worker.finish(claimed, Kind.DELIVERED)


@pytest.mark.parametrize("word", ["Skipped", "Selected"])
async def test_what_a_person_says_of_a_contact_is_taken_from_an_old_row_too(app, worker, word):
    contact = await insert(app, word)
    stale = await read(app, contact)
    await write(app, contact, sync_status="Queued")
    await write(app, contact, **stale)
    row = await read(app, contact)
    assert (row["sync_status"], row["due_at"]) == (word, None)
    assert await worker.claim() == []


@pytest.mark.parametrize("kind", [Kind.DELIVERED, Kind.REJECTED, Kind.RETRY])
async def test_a_row_read_before_a_finish_and_saved_after_it_keeps_what_came_of_it(app, worker, kind):
    """Without its id in the CRM, a contact with a new address would be created there again."""
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    stale = await read(app, contact)
    await worker.finish(claimed, kind, error=None if kind is Kind.DELIVERED else "A: b", remote_id="7", delay_s=60)
    finished = await read(app, contact)
    await write(app, contact, **stale)
    assert await read(app, contact) == finished
    await write(app, contact, **{**stale, "sync_status": "Queued"})
    row = await read(app, contact)
    assert (row["sync_status"], row["processing_status"], row["contact_id"]) == ("Queued", "Queued", "7")


async def test_a_row_read_in_line_and_saved_in_a_later_flight_does_not_end_it(app, worker):
    """It looks like a finish, except for its due time, which is older than the row's."""
    contact = await insert(app, "Queued")
    stale = await read(app, contact)
    await worker.finish((await worker.claim())[0], Kind.DEFERRED)
    (claimed,) = await worker.claim()
    await write(app, contact, **stale)
    assert await worker.claim() == []
    assert await worker.finish(claimed, Kind.DELIVERED)


async def test_a_finish_is_one_although_the_clock_was_set_back(app, worker):
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await app.execute("SET session_replication_role = replica")
    later = datetime.now(UTC) + timedelta(minutes=1)
    await write(app, contact, due_at=later)
    await worker.finish(claimed, Kind.DEFERRED)
    row = await read(app, contact)
    assert row["claimed_by"] is None
    assert row["due_at"] > later


async def test_a_flip_in_flight_is_taken_as_written(app, worker):
    contact = await insert(app, "Queued")
    await worker.claim()
    await write(app, contact, sync_status="Queued")
    assert await pair(app, contact) == ("Queued", "Processing")
    assert await worker.claim() == []


async def test_a_withdrawal_in_flight_is_taken_as_written(app, worker):
    contact = await insert(app, "Queued")
    await worker.claim()
    await write(app, contact, sync_status="Skipped")
    assert await pair(app, contact) == ("Skipped", "Processing")


async def test_a_copied_row_brings_no_claim_along(app, worker):
    await insert(app, "Queued")
    (claimed,) = await worker.claim()
    columns = [
        name
        for (name,) in await app.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'contacts' AND column_name <> 'id'"
        )
    ]
    names = ", ".join(columns)
    copy = await app.fetchval(f"INSERT INTO contacts ({names}) SELECT {names} FROM contacts RETURNING id")
    row = await read(app, copy)
    assert (row["sync_status"], row["processing_status"], row["claimed_by"]) == ("Queued", "Queued", None)
    assert [again.id for again in await worker.claim()] == [copy]
    assert copy != claimed.id


# The bell.


async def hear(app: asyncpg.Connection) -> asyncio.Queue[str]:
    heard: asyncio.Queue[str] = asyncio.Queue()
    await app.add_listener("crm_sync", lambda *notification: heard.put_nowait(notification[3]))
    return heard


async def said_by_now(app: asyncpg.Connection, heard: asyncio.Queue[str]) -> list[str]:
    """All notifications so far: Postgres delivers in commit order, so an end mark comes last."""
    await app.execute("SELECT pg_notify('crm_sync', 'end')")
    said = []
    while (word := await asyncio.wait_for(heard.get(), 10)) != "end":
        said.append(word)
    return said


async def test_an_armed_bell_is_rung(app, other_app):
    heard = await hear(other_app)
    await app.execute(f"SELECT pg_advisory_lock({BELL}, ({BREVO}))")
    contact = await insert(other_app)
    await write(other_app, contact, sync_status="Queued")
    assert await said_by_now(other_app, heard) == ["brevo"]


async def test_an_awake_worker_is_not_notified(app):
    heard = await hear(app)
    await insert(app, "Queued")
    assert await said_by_now(app, heard) == []


async def test_the_bell_cannot_be_armed_while_a_flip_is_uncommitted(app, other_app):
    async with app.transaction():
        await insert(app, "Queued")
        assert not await other_app.fetchval(f"SELECT pg_try_advisory_lock({BELL}, ({BREVO}))")
    assert await other_app.fetchval(f"SELECT pg_try_advisory_lock({BELL}, ({BREVO}))")


@slow
async def test_a_hundred_thousand_rows_in_one_statement_are_one_notification(app, other_app):
    heard = await hear(other_app)
    await other_app.execute("INSERT INTO contacts (email) SELECT n || '@example.com' FROM generate_series(1, 100000) AS n")
    await app.execute(f"SELECT pg_advisory_lock({BELL}, ({BREVO}))")
    await other_app.execute("UPDATE contacts SET brevo_sync_status = 'Queued'", timeout=120)
    assert await said_by_now(other_app, heard) == ["brevo"]


async def test_the_crms_are_independent(app, other_app):
    heard = await hear(other_app)
    await app.execute(f"SELECT pg_advisory_lock({BELL}, id) FROM crm_sync.lanes")
    await other_app.execute(
        "INSERT INTO contacts (email, hubspot_sync_status, n8n_sync_status) VALUES ('a@example.com', 'Queued', 'Queued')"
    )
    assert sorted(await said_by_now(other_app, heard)) == ["hubspot", "n8n"]


async def test_an_application_without_rights_on_our_schema_can_flip(app):
    role = f"plain_{await app.fetchval('SELECT pg_backend_pid()')}"
    await app.execute(
        f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA public TO {role}; GRANT SELECT, INSERT, UPDATE ON contacts TO {role}"
    )
    try:
        async with app.transaction():
            await app.execute(f"SET LOCAL ROLE {role}")
            contact = await insert(app)
            await write(app, contact, sync_status="Queued")
        assert await pair(app, contact) == ("Queued", "Queued")
    finally:
        await app.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


IMPOSTORS = """
CREATE SCHEMA impostors;
CREATE FUNCTION impostors.pg_try_advisory_xact_lock_shared(integer, integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION impostors.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT';
CREATE FUNCTION impostors.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$SELECT 'infinity'::timestamptz$$;
CREATE FUNCTION impostors.never(public.crm_sync_status, public.crm_sync_status) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR impostors.= (LEFTARG = public.crm_sync_status, RIGHTARG = public.crm_sync_status, FUNCTION = impostors.never);
CREATE DOMAIN impostors.crm_sync_status AS text;
CREATE DOMAIN impostors.crm_processing_status AS text;
"""


async def test_the_trigger_looks_nothing_up_by_the_search_path_of_whoever_flips(app, other_app):
    """A fixed search_path would ensure that too, and make every flip a fifth slower."""
    await app.execute(IMPOSTORS)
    contact = await insert(app)
    await other_app.execute("SET search_path = impostors, pg_catalog, public")
    await other_app.fetchval(f"SELECT pg_advisory_lock({BELL}, id) FROM crm_sync.lanes WHERE crm = 'brevo'")
    heard = await hear(other_app)
    await app.execute("SET search_path = impostors, pg_catalog, public")
    assert await app.fetchval("SELECT clock_timestamp()::text") == "infinity", "the impostors are in front"
    await write(app, contact, sync_status="Queued")
    await app.execute("RESET search_path")
    row = await read(app, contact)
    assert (row["sync_status"], row["processing_status"]) == ("Queued", "Queued")
    assert row["due_at"] == row["flipped_at"] <= await app.fetchval("SELECT clock_timestamp()")
    assert await said_by_now(app, heard) == ["brevo"]
