"""What the manual says about triggers, locks, types and isolation of an application next to a worker."""

import asyncpg
import pytest

from crm_sync.core.outcome import Kind
from tests.roles import WORKER
from tests.steps import insert, read

TOUCH = """
ALTER TABLE contacts ADD touched_at timestamptz, ADD version integer NOT NULL DEFAULT 1;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.touched_at := clock_timestamp();
    NEW.version := OLD.version + 1;
    RETURN NEW;
END;
$$;
CREATE TRIGGER touch BEFORE UPDATE ON contacts FOR EACH ROW {when} EXECUTE FUNCTION touch();
"""


async def deliver(worker):
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.DELIVERED, remote_id="7")


@pytest.mark.parametrize(
    ("when", "counted"), [("", 4), (f"WHEN (current_user <> '{WORKER}')", 2)], ids=["of all", "but the worker's"]
)
async def test_a_trigger_on_every_update_sees_those_of_workers_unless_it_leaves_their_role_out(app, worker, when, counted):
    contact = await insert(app)
    await app.execute(TOUCH.format(when=when))
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
    await deliver(worker)
    row = await app.fetchrow("SELECT version, touched_at > brevo_synced_at AS later FROM contacts WHERE id = $1", contact)
    assert row["version"] == counted
    assert row["later"] == (not when)


async def test_a_version_that_the_application_counts_itself_is_left_alone_and_xmin_is_not(app, worker):
    contact = await insert(app, "Queued")
    await app.execute("ALTER TABLE contacts ADD version integer NOT NULL DEFAULT 1")
    xmin = await app.fetchval("SELECT xmin::text FROM contacts")
    await deliver(worker)
    counted = "UPDATE contacts SET first_name = 'Grace', version = version + 1 WHERE id = $1 AND version = 1"
    assert (
        await app.execute("UPDATE contacts SET first_name = 'Grace' WHERE id = $1 AND xmin::text = $2", contact, xmin)
        == "UPDATE 0"
    )
    assert await app.execute(counted, contact) == "UPDATE 1"


async def test_texts_that_say_their_type_are_cast(app):
    contact = await insert(app)
    flip = "PREPARE flip(varchar) AS UPDATE contacts SET brevo_sync_status = $1"
    with pytest.raises(
        asyncpg.DatatypeMismatchError, match="is of type crm_sync_status but expression is of type character varying"
    ):
        await app.execute(flip)
    await app.execute(f"{flip}::crm_sync_status WHERE brevo_sync_status::text <> $1; EXECUTE flip('Queued')")
    assert (await read(app, contact))["due_at"] is not None


@pytest.mark.parametrize("level", ["repeatable_read", "serializable"])
async def test_a_snapshot_from_before_a_claim_cannot_be_written_upon_and_is_repeated(app, worker, level):
    contact = await insert(app, "Queued")
    again = "UPDATE contacts SET brevo_sync_status = 'Queued' WHERE id = $1"
    transaction = app.transaction(isolation=level)
    await transaction.start()
    await app.fetch("SELECT * FROM contacts")
    await deliver(worker)
    with pytest.raises(asyncpg.SerializationError):
        await app.execute(again, contact)
    await transaction.rollback()
    async with app.transaction(isolation=level):
        await app.execute(again, contact)
    assert len(await worker.claim()) == 1


async def test_a_soft_delete_by_a_rule_may_flip(app, worker):
    contact = await insert(app)
    await app.execute(
        "ALTER TABLE contacts ADD deleted_at timestamptz; CREATE RULE soft AS ON DELETE TO contacts DO INSTEAD "
        "UPDATE contacts SET deleted_at = now(), brevo_sync_status = 'Queued' WHERE id = OLD.id"
    )
    await app.execute("DELETE FROM contacts")
    assert [claimed.id for claimed in await worker.claim()] == [contact]


async def test_a_rule_on_insert_is_nobodys_matter(app, worker):
    await app.execute("CREATE TABLE audit (email text)")
    await app.execute("CREATE RULE audit AS ON INSERT TO contacts DO ALSO INSERT INTO audit VALUES (NEW.email)")
    await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('a@example.com', 'Queued')")
    await deliver(worker)
    assert await app.fetchval("SELECT count(*) FROM audit") == 1
