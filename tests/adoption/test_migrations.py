"""Adopt, undo, adopt again; and a table that existed before."""

import asyncio
import re

import asyncpg
import pytest

from crm_sync.adoption import migrations
from crm_sync.adoption.adopt import undo
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.postgres.pool import Database
from crm_sync.sandbox.postgres import Postgres
from crm_sync.table.schema import read_schema
from tests.photograph import PATH, take
from tests.roles import adopt


@pytest.mark.slow
def test_adopted_undone_and_adopted_again_it_looks_like_its_photograph(server, empty_url):
    if not isinstance(server, Postgres) or server.binaries.parent.name != "pginstall18":
        pytest.skip("the photograph is taken with the pg_dump of the embedded PostgreSQL 18")
    name = empty_url.rpartition("/")[2]
    before = take(server, name)
    done = adopt(empty_url)
    assert take(server, name) == PATH.read_text()
    undo(empty_url)
    assert take(server, name) == before
    assert adopt(empty_url) == done
    assert take(server, name) == PATH.read_text()


def test_what_is_missing_is_named(empty_url):
    missing = migrations.pending(empty_url)
    assert missing[0] == "0001.crm-sync-schema"
    assert adopt(empty_url)[: len(missing)] == missing
    assert migrations.pending(empty_url) == []
    assert adopt(empty_url) == []


async def test_a_migration_that_fails_leaves_nothing_behind_and_is_tried_again(empty_url):
    app = await asyncpg.connect(empty_url)
    await app.execute("CREATE SCHEMA crm_sync; CREATE TABLE crm_sync.tombstones ()")  # of the last migration
    with pytest.raises(ConfigurationError, match="tombstones"):
        await asyncio.to_thread(adopt, empty_url)
    assert await app.fetchval("SELECT to_regclass('crm_sync.lanes')") is None
    await app.execute("DROP TABLE crm_sync.tombstones")
    await asyncio.to_thread(adopt, empty_url)
    await app.close()


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
    await asyncio.to_thread(adopt, empty_url)
    await asyncio.to_thread(undo, empty_url)
    assert await app.fetch(columns) == before
    assert await app.fetchval("SELECT count(*) FROM contacts") == 2
    await app.close()


async def test_there_are_nine_indexes_and_none_mentions_a_column_that_a_flip_or_a_claim_changes(app):
    rows = await app.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = 'contacts' AND indexname LIKE 'idx_%'")
    assert len(rows) == 9
    for (definition,) in rows:
        for column in ("sync_status", "processing_status", "attempts", "due_at", "claimed_by", "flipped_at", "synced_at"):
            assert column not in definition


def test_an_unreachable_database_is_said_plainly():
    with pytest.raises(DatabaseTroubleError, match=r"(?i)connection"):
        adopt("postgresql://nobody@127.0.0.1:1/nothing")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("ALTER TABLE contacts DROP COLUMN brevo_due_at CASCADE", "brevo_due_at"),
        ("ALTER TABLE contacts DROP COLUMN retry_count CASCADE", "retry_count"),
        ("ALTER TABLE contacts DROP COLUMN n8n_workflow_id CASCADE", "n8n_workflow_id"),
        ("DROP TRIGGER crm_sync_brevo_update ON contacts", "crm_sync_brevo_update"),
        ("ALTER TABLE contacts DISABLE TRIGGER crm_sync_brevo_insert", "crm_sync_brevo_insert"),
        ("DROP TRIGGER crm_sync_brevo_update_stale ON contacts", "crm_sync_brevo_update_stale"),
        ("DROP TRIGGER crm_sync_brevo_placed ON contacts", "crm_sync_brevo_placed"),
        ("DROP TRIGGER crm_sync_brevo_key ON contacts", "crm_sync_brevo_key"),
        ("DROP TABLE crm_sync.brevo_line", "there is no table crm_sync.brevo_line: run `crm-sync migrate`"),
        ("DROP TYPE crm_processing_status CASCADE", "brevo_processing_status"),
        ("DROP SCHEMA crm_sync CASCADE", "run `crm-sync migrate`"),
        ("DROP TABLE contacts", "the adopted table is gone"),
    ],
)
async def test_what_the_schema_lacks_is_named(app, url, damage, named):
    await app.execute(damage)
    async with Database(url, size=1) as database:
        with pytest.raises(ConfigurationError, match=re.escape(named)):
            await read_schema(database)
