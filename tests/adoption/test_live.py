"""A realistic table is adopted, and given back, while it is in use."""

import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from crm_sync.adoption.adopt import undo
from crm_sync.adoption.table import AdoptionRequest
from crm_sync.daemon.daemon import Daemon
from crm_sync.errors import DatabaseTroubleError
from tests import roles
from tests.adoption import field
from tests.adoption.application import LockWatch, under_load
from tests.adoption.conftest import Field, new_name
from tests.adoption.stops import stops
from tests.harness import TIMEOUT_S, ScriptedCrm, account, configured
from tests.photograph import take
from tests.roles import adopt
from tests.tiers import alone, slow

pytestmark = [slow, alone]

ROWS = 100_000
PROMISE_S = 0.2
MOST_S = 1.0  # where nothing measures how late the machine itself is
UNDO = ("adopt", "--undo", "--yes")
WISH = AdoptionRequest(table=field.TABLE)
WORKER = "field_worker"
INVALID = "SELECT count(*) FROM pg_index WHERE indrelid = 'crm.people'::regclass AND NOT indisvalid"
FILE = "SELECT pg_relation_filenode('crm.people')"
FOREIGN = """
    SELECT count(*) FROM crm.people WHERE id LIKE 'p-%' AND (
        attribute_01 <> md5(substr(id, 3))
        OR document <> jsonb_build_object('n', substr(id, 3)::integer)
        OR email <> format('person.%s@example.com', substr(id, 3))
    )
"""
LATE = """
    SELECT
        id, hubspot_sync_status::text, hubspot_processing_status::text, hubspot_due_at, hubspot_claimed_by, hubspot_flipped_at
    FROM crm.people
    WHERE hubspot_due_at < $1::timestamptz OR (hubspot_sync_status = 'Queued' AND hubspot_due_at IS NULL)
    LIMIT 5
"""


@pytest.fixture
def many(field_server):
    """A large one."""
    name = new_name()
    field.make_database(field_server, name, ROWS)
    yield Field(field_server, name, ROWS)
    field_server.drop_database(name)


@contextmanager
def logged(people):
    """The server's log of the owner's statements meanwhile: a list, filled at the end."""
    with people.admin() as admin:
        for setting in ("log_statement = 'all'", "log_min_messages = 'debug1'", "log_min_error_statement = 'error'"):
            admin.execute(f"ALTER ROLE {field.OWNER} SET {setting}".encode())
        log = people.server.folder / "log"
        begin, lines = log.stat().st_size, []
        yield lines
        with log.open() as file:
            file.seek(begin)
            ours = [line.split("|", 2)[2] for line in file if line.startswith(f"{people.name}|crm-sync adopt|")]
        lines += ours
        for setting in ("log_statement", "log_min_messages", "log_min_error_statement"):
            admin.execute(f"ALTER ROLE {field.OWNER} RESET {setting}".encode())


def measured(people, load, part, run):
    """(exit code, output, how long our locks were requested and held)"""
    load.begin(part)
    with LockWatch(people.server.url(people.name), field.TABLE) as watch:
        code, said = run()
    return code, said, watch


async def deliver_what_was_flipped(people, load):
    """A worker with a worker's rights, next to the application."""
    load.begin("delivering")
    with people.admin() as admin:
        if not admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [WORKER]).fetchone():
            admin.execute(f"CREATE ROLE {WORKER} LOGIN".encode())
        admin.execute(f"GRANT USAGE ON SCHEMA crm TO {WORKER}".encode())
        admin.execute(f"GRANT INSERT ON crm.audit TO {WORKER}".encode())  # for the table's own trigger
    grants, _ = roles.printed(people.url, WORKER, CONTACTS_TABLE=field.TABLE)
    with psycopg.connect(people.url, autocommit=True) as owner:
        owner.execute(grants.encode())
    crm = ScriptedCrm(batch_limit=100, concurrency=4)
    url = field.as_role(people.server.url(people.name), WORKER)
    daemon = Daemon(configured({"hubspot": account(crm)}, database_url=url))
    task = asyncio.create_task(daemon.run())
    with psycopg.connect(people.server.url(people.name), autocommit=True, cursor_factory=psycopg.RawCursor) as admin:
        flipped = admin.execute(b"SELECT clock_timestamp()").fetchone()
        deadline = time.monotonic() + TIMEOUT_S
        while late := admin.execute(LATE.encode(), flipped).fetchall():
            assert not task.done(), task.exception()
            assert time.monotonic() < deadline, late
            await asyncio.sleep(0.05)
    daemon.stop.set()
    async with asyncio.timeout(TIMEOUT_S):
        await task
    assert crm.requests
    assert crm.twice_in_flight == []


