"""Tables and columns that are renamed after their adoption."""

import pytest

from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.table.schema import read_schema
from tests.adoption.steps import adopt, adopt_only, complete, delivering, undo, until
from tests.adoption.test_partitions import LIST
from tests.harness import ScriptedCrm, running

PLAIN = "CREATE TABLE people (id int PRIMARY KEY, email text, first_name text, region text)"


@pytest.mark.parametrize("setup", [PLAIN, LIST], ids=["plain", "partitioned"])
async def test_a_table_that_is_renamed_and_moved_is_still_the_one(owner, empty_url, photograph, setup):
    await owner.execute(setup)
    await adopt(empty_url, "people", key="id")
    await owner.execute("SELECT crm_sync.set_on_delete('brevo', 'delete')")
    await owner.execute("CREATE SCHEMA crm; ALTER TABLE people SET SCHEMA crm; ALTER TABLE crm.people RENAME TO humans")
    assert await adopt_only(empty_url) == []
    # The name of its schema is another one, to which the worker needs the way.
    await adopt(empty_url)
    async with delivering(empty_url, contacts_table="crm.humans"):
        await owner.execute(
            "INSERT INTO crm.humans (id, email, region, brevo_sync_status) VALUES (1, 'a@example.com', 'eu', 'Queued')"
        )
        await until(owner, "crm.humans", complete())
    await owner.execute("UPDATE crm.humans SET region = 'us'")
    assert await owner.fetchval("SELECT count(*) FROM crm_sync.tombstones") == 0
    await owner.execute("DELETE FROM crm.humans")
    assert await owner.fetchval("SELECT count(*) FROM crm_sync.tombstones") == 1
    await undo(empty_url)
    assert "crm_sync" not in photograph()


async def test_a_worker_whose_table_is_renamed_under_it_finds_it_again(owner, empty_url):
    await owner.execute(PLAIN)
    await adopt(empty_url, "people")
    crm = ScriptedCrm()
    async with running(empty_url, crm):
        await owner.execute("INSERT INTO people (id, email, brevo_sync_status) VALUES (1, 'a@example.com', 'Queued')")
        await crm.reached(1)
        await until(owner, "people", complete())
        await owner.execute("ALTER TABLE people RENAME TO humans; UPDATE humans SET brevo_sync_status = 'Queued'")
        await until(owner, "humans", complete())


@pytest.mark.parametrize("setup", [PLAIN, LIST], ids=["plain", "partitioned"])
async def test_a_renamed_key_and_a_renamed_address_are_named_and_then_adopted_again(owner, empty_url, setup):
    await owner.execute(setup)
    await adopt(empty_url, "people", key="id")
    await owner.execute("SELECT crm_sync.set_on_delete('brevo', 'delete')")
    await owner.execute("ALTER TABLE people RENAME id TO uid; ALTER TABLE people RENAME email TO mail")
    async with Database(empty_url, size=1) as database:
        with pytest.raises(ConfigurationError, match=r"no longer has a column id\. If it was renamed: run `crm-sync adopt`"):
            await read_schema(database)
    # Flips go on meanwhile.
    await owner.execute("INSERT INTO people (uid, mail, region, brevo_sync_status) VALUES (1, 'a@example.com', 'eu', 'Queued')")
    with pytest.raises(ConfigurationError, match="name the one with the address in CONTACTS_EMAIL"):
        await adopt(empty_url, "people", key="uid")
    await adopt(empty_url, "people", key="uid", email="mail")
    async with delivering(empty_url) as crm:
        await until(owner, "people", complete())
        await owner.execute("UPDATE people SET region = 'us', brevo_sync_status = 'Queued'")
        await crm.reached(2)
        await until(owner, "people", complete())
    assert crm.store[1]["email"] == "a@example.com"
    await owner.execute("DELETE FROM people")
    assert [tuple(row) for row in await owner.fetch("SELECT contact_id, email FROM crm_sync.tombstones")] == [
        ("1", "a@example.com")
    ]
