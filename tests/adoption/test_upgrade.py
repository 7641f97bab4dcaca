"""A table that an older version has adopted, with an index in place of the line, is taken over while it is in use."""

import asyncio

import asyncpg
import psycopg
import pytest

from crm_sync.adoption.adopt import adopt as run_adoption
from crm_sync.adoption.adopt import plan
from crm_sync.adoption.table import AdoptionRequest
from crm_sync.errors import ConfigurationError
from crm_sync.postgres import locks
from tests.adoption.older import LINE, adopt_before
from tests.adoption.steps import adopt, adopt_only, complete, delivering, undo, until
from tests.adoption.test_partitions import HASH
from tests.photograph import take
from tests.steps import insert, write

DUE_INDEXES = "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%\\_due\\_at)%' AND schemaname <> 'crm_sync'"
NOTES = "SELECT kind, name, crm FROM crm_sync.added ORDER BY kind, name"
ATTEMPTED = "UPDATE contacts SET brevo_processing_error = 'TIMEOUT: slow', brevo_due_at = now() + interval '1 hour' WHERE id = $1"
REGISTER = "INSERT INTO crm_sync.workers (host, pid, version) VALUES ('a-host', 4711, '0') RETURNING id"


async def older(url, **request):
    await asyncio.to_thread(adopt_before, url, LINE, AdoptionRequest(**request) if request else None)


@pytest.mark.slow
async def test_taken_over_it_looks_as_if_this_version_had_adopted_it(server, owner, empty_url):
    name = empty_url.rpartition("/")[2]
    await adopt_only(empty_url)
    wanted, notes = take(server, name), await owner.fetch(NOTES)
    await undo(empty_url)
    await older(empty_url)
    assert await owner.fetchval(DUE_INDEXES) == 4
    await owner.execute("SELECT crm_sync.watch('brevo', '{first_name}')")
    await adopt_only(empty_url)
    await owner.execute("SELECT crm_sync.unwatch('brevo')")
    assert take(server, name) == wanted
    assert await owner.fetch(NOTES) == notes
    assert await adopt_only(empty_url) == []


@pytest.mark.slow
async def test_who_was_in_line_waiting_or_in_flight_is_so_afterwards(owner, empty_url):
    await older(empty_url)
    in_line = await insert(owner, "Queued")
    waiting = await insert(owner, "Queued", "bob@example.com")
    await owner.execute("SET session_replication_role = replica")
    await owner.execute(ATTEMPTED, waiting)
    await owner.execute("RESET session_replication_role")
    in_flight = await insert(owner, "Queued", "eve@example.com")
    dead = await owner.fetchval(REGISTER)
    await write(owner, in_flight, sync_status="Processing", processing_status="Processing", attempts=1, claimed_by=dead << 32 | 1)
    before = await owner.fetch("SELECT * FROM contacts ORDER BY id")
    await adopt_only(empty_url)
    assert await owner.fetch("SELECT * FROM contacts ORDER BY id") == before
    rows = await owner.fetch("SELECT key, due_at FROM crm_sync.brevo_line ORDER BY key")
    assert [tuple(row) for row in rows] == [(row["id"], row["brevo_due_at"]) for row in before]
    await adopt(empty_url)  # and lets a worker in
    async with delivering(empty_url) as crm:
        await until(owner, "contacts", "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = 2")
    assert {request[0].id for request in crm.requests} == {in_line, in_flight}


@pytest.mark.slow
async def test_a_flip_that_began_before_and_is_committed_after_it_is_delivered(owner, empty_url):
    await older(empty_url)
    contact = await insert(owner)
    application = await asyncpg.connect(empty_url)
    transaction = application.transaction()
    await transaction.start()
    await write(application, contact, sync_status="Queued")
    upgrade = asyncio.create_task(adopt_only(empty_url))
    # It waits for the table until that ends: with the functions of the first CRM in place.
    while not await owner.fetchval("SELECT EXISTS (SELECT FROM pg_proc WHERE proname = 'hubspot_placed')"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await transaction.commit()
    await application.close()
    await upgrade
    await adopt(empty_url)  # and lets a worker in
    async with delivering(empty_url):
        await until(owner, "contacts", complete())


async def test_an_index_on_the_due_time_that_was_the_application_s_own_stays(owner, empty_url):
    await owner.execute("CREATE TABLE contacts (id int PRIMARY KEY, email text, brevo_due_at timestamptz)")
    await owner.execute("CREATE INDEX mine ON contacts (brevo_due_at) WHERE brevo_due_at IS NOT NULL")
    await older(empty_url)
    await adopt_only(empty_url)
    assert await owner.fetchval("SELECT to_regclass('mine') IS NOT NULL")
    assert await owner.fetchval(DUE_INDEXES) == 1


@pytest.mark.slow
async def test_a_partitioned_table_is_taken_over_and_left_as_it_was(owner, empty_url, photograph):
    await owner.execute(HASH)
    await owner.execute("INSERT INTO people (id, email) SELECT n, n || '@example.com' FROM generate_series(1, 30) AS n")
    before = photograph()
    await older(empty_url, table="people")
    await owner.execute("UPDATE people SET brevo_sync_status = 'Queued' WHERE id <= 20")
    await adopt_only(empty_url, "people")
    assert await owner.fetchval(DUE_INDEXES) == 0
    assert await owner.fetchval("SELECT count(*) FROM crm_sync.brevo_line") == 20
    assert await adopt_only(empty_url, "people") == []
    await undo(empty_url)
    assert photograph() == before


def planned(url):
    return asyncio.to_thread(plan, url, AdoptionRequest())


@pytest.mark.parametrize("wanted", [adopt_only, planned])
async def test_it_is_refused_while_an_older_worker_lives_and_says_which(owner, empty_url, photograph, wanted):
    await older(empty_url)
    number = await owner.fetchval(REGISTER)
    await owner.execute("SELECT pg_advisory_lock($1, $2)", locks.WORKER, number)
    before = photograph()
    with pytest.raises(ConfigurationError, match=r"a-host \(pid 4711\)\. Stop them first"):
        await wanted(empty_url)
    assert photograph() == before
    await owner.execute("SELECT pg_advisory_unlock($1, $2)", locks.WORKER, number)
    await adopt_only(empty_url)


async def test_one_that_starts_while_it_runs_is_named(owner, empty_url):
    """It had read the schema before, and registers when everything is changed."""
    await older(empty_url)
    told = []

    def begin_a_worker(line):
        told.append(line)
        if line.startswith("applied") and not sessions:
            sessions.append(session := psycopg.connect(empty_url, autocommit=True))
            [number] = session.execute(REGISTER).fetchone()
            session.execute("SELECT pg_advisory_lock(%s, %s)", (locks.WORKER, number))

    sessions = []
    try:
        await asyncio.to_thread(run_adoption, empty_url, AdoptionRequest(), begin_a_worker)
    finally:
        for session in sessions:
            session.close()
    assert "These workers started meanwhile: a-host (pid 4711). Restart them" in told[-1]
    assert [line for line in told if "meanwhile" in line] == told[-1:]


async def test_an_older_version_is_undone_by_this_one(owner, empty_url, photograph):
    before = photograph()
    await older(empty_url)
    await undo(empty_url)
    assert photograph() == before
