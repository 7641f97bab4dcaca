"""A tool that changes tables by a copy (gh-ost, pg-osc, by hand) has put one in the place of the adopted table."""

import asyncio

import pytest

from crm_sync.adoption import adopt as adoption
from crm_sync.adoption.table import AdoptionRequest
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.table.schema import inspect_schema
from tests.adoption.steps import adopt, adopt_only, complete, delivering, undo, until
from tests.roles import for_all

PEOPLE = "CREATE TABLE people (id int PRIMARY KEY, email text, first_name text)"
PARTS = (
    "CREATE TABLE people (id int PRIMARY KEY, email text, first_name text) PARTITION BY RANGE (id);"
    "CREATE TABLE people_1 PARTITION OF people FOR VALUES FROM (0) TO (1000)"
)
COPY = "CREATE TABLE people_new (LIKE people INCLUDING ALL); INSERT INTO people_new SELECT * FROM people;"
RENAMES = "ALTER TABLE people RENAME TO people_old; ALTER TABLE people_new RENAME TO people;"
MOVES = "CREATE SCHEMA old; ALTER TABLE people SET SCHEMA old; ALTER TABLE people_new RENAME TO people;"
TRIGGERS = (
    "SELECT tgrelid::regclass::text AS home, tgname AS name FROM pg_trigger "
    "WHERE tgname LIKE 'crm\\_sync\\_%' AND tgparentid = 0 ORDER BY 1, 2"
)


async def triggers(owner):
    found = {}
    for row in await owner.fetch(TRIGGERS):
        found.setdefault(row["home"], []).append(row["name"])
    return found


async def asked(url, **request):
    return await asyncio.to_thread(adoption.plan, url, for_all(AdoptionRequest(**request)))


@pytest.mark.parametrize("setup", [PEOPLE, PARTS], ids=["plain", "partitioned"])
@pytest.mark.parametrize("swap", [RENAMES, MOVES], ids=["by renaming", "by another schema"])
async def test_adopted_again_it_has_all_that_the_former_had(owner, empty_url, setup, swap):
    await owner.execute(setup)
    await adopt(empty_url, "people", crms=("brevo", "n8n"))
    await owner.execute("SELECT crm_sync.watch('brevo', '{first_name,email}'), crm_sync.set_on_delete('n8n', 'delete')")
    before = (await triggers(owner))["people"]
    await owner.execute("INSERT INTO people (id, email, brevo_sync_status) VALUES (1, 'a@example.com', 'Queued')")
    await owner.execute(COPY + swap)
    plan = await asked(empty_url)
    former = "old.people" if swap == MOVES else "public.people_old"
    assert any(f"which is called {former} now. crm-sync switches to it" in note for note in plan.notes), plan.notes
    await owner.execute("UPDATE people SET brevo_sync_status = 'Queued', n8n_sync_status = 'Queued'")
    await adopt(empty_url, "people")
    after = [name for name in before if not name.endswith("_moved")]  # the copy has no partitions
    assert await triggers(owner) == {"people": after}
    assert await owner.fetchval(
        "SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_trigger AS g, unnest(g.tgattr::smallint[]) AS k "
        "JOIN pg_attribute AS a ON a.attnum = k WHERE g.tgname = 'crm_sync_brevo_watch' AND a.attrelid = 'people'::regclass"
    ) == ["email", "first_name"]
    async with delivering(empty_url, contacts_table="people"):
        await until(owner, "people", complete())
    assert await adopt_only(empty_url) == []


async def test_undone_afterwards_both_are_free_of_it(owner, empty_url):
    await owner.execute(PEOPLE)
    await adopt(empty_url, "people", crms=("brevo",))
    await owner.execute(COPY + RENAMES)
    await adopt(empty_url)
    await owner.execute("DROP TABLE people_old")
    await undo(empty_url)
    columns = await owner.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'people' ORDER BY ordinal_position"
    )
    assert [row["column_name"] for row in columns] == ["id", "email", "first_name"]


async def test_one_whose_original_is_gone_says_that_what_was_watched_is_forgotten(owner, empty_url):
    await owner.execute(PEOPLE)
    await adopt(empty_url, "people", crms=("brevo",))
    await owner.execute("SELECT crm_sync.watch('brevo', '{email}')")
    await owner.execute(f"{COPY}{RENAMES} DROP TABLE people_old CASCADE")
    plan = await asked(empty_url)
    assert any("people is not the table that was adopted, which is gone now" in note for note in plan.notes)
    assert any("Which columns brevo watched is no longer known: run `crm-sync watch` again" in note for note in plan.notes)
    await adopt(empty_url)
    assert list(await triggers(owner)) == ["people"]


async def test_who_names_the_former_one_stays_with_it(owner, empty_url):
    await owner.execute(PEOPLE)
    await adopt(empty_url, "people", crms=("brevo",))
    await owner.execute(COPY + RENAMES)
    async with Database(empty_url, size=1) as database:
        assert "brevo" in (await inspect_schema(database)).faults
        await adopt(empty_url, "people_old")
        schema = await inspect_schema(database)
    assert list(schema.lanes) == ["brevo"]
    assert schema.table.name == "public.people_old"


async def test_one_without_the_key_or_without_its_index_is_refused(owner, empty_url):
    await owner.execute(PEOPLE)
    await adopt(empty_url, "people", crms=("brevo",))
    await owner.execute("CREATE TABLE people_new AS TABLE people; ALTER TABLE people_new ALTER id SET NOT NULL")
    await owner.execute(RENAMES)
    with pytest.raises(ConfigurationError, match=r"nothing keeps two rows of public\.people from having the same id"):
        await adopt_only(empty_url)
    await owner.execute("ALTER TABLE people RENAME id TO uid")
    with pytest.raises(
        ConfigurationError, match=r"is called public\.people_old now, and has no column id: give it one, or, to keep"
    ):
        await adopt_only(empty_url)
    assert list(await triggers(owner)) == ["people_old"]


async def test_another_table_that_has_its_former_name_by_right_is_none(owner, empty_url):
    await owner.execute(PEOPLE)
    await adopt(empty_url, "people", crms=("brevo",))
    await owner.execute("ALTER TABLE people RENAME TO humans; CREATE TABLE people (id int PRIMARY KEY, email text)")
    assert await adopt_only(empty_url) == []
    async with Database(empty_url, size=1) as database:
        assert (await inspect_schema(database)).table.name == "public.humans"
