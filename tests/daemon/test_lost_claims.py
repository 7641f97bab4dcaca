"""A claim that no living worker has in hand goes back in line, whatever its origin."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from crm_sync.core.waits import Waits
from crm_sync.daemon.full_look import FullLook
from crm_sync.errors import UnreadableError
from crm_sync.postgres import locks
from crm_sync.table.contacts import Contacts
from tests.commands.test_check import checked
from tests.harness import ALL_COMPLETE, SESSIONS, TIMEOUT_S, ScriptedCrm, running, until, until_asleep
from tests.process import environment
from tests.roles import adopt, let_in
from tests.steps import insert, read

NO_TICK = Waits(tick_s=3600.0)
QUICK_TICK = Waits(tick_s=0.1)
# As after a data-only restore, pg_restore --disable-triggers, or logical replication.
RESTORE = """
INSERT INTO contacts (
    email, brevo_sync_status, brevo_processing_status, brevo_attempts, brevo_due_at, brevo_claimed_by, brevo_processing_error
)
VALUES ($1, $2, 'Processing', $3, $4, ($5::bigint << 32) | 7, 'TIMEOUT: slow')
"""
UNKNOWN = 999


@pytest.fixture
def crm() -> ScriptedCrm:
    return ScriptedCrm()


async def restore(app, email="x@example.com", *, worker=UNKNOWN, status="Processing", attempts=1, due=True):
    async with app.transaction():
        await app.execute("SET LOCAL session_replication_role = replica")
        due_at = await app.fetchval("SELECT clock_timestamp()") if due else None
        await app.execute(RESTORE, email, status, attempts, due_at, worker)


@pytest.mark.parametrize("due", [True, False])
async def test_of_a_worker_that_is_in_no_registry_at_the_start(app, url, crm, due):
    await restore(app, due=due)
    async with running(url, crm, waits=NO_TICK):
        await until(app, ALL_COMPLETE)
    assert len(crm.requests) == 1


async def test_flipped_again_meanwhile_it_is_delivered_once_and_withdrawn_it_stays_so(app, url, crm):
    await restore(app, "again@example.com")
    await restore(app, "withdrawn@example.com")
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued' WHERE email LIKE 'again%'")
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Skipped' WHERE email LIKE 'withdrawn%'")
    async with running(url, crm, waits=NO_TICK):
        await until(app, "bool_and(brevo_claimed_by IS NULL AND brevo_sync_status IN ('Complete', 'Skipped')) FROM contacts")
    row = await app.fetchrow("SELECT * FROM contacts WHERE email LIKE 'withdrawn%'")
    assert (row["brevo_sync_status"], row["brevo_processing_status"], row["brevo_due_at"]) == ("Skipped", None, None)
    assert [request[0].email for request in crm.requests] == ["again@example.com"]


async def test_with_the_id_of_the_very_worker_that_starts(app, url, crm):
    """Its id was given out before, in another life of the database."""
    following = await app.fetchval("SELECT nextval('crm_sync.workers_id_seq')") + 1
    await restore(app, worker=following)
    async with running(url, crm, waits=NO_TICK) as worker:
        await until(app, ALL_COMPLETE)
        assert worker._wiring.session.known_id == following


async def test_at_each_reconnect(app, url, crm):
    async with running(url, crm, waits=NO_TICK):
        await until_asleep(app)
        await restore(app)
        await app.execute(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
        await until(app, ALL_COMPLETE)


async def test_at_the_full_look(app, url, crm, monkeypatch):
    monkeypatch.setenv("BREVO_SYNC_SCHEDULER_INTERVAL_MINUTES", "0.001")
    async with running(url, crm, waits=NO_TICK):
        await until_asleep(app)
        await restore(app)
        await until(app, ALL_COMPLETE)


async def test_with_the_id_of_the_worker_that_looks(app, url, crm, monkeypatch):
    """It is alive but has no such claim in hand: the rows were copied or restored while it ran."""
    monkeypatch.setenv("BREVO_SYNC_SCHEDULER_INTERVAL_MINUTES", "0.001")
    async with running(url, crm, waits=NO_TICK) as worker:
        await until_asleep(app)
        await restore(app, worker=worker._wiring.session.known_id)
        await until(app, ALL_COMPLETE)


async def test_of_another_worker_that_lives_it_is_left_alone(app, url, crm, monkeypatch):
    look, looked = FullLook.look, asyncio.Event()

    async def watch(self, worker):
        found = await look(self, worker)
        looked.set()
        return found

    monkeypatch.setattr(FullLook, "look", watch)
    other = ScriptedCrm()
    other.gate.clear()
    async with running(url, other, waits=NO_TICK):
        contact = await insert(app, "Queued")
        await other.reached(1)
        claimed_by = (await read(app, contact))["claimed_by"]
        async with asyncio.timeout(TIMEOUT_S):
            await looked.wait()  # so that the second worker finds the other claim
        await restore(app, "x@example.com")
        async with running(url, crm, waits=NO_TICK):
            await until(app, "brevo_sync_status = 'Complete' FROM contacts WHERE email = 'x@example.com'")
            assert (await read(app, contact))["claimed_by"] == claimed_by
            other.gate.set()
            await until(app, ALL_COMPLETE)
    assert contact not in crm.store


async def test_in_a_partition_that_left_in_flight_and_comes_back(empty_url, owner, crm):
    await owner.execute(
        "CREATE TABLE contacts (id integer, email text, PRIMARY KEY (id)) PARTITION BY RANGE (id); "
        "CREATE TABLE one PARTITION OF contacts FOR VALUES FROM (0) TO (10); "
        "CREATE TABLE two PARTITION OF contacts FOR VALUES FROM (10) TO (20)"
    )
    await asyncio.to_thread(adopt, empty_url)
    await asyncio.to_thread(let_in, empty_url)
    await owner.execute("INSERT INTO contacts (id, email) SELECT n, n || '@example.com' FROM generate_series(1, 12) AS n")
    crm.gate.clear()
    async with running(empty_url, crm, waits=NO_TICK):
        await until_asleep(owner)
        await owner.execute("UPDATE contacts SET brevo_sync_status = 'Queued' WHERE id > 10")
        await crm.reached(2)
        await owner.execute("ALTER TABLE contacts DETACH PARTITION two")
        crm.gate.set()
    await owner.execute("ALTER TABLE contacts ATTACH PARTITION two FOR VALUES FROM (10) TO (20)")
    assert await owner.fetchval("SELECT bool_and(brevo_claimed_by IS NOT NULL) FROM two WHERE id > 10")
    async with running(empty_url, crm, waits=NO_TICK):
        await until(owner, f"{ALL_COMPLETE} WHERE id > 10")


async def test_an_answer_that_the_driver_cannot_read_stops_nobody(app, url, crm, monkeypatch):
    claim = Contacts.claim
    unread = 1

    async def fail_to_read(self, limit, token, **options):
        nonlocal unread
        claimed = await claim(self, limit, token, **options)
        if claimed.contacts and unread:
            unread -= 1
            raise UnreadableError("a date is out of range")
        return claimed

    monkeypatch.setattr(Contacts, "claim", fail_to_read)
    await insert(app, "Queued")
    async with running(url, crm, waits=QUICK_TICK):
        await until(app, ALL_COMPLETE)
    assert len(crm.requests) == 1


async def test_one_that_no_worker_survives_is_parked_with_that_reason(app, url, crm):
    await restore(app, attempts=4)
    async with running(url, crm, waits=NO_TICK):
        await until(app, "brevo_sync_status = 'Error' FROM contacts")
    row = await app.fetchrow("SELECT * FROM contacts")
    assert row["brevo_processing_error"].startswith("WORKER_DIED: ")
    assert (row["brevo_processing_status"], row["brevo_due_at"], row["last_failed_crm"]) == ("Error", None, "brevo")
    assert crm.requests == []


async def test_one_whose_row_the_application_has_locked_is_released_at_a_later_look(app, other_app, url, crm):
    await restore(app)
    async with running(url, crm, waits=replace(NO_TICK, strays_again_s=0.05)):
        async with other_app.transaction():
            await other_app.execute("SELECT 1 FROM contacts FOR UPDATE")
            await until_asleep(app)
        await until(app, ALL_COMPLETE)


async def test_check_counts_them(app, url, brevo):
    await restore(app)
    await restore(app, "y@example.com")
    _, lines = await checked(environment(url, brevo))
    assert any(line.startswith("warning brevo contacts 2 in flight with no living worker") for line in lines), lines


async def test_a_worker_whose_lock_is_a_strangers_does_not_live(app: asyncpg.Connection):
    """Nor is one whose registered session is another."""
    living = "SELECT array_agg(id) FROM crm_sync.living_workers"
    await app.execute(
        "INSERT INTO crm_sync.workers (id, host, pid, version, backend_pid) "
        "VALUES (1, 'a', 1, '0', pg_backend_pid()), (2, 'a', 1, '0', 1)"
    )
    await app.execute("SELECT pg_advisory_lock($1, n) FROM generate_series(1, 3) AS n", locks.WORKER)
    assert await app.fetchval(living) == [1, 3], "who may register is taken for a worker, until its row says otherwise"
