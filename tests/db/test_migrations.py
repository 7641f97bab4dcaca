"""Migrate, roll back, migrate again; and a table that was there before."""

import asyncio
import re

import asyncpg
import pytest

from tests.photograph import PATH, take
from worker import migrations
from worker.database import Database
from worker.errors import ConfigurationError, DatabaseTroubleError
from worker.sandbox.postgres import Postgres
from worker.schema import read_schema


def test_migrated_rolled_back_and_migrated_again_it_looks_like_its_photograph(server, empty_url):
    if not isinstance(server, Postgres) or server.binaries.parent.name != "pginstall18":
        pytest.skip("the photograph is taken with the pg_dump of the embedded PostgreSQL 18")
    name = empty_url.rpartition("/")[2]
    before = take(server, name)
    applied = migrations.migrate(empty_url)
    assert take(server, name) == PATH.read_text()
    assert migrations.rollback(empty_url) == applied[::-1]
    assert take(server, name) == before
    assert migrations.migrate(empty_url) == applied
    assert take(server, name) == PATH.read_text()


def test_what_is_missing_is_named(empty_url):
    missing = migrations.pending(empty_url)
    assert missing[0] == "0001.contacts-table"
    assert migrations.migrate(empty_url) == missing
    assert migrations.pending(empty_url) == []
    assert migrations.migrate(empty_url) == []


async def test_two_migrating_at_once_wait_for_each_other(empty_url):
    all_of_them = len(migrations.pending(empty_url))
    first, second = await asyncio.gather(*(asyncio.to_thread(migrations.migrate, empty_url) for _ in range(2)))
    assert sorted([len(first), len(second)]) == [0, all_of_them]


async def test_a_table_that_was_there_keeps_its_rows_and_columns(empty_url):
    app = await asyncpg.connect(empty_url)
    await app.execute("""
        CREATE TYPE hubspot_sync_status AS ENUM ('New', 'Queued', 'Processing', 'Complete', 'Error', 'Skipped');
        CREATE TYPE hubspot_processing_status AS ENUM ('Queued', 'Processing', 'Complete', 'Error');
        CREATE TABLE contacts (
            id bigint PRIMARY KEY,
            email text,
            hubspot_sync_status hubspot_sync_status DEFAULT 'New',
            hubspot_processing_status hubspot_processing_status,
            hubspot_processing_error text
        );
        INSERT INTO contacts VALUES (1, 'a@example.com', 'Queued'), (2, 'b@example.com', 'Complete');
    """)
    columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'contacts'"
    before = await app.fetch(columns)
    await asyncio.to_thread(migrations.migrate, empty_url)
    waiting = await app.fetch("SELECT id FROM contacts WHERE hubspot_due_at IS NOT NULL")
    assert [row["id"] for row in waiting] == [1], "what was queued before is in line"
    await asyncio.to_thread(migrations.rollback, empty_url)
    assert await app.fetch(columns) == before
    assert await app.fetchval("SELECT count(*) FROM contacts") == 2
    await app.close()


async def test_selected_stands_after_new_and_becomes_new_when_rolled_back(url):
    app = await asyncpg.connect(url)
    order = await app.fetchval("SELECT enum_range(NULL::hubspot_sync_status)::text[]")
    assert order[:3] == ["New", "Selected", "Queued"]
    await app.execute("COMMENT ON TABLE contacts IS NULL")  # as if it were the user's own
    await app.execute("INSERT INTO contacts (email, hubspot_sync_status) VALUES ('a@example.com', 'Selected')")
    await app.close()
    await asyncio.to_thread(migrations.rollback, url)
    app = await asyncpg.connect(url)
    assert await app.fetchval("SELECT hubspot_sync_status::text FROM contacts") == "New"
    await app.close()


async def test_there_are_thirteen_indexes_and_none_mentions_a_column_that_a_claim_changes(app):
    rows = await app.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = 'contacts' AND indexname LIKE 'idx_%'")
    assert len(rows) == 13
    for (definition,) in rows:
        for column in ("sync_status", "processing_status", "attempts", "claimed_by"):
            assert column not in definition


def test_an_unreachable_database_is_said_plainly():
    with pytest.raises(DatabaseTroubleError, match=r"(?i)connection"):
        migrations.migrate("postgresql://nobody@127.0.0.1:1/nothing")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("ALTER TABLE contacts DROP COLUMN brevo_due_at CASCADE", "brevo_due_at"),
        ("ALTER TABLE contacts DROP COLUMN retry_count CASCADE", "retry_count"),
        ("ALTER TABLE contacts DROP COLUMN n8n_workflow_id CASCADE", "n8n_workflow_id"),
        ("DROP TRIGGER crm_sync_brevo_update ON contacts", "crm_sync_brevo_update"),
        ("ALTER TABLE contacts DISABLE TRIGGER crm_sync_brevo_insert", "crm_sync_brevo_insert"),
        ("DROP TYPE crm_processing_status CASCADE", "brevo_processing_status"),
        ("DROP SCHEMA crm_sync CASCADE", "crm_sync.lanes"),
        ("DROP TABLE contacts", "no table contacts"),
    ],
)
async def test_what_the_schema_lacks_is_named(app, url, damage, named):
    await app.execute(damage)
    async with Database(url, size=1) as database:
        with pytest.raises(ConfigurationError, match=re.escape(named)):
            await read_schema(database)
