"""A row that moves from one partition to another, a deletion and an insertion by one UPDATE, keeps its state."""

import asyncio
import random
from contextlib import suppress

import asyncpg
import pytest

from crm_sync.core.outcome import Kind
from tests.adoption.steps import adopt, complete, delivering, until
from tests.adoption.test_partitions import HASH, LIST
from tests.harness import running
from tests.steps import open_worker

MOVE = "UPDATE people SET region = 'us' WHERE id = 1"


@pytest.fixture
async def person(owner, empty_url):
    """The only row, in the partition for Europe."""
    await owner.execute(LIST)
    await adopt(empty_url, "people", key="id")
    await owner.execute("INSERT INTO people (id, email, region) VALUES (1, 'ada@example.com', 'eu')")
    return 1


async def row(owner):
    return dict(await owner.fetchrow("SELECT tableoid::regclass::text AS place, * FROM people"))


def ours(row):
    return {name: value for name, value in row.items() if name.startswith("brevo_")}


@pytest.mark.usefixtures("person")
async def test_in_line_it_keeps_its_place_its_attempts_and_its_wait(owner, empty_url):
    await owner.execute("UPDATE people SET brevo_sync_status = 'Queued'")
    async with open_worker(empty_url, 1) as worker:
        (contact,) = await worker.claim()
        await worker.finish(contact, Kind.RETRY, error="TIMEOUT: too slow", delay_s=3600)
    before = await row(owner)
    assert (before["place"], before["brevo_attempts"], before["brevo_processing_error"]) == ("people_eu", 1, "TIMEOUT: too slow")
    await owner.execute(MOVE)
    after = await row(owner)
    assert after["place"] == "people_us"
    assert ours(after) == ours(before)


@pytest.mark.usefixtures("person")
async def test_in_flight_it_stays_in_flight_and_is_sent_once(owner, empty_url):
    async with delivering(empty_url) as crm:
        crm.gate.clear()
        await owner.execute("UPDATE people SET brevo_sync_status = 'Queued'")
        await crm.reached(1)
        before = await row(owner)
        await owner.execute(MOVE)
        after = await row(owner)
        assert (before["place"], after["place"]) == ("people_eu", "people_us")
        assert ours(after) == ours(before)
        crm.gate.set()
        await until(owner, "people", complete())
    assert len(crm.requests) == 1
    assert crm.twice_in_flight == []


@pytest.mark.usefixtures("person")
async def test_flipped_by_the_very_update_that_moves_it_in_flight_it_is_sent_after_it(owner, empty_url):
    async with delivering(empty_url) as crm:
        crm.gate.clear()
        await owner.execute("UPDATE people SET brevo_sync_status = 'Queued'")
        await crm.reached(1)
        await owner.execute("UPDATE people SET region = 'us', email = 'new@example.com', brevo_sync_status = 'Queued'")
        now = await row(owner)
        assert (now["brevo_sync_status"], now["brevo_processing_status"]) == ("Queued", "Processing")
        crm.gate.set()
        await crm.reached(2)
        await until(owner, "people", complete())
    assert crm.store[1]["email"] == "new@example.com"
    assert crm.twice_in_flight == []


@pytest.mark.parametrize("word", ["Skipped", "Queued"])
@pytest.mark.usefixtures("person")
async def test_what_the_update_that_moves_it_says_is_done(owner, empty_url, word):
    async with delivering(empty_url) as crm:
        await owner.execute("UPDATE people SET region = 'us', brevo_sync_status = $1", word)
        if word == "Queued":
            await until(owner, "people", complete())
            assert len(crm.requests) == 1
    now = await row(owner)
    assert (now["place"], now["brevo_due_at"]) == ("people_us", None)


@pytest.mark.usefixtures("person")
async def test_withdrawn_by_the_update_that_moves_it_it_is_not_sent(owner, empty_url):
    await owner.execute("UPDATE people SET brevo_sync_status = 'Queued'")
    await owner.execute("UPDATE people SET region = 'us', brevo_sync_status = 'Skipped'")
    now = await row(owner)
    assert (now["brevo_sync_status"], now["brevo_processing_status"], now["brevo_due_at"]) == ("Skipped", None, None)


async def test_many_that_move_in_one_statement_all_stay_in_flight(owner, empty_url):
    await owner.execute(LIST)
    await adopt(empty_url, "people", key="id")
    await owner.execute("INSERT INTO people SELECT n, n || '@example.com', NULL, 'eu', 0 FROM generate_series(1, 50) AS n")
    await owner.execute("UPDATE people SET brevo_sync_status = 'Queued' WHERE id <= 40")
    async with open_worker(empty_url, 1) as worker:
        claimed = await worker.claim(20)
        before = await owner.fetch("SELECT id, brevo_claimed_by, brevo_due_at FROM people ORDER BY id")
        await owner.execute("UPDATE people SET region = CASE WHEN id % 2 = 0 THEN 'us' ELSE 'ap' END")
        assert await owner.fetchval("SELECT count(*) FROM people WHERE region = 'eu'") == 0
        assert await owner.fetch("SELECT id, brevo_claimed_by, brevo_due_at FROM people ORDER BY id") == before
        assert [await worker.finish(one, Kind.DELIVERED, remote_id="1") for one in claimed] == [True] * 20


