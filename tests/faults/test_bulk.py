"""Large amounts: a million rows in one statement, endless answers; and flips that no bell announces."""

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.waits import Waits
from crm_sync.sandbox.postgres import Postgres
from crm_sync.sandbox.process import CRMS, running_sandbox, settings
from tests.faults.front import MEGABYTE, answer, fronts
from tests.faults.promise import LINE_UP, RecordingCrm, Stopwatch, assert_promise_kept, said
from tests.faults.real_crms import PEOPLE, sandboxes
from tests.harness import ALL_COMPLETE, running, until, until_asleep
from tests.process import environment, process
from tests.process import said as process_said
from tests.roles import migrate
from tests.servers import VERSION, running_server
from tests.steps import insert
from tests.tiers import slow

ROWS = 1_000_000
NO_PROC = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc to read the peak memory from")


def peak_mb(pid):
    """The peak memory of a process."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


@NO_PROC
@slow
async def test_a_million_rows_flipped_in_one_statement_are_one_notification_and_take_no_memory(app, other_app, url):
    await app.execute("INSERT INTO contacts (email) SELECT n || '@example.com' FROM generate_series(1, $1::integer) AS n", ROWS)
    heard = []
    await other_app.add_listener("crm_sync", lambda _, pid, __, payload: heard.append((pid, payload)))
    async with running_sandbox("brevo") as sandbox, process(environment(url) | settings("brevo", sandbox), fresh=True) as worker:
        await until_asleep(app)
        usual = peak_mb(worker.pid)
        stopwatch = Stopwatch()
        await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued'", timeout=300)
        stopwatch.tell(f"{ROWS} rows flipped")
        stopwatch.start()
        await until(app, "count(*) >= 5000 FROM contacts WHERE brevo_synced_at IS NOT NULL")
        stopwatch.tell("from there to 5000 delivered")
        flipped_by = app.get_server_pid()
        assert [payload for pid, payload in heard if pid == flipped_by] == ["brevo"]
        print(f"\npeak of the worker: {usual:.0f} MB before, {peak_mb(worker.pid):.0f} MB with a million in line")
        assert peak_mb(worker.pid) - usual < 48


# Answers that are too large for the memory of the real process.

MOST_MB = 1024  # MemoryMax of the systemd unit, for at most 28 requests in flight over four lanes


async def pour(writer):
    """200 MB, of which it must read no more than necessary."""
    writer.write(answer(200, b"", f"Content-Length: {200 * MEGABYTE}"))
    for _ in range(200):
        writer.write(b" " * MEGABYTE)
        await writer.drain()


def bomb(megabytes):
    """Gzip of this many megabytes of zeros, a thousandth of the length."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = deflater.compress(bytes(MEGABYTE)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return answer(200, b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + block * megabytes, "Content-Encoding: gzip")


@NO_PROC
@pytest.mark.parametrize("says", [pour, bomb(1024)], ids=["200 MB", "a gzip bomb of 1 GB"])
@slow
async def test_the_memory_of_the_worker_is_bounded_whatever_is_answered(app, url, says):
    """Four lanes at once, each of which sends as often as its breaker allows."""
    async with sandboxes() as there, fronts(there, says) as before:
        env = environment(url)
        for crm, front in before.items():
            env |= settings(crm, front.url)
        async with process(env, fresh=True) as worker:
            await process_said(worker, events.SESSION_OPENED)
            usual = peak_mb(worker.pid)
            for crm in CRMS:
                await app.execute(PEOPLE.format(crm=crm).replace(".person", f".{crm}"), 20)
            for front in before.values():
                await front.answered(5)
            peak = peak_mb(worker.pid)
            print(f"\npeak of the worker: {usual:.0f} MB before, {peak:.0f} MB with these answers in four lanes")
            assert peak < MOST_MB
            for crm in CRMS:
                complete = await app.fetchval(f"SELECT count(*) FROM contacts WHERE {crm}_sync_status = 'Complete'")
                assert complete == 0 or crm == "n8n", "only of n8n a success says enough: the workflow ran"


# Flips that no bell announces.


@pytest.fixture(scope="module")
def narrow() -> Iterator[Postgres]:
    """A server whose queue of notifications holds half a megabyte instead of 8 GB."""
    if VERSION < 17:
        pytest.skip("the length of the queue is a setting from PostgreSQL 17 on")
    with running_server(max_notify_queue_pages="64") as server:
        yield server


@pytest.fixture
async def narrow_url(narrow: Postgres) -> AsyncIterator[str]:
    name = "contacts"
    narrow_url = narrow.create_database(name)
    await asyncio.to_thread(migrate, narrow_url)
    yield narrow_url
    narrow.drop_database(name)


@asynccontextmanager
async def full_queue(url: str) -> AsyncIterator[None]:
    """One session listens and has an open transaction; another notifies until there is no room."""
    sleeper, talker = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        await sleeper.execute("LISTEN elsewhere")
        await sleeper.execute("BEGIN")
        await sleeper.fetchval("SELECT 1")
        with suppress(asyncpg.ProgramLimitExceededError):
            for _ in range(1000):
                await talker.execute("SELECT pg_notify('elsewhere', repeat(n::text, 7000)) FROM generate_series(1, 9) AS n")
        assert await talker.fetchval("SELECT pg_notification_queue_usage()") > 0.9
        yield
    finally:
        await sleeper.close()
        # A full queue is not cleaned up when it is no longer needed, but when a session asks how full it is.
        await talker.fetchval("SELECT pg_notification_queue_usage()")
        await talker.close()


