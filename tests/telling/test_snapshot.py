"""The snapshot: one worker counts all contacts, rarely, and finishes in between update the numbers."""

from contextlib import asynccontextmanager

import asyncpg
import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.outcome import Outcome
from crm_sync.core.waits import Waits
from crm_sync.postgres import locks
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.telling.snapshot import STATES, count
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until, until_asleep
from tests.roles import WORKER, as_worker

MANY = (
    "INSERT INTO contacts (email, first_name, brevo_sync_status) "
    "SELECT n || '@example.com', 'Ada', $2 FROM generate_series(1, $1::integer) AS n"
)
COUNTER = (
    f"(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {locks.COUNT} AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)
QUICK = Waits(report_s=0.01)


async def snapshot(app: asyncpg.Connection, crm: str = "brevo") -> dict[str, int]:
    rows = await app.fetch("SELECT state, contacts FROM crm_sync.snapshot WHERE crm = $1 AND contacts > 0", crm)
    return {row["state"]: row["contacts"] for row in rows}


async def test_a_pass_tells_every_state_of_every_crm(app, url):
    await app.execute(MANY, 8, "Queued")
    await app.execute(
        "UPDATE contacts SET brevo_sync_status = (ARRAY['New', 'Selected', 'Skipped', 'Complete', 'Error'])[n]::crm_sync_status, "
        "brevo_processing_status = CASE n WHEN 5 THEN 'Error'::crm_processing_status END, "
        "brevo_processing_error = CASE n WHEN 5 THEN 'A: b' END "
        "FROM generate_series(1, 5) AS n WHERE email = n || '@example.com'"
    )
    await app.execute("UPDATE contacts SET brevo_claimed_by = 1, brevo_sync_status = 'Processing' WHERE email = '6@example.com'")
    await app.execute("SET session_replication_role = replica")
    await app.execute("UPDATE contacts SET brevo_due_at = now() + interval '1 h' WHERE email = '7@example.com'")
    await app.execute("UPDATE contacts SET brevo_synced_at = now() WHERE email = '4@example.com'")
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status) VALUES ('x', 'Queued'), ('y', 'Error'), ('z', 'Processing')"
    )
    async with Database(as_worker(url), size=1) as database:
        await count(database, 10.0)
    assert await snapshot(app) == dict.fromkeys(STATES, 1)
    assert await snapshot(app, "hubspot") == {"new": 11}
    assert await app.fetchval("SELECT latest FROM crm_sync.snapshot WHERE crm = 'brevo' AND state = 'complete'") is not None
    assert await app.fetchval("SELECT count(*) FROM crm_sync.snapshot") == 4 * len(STATES)


async def test_a_crm_whose_columns_are_not_whole_is_left_out_and_the_others_are_counted(app, url):
    await app.execute("ALTER TABLE contacts RENAME COLUMN hubspot_attempts TO tries")
    async with Database(as_worker(url), size=1) as database:
        await count(database, 10.0)
    assert await app.fetchval("SELECT array_agg(DISTINCT crm ORDER BY crm) FROM crm_sync.snapshot") == ["brevo", "mautic", "n8n"]


async def test_a_worker_counts_when_it_starts_and_not_again_before_its_time(app, url):
    crm = ScriptedCrm()
    await app.execute(MANY, 5, "New")
    async with running(url, crm, waits=Waits(count_s=0.01)):
        await until(app, "count(*) > 0 FROM crm_sync.snapshot")
        assert await snapshot(app) == {"new": 5}
        # It took a second, so the next one is due 100 s after it.
        await app.execute("UPDATE crm_sync.snapshot SET took_s = 1, at = now() + interval '1 s'")
    before = await app.fetchval("SELECT max(at) FROM crm_sync.snapshot")
    async with running(url, crm, waits=Waits(count_s=0.01)):
        await until(app, f"{COUNTER} = 1")
        await until_asleep(app)
    assert await app.fetchval("SELECT max(at) FROM crm_sync.snapshot") == before


async def test_of_several_workers_one_counts_and_another_takes_over(app, url):
    async with running(url, ScriptedCrm(), waits=Waits(count_s=0.02)):
        await until(app, f"{COUNTER} = 1")
        first = await app.fetchval(f"SELECT pid FROM pg_locks WHERE classid = {locks.COUNT} AND granted")
        async with running(url, ScriptedCrm(), waits=Waits(count_s=0.02)):
            await until(app, "count(*) = 2 FROM crm_sync.workers")
            assert await app.fetchval(f"SELECT {COUNTER}") == 1
            await app.execute("SELECT pg_terminate_backend($1)", first)
            await until(app, f"count(*) = 1 AND bool_and(pid <> {first}) FROM pg_locks WHERE classid = {locks.COUNT} AND granted")


async def test_a_strangers_lock_counts_for_nothing(app, url):
    await app.execute(f"SELECT pg_advisory_lock({locks.COUNT}, 0)")
    async with running(url, ScriptedCrm()):
        await until(app, "count(*) > 0 FROM crm_sync.snapshot")


