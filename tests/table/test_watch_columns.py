"""Which columns can be watched, by which roles, and how a watch is replaced and removed."""

import asyncio
import itertools

import asyncpg
import pytest

from crm_sync.adoption.adopt import undo
from tests.steps import insert, pair, watch


async def test_several_crms_watch_the_same_column_each_for_itself(app):
    await watch(app, "email")
    await watch(app, "email", "phone", crm="hubspot")
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status, hubspot_sync_status, mautic_sync_status) "
        "VALUES ('ada@example.com', 'Complete', 'Complete', 'Complete')"
    )
    statuses = "SELECT brevo_sync_status, hubspot_sync_status, mautic_sync_status FROM contacts"
    await app.execute("UPDATE contacts SET phone = '+44'")
    assert tuple(await app.fetchrow(statuses)) == ("Complete", "Queued", "Complete")
    await app.execute("UPDATE contacts SET email = 'eve@example.com'")
    assert tuple(await app.fetchrow(statuses)) == ("Queued", "Queued", "Complete")


@pytest.mark.parametrize("crm", ["hubspot", "brevo", "mautic", "n8n"])
async def test_every_crm_can_watch(app, crm):
    await watch(app, "email", crm=crm)
    await app.execute(f"INSERT INTO contacts (email, {crm}_sync_status) VALUES ('ada@example.com', 'Complete')")
    await app.execute("UPDATE contacts SET email = 'eve@example.com'")
    states = f"SELECT {crm}_sync_status::text, {crm}_processing_status::text, {crm}_due_at = {crm}_flipped_at FROM contacts"
    assert tuple(await app.fetchrow(states)) == ("Queued", "Queued", True)


async def test_watched_again_the_columns_replace_those_before(app):
    await watch(app, "email")
    await app.execute("ALTER TABLE contacts DISABLE TRIGGER crm_sync_brevo_watch")
    await watch(app, "first_name")
    contact = await insert(app, "Complete")
    await app.execute("UPDATE contacts SET email = 'eve@example.com'")
    assert (await pair(app, contact))[0] == "Complete"
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    assert (await pair(app, contact))[0] == "Queued"


TYPES = {
    "json": ("'{}'", "'{\"a\": 1}'"),
    "jsonb": ("'{}'", "'{\"a\": 1}'"),
    "point": ("'(1,1)'", "'(1,2)'"),
    "text[]": ("'{a}'", "'{a,b}'"),
    "bytea": ("'a'", "'b'"),
    "int4range": ("'[1,2)'", "'[1,3)'"),
    "hubspot_sync_status": ("'New'", "'Skipped'"),
    "numeric": ("1.0", "1.00"),  # equal, but not the same as what was sent
}


@pytest.mark.parametrize("kind", TYPES)
async def test_a_column_of_any_type_can_be_watched(app, kind):
    before, after = TYPES[kind]
    await app.execute(f'ALTER TABLE contacts ADD COLUMN "Its ""own"" name" {kind} DEFAULT {before}')
    await watch(app, 'Its "own" name')
    contact = await insert(app, "Complete")
    await app.execute(f'UPDATE contacts SET "Its ""own"" name" = {before}')
    assert (await pair(app, contact))[0] == "Complete"
    await app.execute(f'UPDATE contacts SET "Its ""own"" name" = {after}')
    assert (await pair(app, contact))[0] == "Queued"


async def test_a_renamed_column_stays_watched(app):
    await watch(app, "first_name")
    contact = await insert(app, "Complete")
    await app.execute("ALTER TABLE contacts RENAME COLUMN first_name TO given_name")
    await app.execute("UPDATE contacts SET given_name = 'Eve'")
    assert (await pair(app, contact))[0] == "Queued"


async def test_a_watch_survives_a_dump_and_a_restore(app):
    """A record comparison by operator would not: its dump reads as a comparison of columns."""
    await watch(app, "email")
    definition = await app.fetchval("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'crm_sync_brevo_watch'")
    await app.execute("DROP TRIGGER crm_sync_brevo_watch ON contacts")
    await app.execute(definition)
    contact = await insert(app, "Complete")
    await app.execute("UPDATE contacts SET email = 'eve@example.com'")
    assert (await pair(app, contact))[0] == "Queued"