async def test_adopted_twice_and_undone_under_load_no_writer_waits_and_all_is_as_before(many, crm_sync, capsys):
    before = take(many.server, many.name)
    with many.admin() as admin:
        file = admin.execute(FILE).fetchone()
    rounds, watches = [], {}
    for number in (1, 2):
        with logged(many) as log, under_load(many.application_url, many.rows, seed=number) as load:
            load.begin("before")
            await asyncio.sleep(2)
            code, said, watches["adopting"] = measured(many, load, "adopting", lambda: crm_sync.run(many.url, "adopt"))
            assert code == 0, said
            code, said, watches["again"] = measured(many, load, "again", lambda: crm_sync.run(many.url, "adopt"))
            assert (code, "Nothing to do" in said) == (0, True), said
            with many.admin() as admin:
                assert admin.execute(INVALID).fetchone() == (0,)
                assert admin.execute(FILE).fetchone() == file
            if number == 1:
                await deliver_what_was_flipped(many, load)
            code, said, watches["undoing"] = measured(many, load, "undoing", lambda: crm_sync.run(many.url, *UNDO))
            assert code == 0, said
            load.begin("afterwards")
            await asyncio.sleep(0.5)
            parts, differences = load.end()
        assert differences == 0
        assert [part.failed for part in parts.values() if part.failed] == []
        assert take(many.server, many.name) == before
        with many.admin() as admin:
            assert admin.execute(FILE).fetchone() == file
            assert admin.execute(FOREIGN).fetchone() == (0,)
        assert_gentle(log)
        # One of our locks, from request to release, minus how late the machine itself is.
        for name in ("adopting", "undoing"):
            # Most are too short to be seen at all; a test below shows that a longer one is seen, with a session that holds the
            # table.
            assert watches[name].longest_s <= PROMISE_S + parts[name].of_control
        assert watches["again"].seen == 0
        rounds.append(parts)
    with capsys.disabled():
        for name in ("before", "adopting", "again", "undoing"):
            waits = ", ".join(f"{r[name].longest * 1e3:.0f} ms (machine {r[name].of_control * 1e3:.0f} ms)" for r in rounds)
            print(f"\n  longest wait of a writer, {name}: {waits}", end="")
    # A writer that waits by chance does not do so twice.
    for name in ("adopting", "again", "undoing"):
        assert min(parts[name].longest - parts[name].of_control for parts in rounds) <= PROMISE_S, name
        assert all(parts[name].writes > 0 for parts in rounds)


def assert_gentle(log):
    """Indexes are built concurrently; no statement rewrites the table or reads it under a lock."""
    built = [line for line in log if re.search(r"statement: (CREATE|DROP) INDEX", line)]
    assert len([line for line in built if "CREATE INDEX CONCURRENTLY" in line]) == 8  # one of nine exists
    # No application waits for crm-sync's own tables.
    assert [line for line in built if "CONCURRENTLY" not in line and not re.search(r" (ON|INDEX) crm_sync\.", line)] == []
    assert [line for line in log if re.search(r"(rewriting|verifying) table \"people\"", line)] == []
    assert any("LOCK TABLE" in line for line in log)


@contextmanager
def held(people, kind):
    """A session that holds the table, or an old snapshot. Yields its process id."""
    with psycopg.connect(people.application_url) as holder:
        if kind == "snapshot elsewhere":
            holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        statement = {
            "row lock": "UPDATE crm.people SET note = 'mine' WHERE id = 'p-1'",
            "long SELECT": "SELECT count(*) FROM crm.people",
            "snapshot elsewhere": "SELECT count(*) FROM crm.companies",
        }[kind]
        holder.execute(statement)
        yield holder.info.backend_pid
        holder.rollback()


@contextmanager
def writing(people):
    """A session that writes all the time. Yields a list, which at the end has its longest wait in seconds."""
    waits, over = [], threading.Event()

    def write():
        with people.application() as application:
            longest = 0.0
            while not over.is_set():
                started = time.monotonic()
                application.execute("UPDATE crm.people SET note = 'again' WHERE id = 'p-2'")
                longest = max(longest, time.monotonic() - started)
            waits.append(longest)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("kind", ["row lock", "long SELECT", "snapshot elsewhere"])
def test_who_holds_the_table_only_delays_it_and_is_named_and_after_the_patience_nothing_is_half_done(people, kind):
    before, told = take(people.server, people.name), []
    watch = LockWatch(people.server.url(people.name), field.TABLE)
    with held(people, kind) as holder, writing(people) as waits, watch, pytest.raises(DatabaseTroubleError) as caught:
        adopt(people.url, WISH, told.append, patience_s=2)
    assert f"pid {holder})" in str(caught.value)
    assert "run this again" in str(caught.value)
    waiting = [sentence for sentence in told if sentence.startswith("Waiting")]
    assert len(waiting) == 1
    assert f"pid {holder})" in waiting[0]
    assert watch.seen > 0 or kind == "snapshot elsewhere"
    assert watch.longest_s < MOST_S
    assert waits[0] < MOST_S
    with people.admin() as admin:
        assert admin.execute(INVALID).fetchone() == (0,)
    undo(people.url)
    assert take(people.server, people.name) == before