async def test_a_strangers_lock_has_one_of_two_workers_count(app):
    await app.execute(f"SELECT pg_advisory_lock({locks.COUNT}, 0)")
    await app.execute("INSERT INTO crm_sync.workers (id, host, pid, version) VALUES (3, 'a', 1, '0'), (4, 'a', 2, '0')")
    await app.execute(f"SELECT pg_advisory_lock({locks.WORKER}, n) FROM generate_series(3, 4) AS n")
    await app.execute(f"SELECT pg_advisory_unlock({locks.COUNT}, 0)")
    assert await app.fetchval(query("take_count_turn"), 3, locks.CONTACTS)


async def test_what_is_delivered_moves_the_numbers_on(app, url):
    crm = ScriptedCrm(batch_limit=10)
    crm.answer = lambda contact: (
        Outcome.rejected("REJECTED", "no") if contact.email == "2@example.com" else Outcome.delivered(contact.email)
    )
    await app.execute(MANY, 25, "New")
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued' WHERE email LIKE '1%'")
    async with Database(as_worker(url), size=1) as database:
        await count(database, 10.0)
    assert await snapshot(app) == {"new": 14, "ready": 11}
    crm.gate.clear()
    async with running(url, crm, waits=QUICK):
        # The lane has reported itself, and knows the snapshot, before anything is delivered.
        await until(app, "count(*) = 1 FROM crm_sync.progress WHERE claims <> '{}'")
        crm.gate.set()
        await until(app, "contacts = 11 FROM crm_sync.snapshot WHERE crm = 'brevo' AND state = 'complete'")
        assert await snapshot(app) == {"new": 14, "complete": 11}
        await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued' WHERE email LIKE '2%'")
        await until(app, "contacts = 1 FROM crm_sync.snapshot WHERE crm = 'brevo' AND state = 'error'")
        assert await snapshot(app) == {"new": 7, "complete": 17, "error": 1}, "they were New when they were counted"
        await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued' WHERE brevo_sync_status = 'Complete'")
        await until(app, "count(*) FILTER (WHERE brevo_sync_status = 'Complete') = 17 FROM contacts")
    assert await snapshot(app) == {"new": 7, "complete": 17, "error": 1}, "they were Complete before, and are again"


async def test_what_is_moved_on_while_it_is_counted_is_moved_on_in_what_was_counted(app, url):
    await app.execute(MANY, 5, "New")
    async with Database(as_worker(url), size=1) as database:
        await count(database, 10.0)

        class Moving(Database):
            async def fetch_within(self, *arguments):
                rows = await database.fetch_within(*arguments)
                await app.execute("UPDATE crm_sync.snapshot SET contacts = contacts + 2 WHERE crm = 'brevo' AND state = 'new'")
                return rows

        async with Moving(as_worker(url), size=1) as moving:
            await count(moving, 10.0)
    assert await snapshot(app) == {"new": 7}


async def test_a_number_that_is_locked_is_moved_the_next_time(app, other_app, url):
    async with Database(as_worker(url), size=1) as database:
        await app.execute(MANY, 5, "New")
        await count(database, 10.0)
        arguments = ("brevo", 1, [0] * 60, None, "none", "{}", "{}", ["new", "complete"], [-2, 2])
        async with other_app.transaction():
            await other_app.execute("SELECT 1 FROM crm_sync.snapshot WHERE crm = 'brevo' AND state = 'new' FOR UPDATE")
            [row] = await database.fetch(query("note_progress"), *arguments)
            assert row["moved"] == ["complete"]
    assert await snapshot(app) == {"new": 5, "complete": 2}


@asynccontextmanager
async def logged(url, waits):
    with capture_logs() as log:
        async with running(url, ScriptedCrm(), waits=waits):
            yield log


async def test_without_the_rights_for_it_contacts_are_delivered_all_the_same(app, url):
    await app.execute(f'REVOKE ALL ON crm_sync.snapshot, crm_sync.progress, crm_sync.pace FROM "{WORKER}"')
    await app.execute(MANY, 3, "Queued")
    async with logged(url, Waits(count_s=0.01, report_s=0.01, longest_mending_look_s=0.01)) as log:
        await until(app, ALL_COMPLETE)
        await until_asleep(app)
    # At the end, a loop may find the session gone.
    told = [entry for entry in log if entry["event"] == events.DATABASE_TROUBLE and "permission denied" in entry["reason"]]
    assert {entry["loop"] for entry in told} == {"snapshot", "progress"}
    assert len(told) == 2, "each is told once"


@pytest.mark.parametrize("role", ["crm_sync", "public"])
async def test_its_tables_can_be_published(app, role):
    await app.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    for table in ("snapshot", "progress"):
        assert await app.fetchval("SELECT relreplident FROM pg_class WHERE oid = $1::text::regclass", f"crm_sync.{table}") == b"d"
