"""Each vendor's sandbox, a real worker process, and tables that are nothing like ours."""

import asyncio

import pytest

from crm_sync.sandbox.__main__ import UNLIMITED
from crm_sync.sandbox.comparison import record
from crm_sync.sandbox.process import CRMS, settings
from tests import roles
from tests.adoption.steps import adopt, complete, until
from tests.process import environment, process
from tests.tiers import one_quick, slow

QUOTED = """
    CREATE SCHEMA "The App";
    CREATE TYPE "The App".status AS ENUM ('New', 'Queued', 'Processing', 'Complete', 'Error', 'Skipped', 'Archived');
    CREATE TABLE "The App"."Contact People" (
        "Person Id" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        "E-Mail" varchar(80) NOT NULL,
        first_name text,
        hubspot_sync_status "The App".status DEFAULT 'New',
        hubspot_processing_error varchar(50)
    )
"""
PARTITIONED = """
    CREATE TABLE people (
        uid uuid NOT NULL DEFAULT gen_random_uuid(), "E-Mail" text, first_name text, region text NOT NULL,
        PRIMARY KEY (uid, region)
    ) PARTITION BY LIST (region);
    CREATE TABLE people_eu PARTITION OF people FOR VALUES IN ('eu') PARTITION BY HASH (uid);
    CREATE TABLE people_eu_0 PARTITION OF people_eu FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE people_eu_1 PARTITION OF people_eu FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE people_us PARTITION OF people DEFAULT;
    ALTER TABLE people ENABLE ROW LEVEL SECURITY
"""
TABLES = {
    "quoted": (QUOTED, '"The App"."Contact People"', '"Person Id"', '("E-Mail", first_name)', "'Ada ' || n"),
    "partitioned": (
        PARTITIONED,
        "people",
        "uid",
        '("E-Mail", first_name, region)',
        "'Ada ' || n, (ARRAY['eu', 'us'])[1 + n % 2]",
    ),
}


@slow
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("crm", one_quick(CRMS))
async def test_its_contacts_are_there_changed_and_deleted_with_their_rows(owner, empty_url, crm, table):
    setup, name, key, columns, values = TABLES[table]
    await owner.execute(setup)
    await adopt(empty_url, name, key=key.strip('"'), email="E-Mail", crms=(crm,))
    await owner.execute("SELECT crm_sync.set_on_delete($1, 'delete')", crm)
    await asyncio.to_thread(roles.let_in, empty_url)
    async with UNLIMITED[crm](0) as sandbox:

        def there():
            shown = sandbox.table("contacts")
            as_json = [one if isinstance(one, dict) else {slot: getattr(one, slot) for slot in one.__slots__} for one in shown]
            return {one.email: one for one in (record(crm, each) for each in as_json)}

        await owner.execute(f"INSERT INTO {name} {columns} SELECT n || '@example.com', {values} FROM generate_series(1, 6) AS n")
        env = environment(empty_url, CONTACTS_TABLE=name) | settings(crm, sandbox.url)
        async with process(env):
            await owner.execute(f"UPDATE {name} SET {crm}_sync_status = 'Queued'")
            await until(owner, name, complete(crm))
            assert {one.email: one.first_name for one in there().values()} == {
                f"{n}@example.com": f"Ada {n}" for n in range(1, 7)
            }
            remote_id = await owner.fetchval("SELECT remote_id_column FROM crm_sync.lanes")
            ids = {row[0]: row[1] for row in await owner.fetch(f'SELECT "E-Mail", {remote_id} FROM {name}')}
            assert ids == {email: one.id for email, one in there().items()}

            await owner.execute(
                f"UPDATE {name} SET \"E-Mail\" = 'new@example.com', {crm}_sync_status = 'Queued' WHERE \"E-Mail\" LIKE '3@%'"
            )
            await until(owner, name, complete(crm))
            await owner.execute(f"DELETE FROM {name} WHERE \"E-Mail\" LIKE '4@%'")
            await until(owner, "crm_sync.tombstones", "count(*) = 0")
        assert "4@example.com" not in there()
        assert "new@example.com" in there()
        if crm != "n8n":  # where each call is a run, and nobody knows what becomes of it
            assert len(there()) == 5