def test_undoing_gives_up_in_the_same_way_and_is_run_again(people):
    before = take(people.server, people.name)
    adopt(people.url, WISH)
    with held(people, "long SELECT") as holder, pytest.raises(DatabaseTroubleError, match=rf"pid {holder}\)"):
        undo(people.url, patience_s=1)
    undo(people.url)
    assert take(people.server, people.name) == before


def test_an_index_that_is_the_victim_of_a_deadlock_is_built_again(people):
    """A session with an old snapshot requests a lock held by an index build, which waits for old snapshots."""
    phase = "SELECT max(phase) FROM pg_stat_progress_create_index WHERE datname = current_database()"
    # A waiting session looks for a deadlock once, after a second: the other one has looked already.
    waits = (
        "SELECT count(*) FROM pg_locks WHERE relation = 'crm.people'::regclass AND mode = 'ShareLock' "
        "AND clock_timestamp() > waitstart + interval '1.5 s'"
    )
    with stops(people.server, people.name) as stop, people.admin() as admin, ThreadPoolExecutor(2) as threads:

        def until(statement, value):
            deadline = time.monotonic() + TIMEOUT_S
            while admin.execute(statement).fetchone() != (value,):
                assert time.monotonic() < deadline
                time.sleep(0.01)

        def want_it():
            with psycopg.connect(people.server.url(people.name)) as other:
                other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                other.execute("SELECT count(*) FROM crm.companies")
                other.execute("LOCK TABLE crm.people IN SHARE MODE")

        stop.at(words="CREATE INDEX CONCURRENTLY idx_people_brevo_contact_id")
        adopting = threads.submit(adopt, people.url, WISH, patience_s=TIMEOUT_S)
        until("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 7 AND NOT granted", 1)
        with held(people, "row lock"):
            stop.release()
            until(phase, "waiting for writers before build")
            other = threads.submit(want_it)
            until(waits, 1)
        other.result(TIMEOUT_S)
        done = adopting.result(TIMEOUT_S)
        assert admin.execute(INVALID).fetchone() == (0,)
        assert admin.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone() == (1,)
    assert sum("CREATE INDEX CONCURRENTLY" in statement for statement in done) == 8


@pytest.mark.parametrize("kind", ["row lock", "long SELECT", "snapshot elsewhere"])
def test_it_goes_on_once_the_holder_has_ended(people, crm_sync, kind):
    with held(people, kind) as holder:
        adopting = crm_sync.start(people.url, "adopt")
        adopting.says(f"pid {holder})")
    assert adopting.ended() == 0, adopting.said
    assert crm_sync.run(people.url, "adopt", "--plan")[1].strip().endswith("Nothing to do: everything is in place.")


def test_an_autovacuum_is_ended_not_waited_for(people):
    """It holds a lock that a change of the definition needs, and is cancelled only by a session that waits for a second."""
    with people.admin() as admin:
        admin.execute(
            "ALTER TABLE crm.people SET (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0, "
            "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"
        )
        admin.execute("UPDATE crm.people SET note = 'dead'")
        vacuum = "SELECT count(*) FROM pg_stat_progress_vacuum WHERE relid = 'crm.people'::regclass"
        deadline = time.monotonic() + TIMEOUT_S
        while admin.execute(vacuum).fetchone() == (0,):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        adopt(people.url, WISH, patience_s=0)
        assert admin.execute(INVALID).fetchone() == (0,)


def test_two_at_once_and_migrate_beside_them_one_works_and_the_others_say_that_they_wait(people, crm_sync):
    with stops(people.server, people.name) as stop:
        stop.at(words="CREATE INDEX", only_steps=True)  # in its second half: after planning, it lets go for a moment
        first = crm_sync.start(people.url, "adopt")
        assert stop.stopped(first)
        others = [crm_sync.start(people.url, command) for command in ("adopt", "migrate")]
        undoing = crm_sync.start(people.url, "adopt", "--undo", "--plan")
        for other in (*others, undoing):
            other.says("Waiting: another session is migrating or adopting here.")
        stop.release()
        assert first.ended() == 0, first.said
        assert undoing.ended() == 0, undoing.said
        for other in others:
            assert other.ended() == 0, other.said
            assert "Nothing to do" in other.said


def test_four_started_in_the_same_moment_never_fail(people, crm_sync):
    """Also if there is no schema at first."""
    started = [crm_sync.start(people.url, command) for command in ("adopt", "migrate", "adopt", "migrate")]
    for command in started:
        assert command.ended() == 0, command.said
    assert sum("Nothing to do" in command.said for command in started) == 3


def test_two_do_not_wait_for_each_other_while_an_index_waits_for_an_old_snapshot(people, crm_sync):
    with held(people, "snapshot elsewhere") as holder:
        first = crm_sync.start(people.url, "adopt")
        first.says(f"pid {holder})")
        second = crm_sync.start(people.url, "adopt")
        second.says("Waiting: another session")
    assert first.ended() == 0, first.said
    assert second.ended() == 0, second.said
    assert "Nothing to do" in second.said
