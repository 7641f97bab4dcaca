"""Partitioned tables: every row is reached, whichever partition it is in or moves to."""

import pytest

from crm_sync.adoption.steps import Runner
from crm_sync.core.outcome import Kind
from crm_sync.errors import DatabaseTroubleError
from tests.adoption.steps import adopt, adopt_only, complete, delivering, undo, until
from tests.steps import open_worker

HASH = """
    CREATE TABLE people (id bigint PRIMARY KEY, email text, first_name text) PARTITION BY HASH (id);
    CREATE TABLE people_0 PARTITION OF people FOR VALUES WITH (MODULUS 3, REMAINDER 0);
    CREATE TABLE people_1 PARTITION OF people FOR VALUES WITH (MODULUS 3, REMAINDER 1);
    CREATE TABLE people_2 PARTITION OF people FOR VALUES WITH (MODULUS 3, REMAINDER 2)
"""
LIST = """
    CREATE TABLE people (id bigint NOT NULL, email text, first_name text, region text NOT NULL, PRIMARY KEY (id, region))
        PARTITION BY LIST (region);
    CREATE TABLE people_eu PARTITION OF people FOR VALUES IN ('eu');
    CREATE TABLE people_us PARTITION OF people FOR VALUES IN ('us');
    CREATE SCHEMA elsewhere;
    CREATE TABLE elsewhere.people_eu PARTITION OF people DEFAULT
"""
RANGE = """
    CREATE TABLE people (
        id uuid NOT NULL DEFAULT gen_random_uuid(), email text, created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (id, created_at)
    ) PARTITION BY RANGE (created_at);
    CREATE TABLE people_old PARTITION OF people FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
    CREATE TABLE people_new PARTITION OF people FOR VALUES FROM ('2026-01-01') TO (MAXVALUE)
"""
DEEP = """
    CREATE TABLE people (id int NOT NULL, email text, region text NOT NULL, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE people_us PARTITION OF people FOR VALUES IN ('us');
    CREATE TABLE people_eu PARTITION OF people FOR VALUES IN ('eu') PARTITION BY HASH (id);
    CREATE TABLE people_eu_0 PARTITION OF people_eu FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE people_eu_1 PARTITION OF people_eu FOR VALUES WITH (MODULUS 2, REMAINDER 1)
"""
ADDRESS = "n || '@example.com'"
TABLES = {
    "by hash": (HASH, f"(id, email) SELECT n, {ADDRESS}"),
    "by list, one of them in another schema": (
        LIST,
        f"(id, email, region) SELECT n, {ADDRESS}, (ARRAY['eu','us','ap'])[1 + n % 3]",
    ),
    "by range of time": (RANGE, f"(email, created_at) SELECT {ADDRESS}, '2025-12-01'::timestamptz + make_interval(days => n)"),
    "two levels deep": (DEEP, f"(id, email, region) SELECT n, {ADDRESS}, (ARRAY['eu','us'])[1 + n % 2]"),
}
OURS = (
    "SELECT count(*) FROM pg_indexes WHERE schemaname || '.' || tablename = $1 AND indexdef ~ '(brevo|hubspot|mautic|n8n|retry)_'"
)


@pytest.mark.parametrize(("setup", "rows"), TABLES.values(), ids=TABLES)
@pytest.mark.slow
async def test_all_of_its_rows_are_delivered_and_it_is_left_as_it_was(owner, empty_url, photograph, setup, rows):
    await owner.execute(setup)
    await owner.execute(f"INSERT INTO people {rows} FROM generate_series(1, 60) AS n")
    before = photograph()
    await adopt(empty_url, "people", key="id")
    async with delivering(empty_url) as crm:
        await owner.execute("UPDATE people SET brevo_sync_status = 'Queued'")
        await until(owner, "people", complete())
    assert sorted(one["email"] for one in crm.store.values()) == sorted(f"{n}@example.com" for n in range(1, 61))
    assert len(crm.requests) == 60, "each once"
    await undo(empty_url)
    assert photograph() == before


@pytest.mark.parametrize(("setup", "rows"), TABLES.values(), ids=TABLES)
async def test_each_partition_has_every_index_and_all_hang_together(owner, empty_url, setup, rows):
    await owner.execute(setup)
    await adopt_only(empty_url, "people", key="id")
    assert await owner.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    for leaf in await owner.fetch("SELECT crm_sync.full_name(relation) AS name FROM crm_sync.parts() WHERE is_leaf"):
        assert await owner.fetchval(OURS, leaf["name"]) == 9
    loose = (
        "SELECT count(*) FROM pg_index AS i JOIN crm_sync.parts() AS p ON i.indrelid = p.relation WHERE p.level > 0 "
        "AND NOT EXISTS (SELECT FROM pg_inherits AS h WHERE h.inhrelid = i.indexrelid)"
    )
    assert await owner.fetchval(loose) == 0
    assert await adopt_only(empty_url) == []