async def test_a_copy_of_a_row_in_flight_is_not_in_flight_also_after_another_has_moved(owner, empty_url):
    await owner.execute(LIST)
    await adopt(empty_url, "people", key="id")
    await owner.execute("INSERT INTO people (id, email, region) VALUES (1, 'a@example.com', 'eu'), (2, 'b@example.com', 'eu')")
    await owner.execute("UPDATE people SET brevo_sync_status = 'Queued'")
    async with open_worker(empty_url, 1) as worker:
        await worker.claim()
        columns = "email, region, brevo_sync_status, brevo_claimed_by, brevo_due_at"
        async with owner.transaction():
            await owner.execute(MOVE)
            await owner.execute(f"INSERT INTO people (id, {columns}) SELECT 3, {columns} FROM people WHERE id = 1")
        claimed = {
            r["id"]: r["brevo_claimed_by"] is not None for r in await owner.fetch("SELECT id, brevo_claimed_by FROM people")
        }
        assert claimed == {1: True, 2: True, 3: False}
        assert [one.id for one in await worker.claim()] == [3]


async def test_a_row_whose_key_changes_with_its_partition_is_another_contact(owner, empty_url):
    await owner.execute(HASH)
    await adopt(empty_url, "people")
    await owner.execute("INSERT INTO people (id, email, brevo_sync_status) VALUES (1, 'ada@example.com', 'Queued')")
    async with open_worker(empty_url, 1) as worker:
        await worker.claim()
        first = await owner.fetchval("SELECT tableoid FROM people")
        for other in range(2, 50):
            await owner.execute("UPDATE people SET id = $1", other)
            if await owner.fetchval("SELECT tableoid FROM people") != first:
                break
        assert await owner.fetchval("SELECT brevo_claimed_by IS NULL AND brevo_sync_status = 'Queued' FROM people")


@pytest.mark.parametrize("policy", ["delete", "erase"])
@pytest.mark.usefixtures("person")
async def test_complete_it_leaves_no_tombstone_and_deleted_it_leaves_one(owner, empty_url, policy):
    await owner.execute("SELECT crm_sync.set_on_delete('brevo', $1)", policy)
    async with delivering(empty_url):
        await owner.execute("UPDATE people SET brevo_sync_status = 'Queued'")
        await until(owner, "people", complete())
    await owner.execute(MOVE)
    assert (await row(owner))["place"] == "people_us"
    assert await owner.fetchval("SELECT count(*) FROM crm_sync.tombstones") == 0
    await owner.execute("DELETE FROM people")
    assert [tuple(r) for r in await owner.fetch("SELECT contact_id, policy FROM crm_sync.tombstones")] == [("1", policy)]


@pytest.mark.usefixtures("person")
async def test_where_the_owner_may_not_see_all_rows_deletions_are_refused_rather_than_guessed(owner, empty_url):
    """A row that has moved would look like a deleted one, and its record would be deleted."""
    name = f"somebody_{empty_url.rpartition('_')[2]}"
    await owner.execute(f"CREATE ROLE {name}; ALTER TABLE people OWNER TO {name}; GRANT ALL ON SCHEMA crm_sync TO {name}")
    await owner.execute(
        f"GRANT ALL ON ALL TABLES IN SCHEMA crm_sync TO {name}; GRANT ALL ON ALL FUNCTIONS IN SCHEMA crm_sync TO {name}"
    )
    await owner.execute("ALTER TABLE people ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    try:
        async with owner.transaction():
            await owner.execute(f"SET LOCAL ROLE {name}")
            with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="NO FORCE ROW LEVEL SECURITY"):
                async with owner.transaction():
                    await owner.execute("SELECT crm_sync.set_on_delete('brevo', 'delete')")
    finally:
        await owner.execute(f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}; DROP ROLE {name}")


async def test_other_tables_have_no_trigger_for_it_and_pay_nothing(owner, empty_url):
    await owner.execute("CREATE TABLE t (id int PRIMARY KEY, email text)")
    await adopt(empty_url, "t")
    assert await owner.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%moved'") == 0
    assert await owner.fetchval("SELECT count(*) FROM pg_proc WHERE proname LIKE '%moved'") == 0
    assert "moved" not in await owner.fetchval("SELECT prosrc FROM pg_proc WHERE proname = 'brevo_flip'")


@pytest.mark.slow
async def test_rows_that_move_all_the_time_under_two_workers_are_never_in_flight_twice_and_end_as_they_were_last(
    owner, empty_url
):
    """Five sessions move, edit and flip. A worker's statement may meet a row that has just moved away, and is repeated."""
    await owner.execute(LIST)
    await adopt(empty_url, "people", key="id")
    await owner.execute("INSERT INTO people SELECT n, n || '@example.com', NULL, 'eu' FROM generate_series(1, 40) AS n")
    changes = (
        "UPDATE people SET region = $2 WHERE id = $1",
        "UPDATE people SET region = $2, brevo_sync_status = 'Queued' WHERE id = $1",
        "UPDATE people SET region = $2, email = email || 'x', brevo_sync_status = 'Queued' WHERE id = $1",
    )

    async def application(seed):
        chance = random.Random(seed)
        session = await asyncpg.connect(empty_url)
        for _ in range(250):
            change = session.execute(chance.choice(changes), chance.randint(1, 40), chance.choice(["eu", "us", "ap"]))
            with suppress(asyncpg.SerializationError):  # another application has moved it under this one
                await change
        await session.close()

    async with delivering(empty_url) as crm, running(empty_url, crm):
        crm.gate.wait = lambda: asyncio.sleep(0.02)  # about the duration of a request
        await asyncio.gather(*map(application, range(5)))
        await owner.execute("UPDATE people SET brevo_sync_status = 'Queued'")
        await until(owner, "people", complete())
        assert crm.twice_in_flight == []
        assert len(crm.requests) > 100
        assert {key: one["email"] for key, one in crm.store.items()} == dict(await owner.fetch("SELECT id, email FROM people"))