@pytest.mark.parametrize(
    ("columns", "error", "said"),
    [
        (["nmae"], asyncpg.UndefinedColumnError, "contacts has no column nmae; those that can be watched are: id, email, first_"),
        (["email", "Email"], asyncpg.UndefinedColumnError, "no column Email"),
        (["email", None], asyncpg.UndefinedColumnError, "no column NULL"),
        (["ctid"], asyncpg.UndefinedColumnError, "no column ctid"),
        (["brevo_sync_status"], asyncpg.InvalidColumnReferenceError, "brevo_sync_status is a column of crm-sync itself"),
        (["email", "hubspot_contact_id"], asyncpg.InvalidColumnReferenceError, "hubspot_contact_id is a column of crm-sync"),
        (["n8n_workflow_id"], asyncpg.InvalidColumnReferenceError, "n8n_workflow_id is a column of crm-sync"),
        (["next_retry_at"], asyncpg.InvalidColumnReferenceError, "next_retry_at is a column of crm-sync"),
        (["initials"], asyncpg.InvalidColumnReferenceError, "initials is a generated column"),
        ([], asyncpg.InvalidColumnReferenceError, "name one column at least"),
        (None, asyncpg.InvalidColumnReferenceError, "name one column at least"),
    ],
)
async def test_what_cannot_be_watched_is_refused_with_the_reason_and_changes_nothing(app, columns, error, said):
    await app.execute('ALTER TABLE contacts ADD COLUMN initials text GENERATED ALWAYS AS ("left"(first_name, 1)) STORED')
    await watch(app, "email")
    triggers = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'contacts'::regclass ORDER BY 1"
    before = await app.fetch(triggers)
    with pytest.raises(error, match=said):
        await app.execute("SELECT crm_sync.watch('brevo', $1)", columns)
    assert await app.fetch(triggers) == before


async def test_the_columns_that_can_be_watched_are_not_those_of_crm_sync(app):
    with pytest.raises(asyncpg.UndefinedColumnError) as refused:
        await watch(app, "nmae")
    named = refused.value.args[0].partition(" are: ")[2].split(", ")
    own = await app.fetchval("SELECT crm_sync.own_columns()")
    everything = await app.fetch("SELECT column_name FROM information_schema.columns WHERE table_name = 'contacts'")
    assert sorted(itertools.chain(named, own)) == sorted(row[0] for row in everything)


async def test_a_crm_that_is_not_installed_is_refused(app):
    with pytest.raises(asyncpg.UndefinedObjectError, match="pipedrive is not installed on the table contacts"):
        await watch(app, "email", crm="pipedrive")


async def test_unwatch_takes_everything_off_again(app):
    everything = (
        "SELECT array_agg(tgname ORDER BY tgname), (SELECT array_agg(oid::regprocedure::text ORDER BY oid) FROM pg_proc "
        "WHERE pronamespace = 'crm_sync'::regnamespace) FROM pg_trigger WHERE tgrelid = 'contacts'::regclass"
    )
    before = await app.fetchrow(everything)
    await watch(app, "email")
    assert await app.fetchval("SELECT crm_sync.unwatch('brevo')")
    assert await app.fetchrow(everything) == before
    assert not await app.fetchval("SELECT crm_sync.unwatch('brevo')")


async def test_the_rollback_of_the_migrations_takes_every_watch_off(app, url):
    await watch(app, "email")
    await watch(app, "phone", crm="n8n")
    await app.execute("INSERT INTO contacts (email) VALUES ('ada@example.com')")  # an empty one would be dropped
    await asyncio.to_thread(undo, url)
    assert await app.fetch("SELECT tgname FROM pg_trigger WHERE tgrelid = 'contacts'::regclass") == []


async def test_two_who_watch_at_once_wait_for_each_other(app, other_app):
    async def often(connection, column):
        for _ in range(20):
            await watch(connection, column)

    await asyncio.gather(often(app, "email"), often(other_app, "first_name"))
    assert await app.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname = 'crm_sync_brevo_watch'") == 1


async def test_a_partitioned_table_is_watched_in_all_its_partitions(app):
    await app.execute("""
        ALTER TABLE contacts RENAME TO contacts_1;
        CREATE TABLE contacts (LIKE contacts_1 INCLUDING DEFAULTS, PRIMARY KEY (id)) PARTITION BY HASH (id);
        ALTER TABLE contacts ATTACH PARTITION contacts_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        UPDATE crm_sync.adopted SET contacts = 'contacts';
    """)
    await watch(app, "email")
    await watch(app, "first_name")
    await app.execute("CREATE TABLE contacts_2 PARTITION OF contacts FOR VALUES WITH (MODULUS 2, REMAINDER 1)")
    await app.execute(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) "
        "SELECT n || '@example.com', 'Ada', 'Complete' FROM generate_series(1, 20) AS n"
    )
    await app.execute("UPDATE contacts SET first_name = 'Eve'")
    assert await app.fetch("SELECT tableoid::regclass::text FROM contacts WHERE brevo_sync_status <> 'Queued'") == []
    assert await app.fetchval("SELECT count(DISTINCT tableoid) FROM contacts") == 2
    assert await app.fetchval("SELECT crm_sync.unwatch('brevo')")
    assert await app.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%_watch'") == 0