async def test_a_partition_that_is_added_later_has_columns_triggers_and_indexes(owner, empty_url):
    await owner.execute(RANGE.replace("TO (MAXVALUE)", "TO ('2027-01-01')"))
    await adopt(empty_url, "people", key="id")
    await owner.execute("CREATE TABLE people_next PARTITION OF people FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')")
    assert await owner.fetchval(OURS, "public.people_next") == 9
    async with delivering(empty_url) as crm:
        await owner.execute(
            "INSERT INTO people (email, created_at, brevo_sync_status) VALUES ('ada@example.com', '2027-06-01', 'Queued')"
        )
        await until(owner, "people", complete())
    assert len(crm.requests) == 1
    # All that is left for adopt to add is free space in the pages.
    assert await adopt_only(empty_url) == ["ALTER TABLE public.people_next SET (fillfactor = 35)"]


async def test_an_adoption_that_was_broken_off_at_an_index_of_one_partition_is_gone_on_with(owner, empty_url, monkeypatch):
    """The index exists, recorded, invalid, and attached to nothing; for two CRMs nothing exists yet."""
    await owner.execute(HASH)
    await owner.execute(f"INSERT INTO people (id, email) SELECT n, {ADDRESS} FROM generate_series(1, 300) AS n")
    run = Runner.run

    def run_until_killed(runner, step):
        run(runner, step)
        if step.statement.startswith("CREATE INDEX CONCURRENTLY idx_people_1_brevo_contact_id"):
            raise DatabaseTroubleError("killed")

    monkeypatch.setattr(Runner, "run", run_until_killed)
    with pytest.raises(DatabaseTroubleError, match="killed"):
        await adopt_only(empty_url, "people")
    monkeypatch.undo()
    await owner.execute("UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'idx_people_1_brevo_contact_id'::regclass")
    done = await adopt_only(empty_url, "people")
    assert "DROP INDEX CONCURRENTLY public.idx_people_1_brevo_contact_id" in done
    assert await owner.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    for number in range(3):
        assert await owner.fetchval(OURS, f"public.people_{number}") == 9


async def at_one_place(owner, url, *queued):
    """Three rows, each the first of its partition, and so all with the same ctid."""
    await owner.execute(LIST)
    await adopt(url, "people", key="id")
    row = "INSERT INTO people (id, email, region, brevo_sync_status) VALUES ($1, 'ada@example.com', $2, $3)"
    for number, region in enumerate(("eu", "us", "ap"), 1):
        await owner.execute(row, number, region, "Queued" if number in queued else "New")
    assert await owner.fetchval("SELECT count(DISTINCT ctid) FROM people") == 1


async def claims(owner):
    return {
        row["id"]: row["brevo_claimed_by"] is not None for row in await owner.fetch("SELECT id, brevo_claimed_by FROM people")
    }


async def test_a_claim_takes_the_row_that_is_due_and_none_at_the_same_place_in_another_partition(owner, empty_url):
    await at_one_place(owner, empty_url, 2)
    async with open_worker(empty_url, 1) as worker:
        assert [one.id for one in await worker.claim()] == [2]
        assert await claims(owner) == {1: False, 2: True, 3: False}


async def test_a_finish_writes_to_its_row_and_to_none_at_the_same_place_in_another_partition(owner, empty_url):
    await at_one_place(owner, empty_url, 1, 2, 3)
    async with open_worker(empty_url, 1) as worker:
        contacts = {one.id: one for one in await worker.claim()}
        assert await worker.finish(contacts[1], Kind.DELIVERED, remote_id="100")
    rows = await owner.fetch("SELECT id, brevo_sync_status, brevo_contact_id FROM people ORDER BY id")
    assert [tuple(row) for row in rows] == [(1, "Complete", "100"), (2, "Processing", None), (3, "Processing", None)]


async def test_a_stray_is_lined_up_and_none_at_the_same_place_in_another_partition(owner, empty_url):
    await at_one_place(owner, empty_url)
    await owner.execute("SET session_replication_role = replica")
    await owner.execute("UPDATE people SET brevo_sync_status = 'Queued' WHERE id = 3")
    await owner.execute("UPDATE people SET brevo_processing_error = 'mine' WHERE id = 1")
    await owner.execute("VACUUM FULL people")
    assert await owner.fetchval("SELECT count(DISTINCT ctid) FROM people") == 1
    async with open_worker(empty_url, 1) as worker:
        assert await worker.strays.line_up(0, await worker.strays.pages()) == (1, 0)
    rows = await owner.fetch("SELECT id, brevo_processing_error, brevo_due_at IS NOT NULL FROM people ORDER BY id")
    assert [tuple(row) for row in rows] == [(1, "mine", False), (2, None, False), (3, None, True)]


async def test_a_row_moves_with_its_place_though_its_key_is_of_a_type_that_refuses_null(owner, empty_url):
    await owner.execute(f"CREATE DOMAIN reference AS bigint NOT NULL; {LIST.replace('id bigint NOT NULL', 'id reference')}")
    await adopt(empty_url, "people", key="id")
    await owner.execute("INSERT INTO people (id, email, region, brevo_sync_status) VALUES (1, 'ada@example.com', 'eu', 'Queued')")
    await owner.execute("UPDATE people SET region = 'us'")
    async with open_worker(empty_url, 1) as worker:
        assert [one.email for one in await worker.claim()] == ["ada@example.com"]
    assert await owner.fetchval("SELECT count(*) FROM crm_sync.brevo_line") == 1