IDLE_IN_TRANSACTION = (
    "count(*) FROM pg_stat_activity WHERE application_name LIKE 'crm-sync%' AND state LIKE 'idle in transaction%' "
    "AND datname = current_database()"
)


# A busy keeper calls others with its own notification.
CALLS_AT_ONCE = Waits(help_interval_s=0.0)


async def test_while_the_queue_is_full_a_flip_that_would_ring_is_refused_by_postgres_and_works_afterwards(narrow_url):
    """Not our fault: any notifying transaction is refused then. The worker itself never blocks the queue."""
    crm = RecordingCrm()
    app = await asyncpg.connect(narrow_url)
    try:
        async with running(narrow_url, crm, waits=CALLS_AT_ONCE):
            await until_asleep(app)
            async with full_queue(narrow_url):
                with pytest.raises(asyncpg.PostgresError, match="NOTIFY queue"):
                    await insert(app, "Queued")
                assert await app.fetchval(f"SELECT {IDLE_IN_TRANSACTION}") == 0
            await insert(app, "Queued")
            await until(app, ALL_COMPLETE)
            await assert_promise_kept(app, crm)
            assert await app.fetchval("SELECT pg_notification_queue_usage()") < 0.1
    finally:
        await app.close()


async def test_while_the_queue_is_full_flips_that_need_not_ring_are_delivered(narrow_url):
    """The worker is awake, so the bell is disarmed: the application sends no notification, and waits for nothing."""
    crm = RecordingCrm(batch_limit=10, concurrency=2)
    crm.gate.clear()
    app = await asyncpg.connect(narrow_url)
    try:
        with capture_logs() as log:
            async with running(narrow_url, crm):
                await until_asleep(app)
                await app.execute(LINE_UP, "before.", 500)
                await crm.reached(2)
                async with full_queue(narrow_url):
                    await app.execute(LINE_UP, "meanwhile.", 500)
                    crm.gate.set()
                    stopwatch = Stopwatch()
                    await until(app, ALL_COMPLETE)
                    stopwatch.tell("1000 contacts with a full queue")
                await assert_promise_kept(app, crm)
        assert not [entry for entry in log if entry["event"] == events.SESSION_LOST]
    finally:
        await app.close()


async def test_a_session_that_is_lost_while_the_queue_is_full_is_opened_when_it_is_not(narrow_url):
    """It cannot prove then that it hears notifications."""
    crm = RecordingCrm()
    app = await asyncpg.connect(narrow_url)
    try:
        with capture_logs() as log:
            async with running(narrow_url, crm):
                await until_asleep(app)
                async with full_queue(narrow_url):
                    await app.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE application_name = 'crm-sync session' AND datname = current_database()"
                    )
                    await said(log, events.DATABASE_TROUBLE, "54000")
                    await insert(app, "Queued")
                stopwatch = Stopwatch()
                await until(app, ALL_COMPLETE)
                stopwatch.tell("queue free again, to delivered")
                await assert_promise_kept(app, crm)
    finally:
        await app.close()


UNSEEN = {
    "the trigger is disabled": "ALTER TABLE contacts DISABLE TRIGGER USER",
    "replication writes the rows": "SET session_replication_role = replica",
}


@pytest.mark.parametrize("statement", UNSEEN.values(), ids=UNSEEN.keys())
async def test_flips_that_no_trigger_saw_are_found_by_the_next_full_look(app, url, monkeypatch, statement):
    """Not by the tick, because no index knows about them. SYNC_SCHEDULER_INTERVAL_MINUTES limits how long it
    takes, here 0.6 s.
    """
    monkeypatch.setenv("BREVO_SYNC_SCHEDULER_INTERVAL_MINUTES", "0.01")
    crm = RecordingCrm()
    async with running(url, crm):
        await until_asleep(app)
        await app.execute(statement)
        stopwatch = Stopwatch()
        await app.execute(LINE_UP, "", 100)
        await until(app, ALL_COMPLETE)
        assert stopwatch.tell("100 flips that no trigger saw, at an interval of 0.6 s") < 3
        await assert_promise_kept(app, crm)


async def test_a_flip_that_no_trigger_saw_and_that_is_locked_at_the_full_look_is_found_soon_after(app, other_app, url):
    """Not a whole interval later, which is a quarter of an hour."""
    await app.execute("SET session_replication_role = replica")
    await app.execute(LINE_UP, "", 2)
    crm = RecordingCrm()
    locked = await app.fetchval("SELECT min(id::text)::uuid FROM contacts")
    holding = other_app.transaction()
    await holding.start()
    await other_app.execute("SELECT FROM contacts WHERE id = $1 FOR UPDATE", locked)
    async with running(url, crm, waits=Waits(strays_again_s=0.2)):
        await until(app, "count(*) = 1 FROM contacts WHERE brevo_sync_status = 'Complete'")
        assert await app.fetchval("SELECT brevo_due_at IS NULL FROM contacts WHERE id = $1", locked)
        await holding.commit()
        await until(app, ALL_COMPLETE)
        await assert_promise_kept(app, crm)
