"""The room that adoption leaves in each page: a second delivery of all its contacts stays in it, whatever the length of a row."""

import asyncpg
import pytest

from crm_sync.core.outcome import Finish, Kind
from tests.adoption.older import LINE, adopt_before
from tests.adoption.steps import adopt, adopt_only
from tests.steps import Worker, open_worker

TABLE = """
    CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text, first_name text, note text)
    WITH (autovacuum_enabled = off)
"""
INSERT = """
    INSERT INTO people (email, first_name, note)
    SELECT 'person.' || n || '@example.com', 'Ada', repeat('x', $1) FROM generate_series(1, 600) AS n
"""
FILLFACTOR = (
    "SELECT coalesce(max(o), 'none') FROM pg_class, unnest(reloptions) AS o WHERE oid = $1::regclass AND o LIKE 'fillfactor=%'"
)
PAGES = "SELECT id, (ctid::text::point)[0] AS page FROM people ORDER BY id"
TRIES = 4
FLIP = "UPDATE people SET brevo_sync_status = 'Queued'"


async def deliver(owner: asyncpg.Connection, worker: Worker) -> None:
    """All contacts, 300 in each transaction."""
    await owner.execute(FLIP)
    while claimed := await worker.claim(300):
        await worker.contacts.finish(
            [Finish(one.id, one.token, Kind.DELIVERED, None, f"crm-{one.email}", sent=True) for one in claimed]
        )


@pytest.mark.parametrize(
    ("length", "is_known"),
    [(0, True), (40, True), (250, True), (900, True), (1_500, True), (60, False), (250, False), (900, False)],
)
async def test_a_second_delivery_of_everybody_moves_no_row(owner, empty_url, length, is_known):
    """is_known: by statistics. Tried again, because a snapshot of autovacuum in the catalogue may keep dead rows meanwhile."""
    await owner.execute(TABLE)
    if is_known:
        await owner.execute(INSERT, length)
        await owner.execute("ANALYZE people")
    await adopt(empty_url, "people", key="id")
    async with open_worker(empty_url, 1) as worker:
        moved = [await moved_by_a_second_delivery(owner, worker, length)]
        while moved[-1] and len(moved) < TRIES:
            moved.append(await moved_by_a_second_delivery(owner, worker, length))
    assert moved[-1] == 0, f"of 600 rows these were moved: {moved}"


async def moved_by_a_second_delivery(owner: asyncpg.Connection, worker: Worker, length: int) -> int:
    """How many rows, of a table that is full anew."""
    await owner.execute("TRUNCATE people RESTART IDENTITY")
    await owner.execute(INSERT, length)
    await deliver(owner, worker)
    before = await owner.fetch(PAGES)
    await deliver(owner, worker)
    after = await owner.fetch(PAGES)
    return sum(here != there for here, there in zip(after, before, strict=True))


@pytest.mark.parametrize(("length", "wanted"), [(0, 30), (250, 42), (900, 46), (1_800, 48)])
async def test_the_longer_a_row_the_less_room_for_what_a_delivery_adds(owner, empty_url, length, wanted):
    await owner.execute(TABLE)
    await owner.execute(INSERT, length)
    await owner.execute("ANALYZE people")
    await adopt_only(empty_url, "people", key="id")
    assert await owner.fetchval(FILLFACTOR, "people") == f"fillfactor={wanted}"


@pytest.mark.parametrize("before", [LINE, "0025.room-in-pages"])
async def test_what_an_older_version_left_becomes_more(owner, empty_url, before):
    adopt_before(empty_url, before)
    assert await owner.fetchval(FILLFACTOR, "contacts") in {"fillfactor=80", "fillfactor=50"}
    await adopt_only(empty_url)
    assert await owner.fetchval(FILLFACTOR, "contacts") == "fillfactor=35"
    assert await adopt_only(empty_url) == []


async def test_somebody_s_own_choice_is_kept(owner, empty_url):
    await owner.execute("CREATE TABLE people (id bigint PRIMARY KEY, email text) WITH (fillfactor = 50)")
    await adopt_only(empty_url, "people", key="id")
    assert await owner.fetchval(FILLFACTOR, "people") == "fillfactor=50"
