"""What `crm-sync status` says about each CRM: whether it is delivering, its progress, and when it will be done."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner

from crm_sync.cli import crm_sync
from crm_sync.postgres import locks
from crm_sync.reports import snapshot_counts
from crm_sync.sandbox.postgres import Postgres
from tests.harness import TIMEOUT_S
from tests.reports.test_status_report import cells
from tests.roles import WORKER, adopt, as_worker
from tests.servers import OPTIONS, VERSION, memory
from tests.steps import make_due


def run(url: str, *arguments: str, code: int | None = None) -> str:
    """In a thread, because a command runs its own event loop. code: the exit code; by default 0 or 1, whether
    a person is needed.
    """
    with ThreadPoolExecutor(1) as thread:
        env = {"DATABASE_URL": url, "COLUMNS": "80"}
        answer = thread.submit(CliRunner().invoke, crm_sync, ["status", *arguments], env=env).result()
    assert answer.exit_code in ((0, 1) if code is None else (code,)), (answer.output, answer.exception)
    return answer.output


def as_json(url: str, crm: str = "brevo", *arguments: str) -> Mapping[str, Any]:
    return next(entry for entry in json.loads(run(url, "--json", *arguments))["lanes"] if entry["crm"] == crm)


async def deliver(app, count: int, *, seconds_ago: float) -> None:
    """Contacts and progress as left by a worker that delivered them evenly since then."""
    await app.execute(
        "INSERT INTO crm_sync.progress (crm, worker, at, delivered, delivered_at, limits, claims, refused) "
        "SELECT 'brevo', 7, clock_timestamp(), array_agg(CASE WHEN n <= $2 THEN $1 / $2 ELSE 0 END ORDER BY n), "
        "clock_timestamp(), 'none', '{}', '{}' FROM generate_series(1, 60) AS n",
        count,
        int(seconds_ago),
    )
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status, brevo_processing_status, brevo_synced_at) "
        "SELECT 'done-' || n || '@example.com', 'Complete', 'Complete', clock_timestamp() - make_interval(secs => n * $2 / $1) "
        "FROM generate_series(1, $1::integer) AS n",
        count,
        seconds_ago,
    )


async def line_up(app, count: int) -> None:
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status) "
        "SELECT 'ready-' || n || '@example.com', 'Queued' FROM generate_series(1, $1::integer) AS n",
        count,
    )


@pytest.fixture
async def worker(url):
    """A living worker that delivers nothing."""
    session = await asyncpg.connect(url)
    pid = await session.fetchval("INSERT INTO crm_sync.workers (id, host, pid, version) VALUES (7, 'here', 1, '0') RETURNING id")
    await session.execute(f"SELECT pg_advisory_lock({locks.WORKER}, {pid})")
    yield
    await session.close()


@pytest.mark.usefixtures("worker")
async def test_a_backfill_says_how_far_it_is_and_when_it_will_end_at_its_pace(app, url):
    await deliver(app, 100, seconds_ago=10.0)
    await line_up(app, 300)
    await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('a', 'New'), ('b', 'Skipped'), ('c', 'Selected')")
    told = as_json(url, "brevo", "--exact")
    assert (told["wanted"], told["done_share"]) == (400, 0.25)
    # It began ten seconds ago: a hundred since then, plus the time to get here.
    assert 5 < told["pace_per_s"] <= 10
    assert told["ends_in_s"] == pytest.approx(300 / told["pace_per_s"])
    left = datetime.fromisoformat(told["ends_at"]) - datetime.fromisoformat(told["now"])
    assert left.total_seconds() == pytest.approx(told["ends_in_s"], abs=0.01)


async def test_what_was_delivered_before_the_last_minute_is_no_pace(app, url):
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status, brevo_synced_at) "
        "VALUES ('ada@example.com', 'Complete', now() - interval '61 seconds')"
    )
    await line_up(app, 3)
    told = as_json(url, "brevo", "--exact")
    assert (told["pace_per_s"], told["ends_in_s"], told["ends_at"], told["done_share"]) == (None, None, None, 0.25)


async def test_a_rejected_contact_is_done_too(app, url):
    await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('a', 'Error'), ('b', 'Queued')")
    assert as_json(url, "brevo", "--exact")["done_share"] == 0.5


async def test_without_a_worker_there_is_no_pace_and_no_end(app, url):
    await deliver(app, 100, seconds_ago=10.0)
    await line_up(app, 300)
    told = as_json(url)
    assert (told["delivered_last_minute"], told["pace_per_s"], told["ends_in_s"], told["ends_at"]) == (0, None, None, None)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("change", "has_end"),
    [
        ("held_since = now(), held_reason = 'x'", False),
        ("breaker = 'open', openings = 1, next_probe_at = now()", False),
        ("breaker = 'half-open', openings = 1, next_probe_at = now()", False),
        ("breaker = 'throttled', next_probe_at = now()", True),
    ],
)
async def test_no_end_is_foretold_for_a_crm_that_is_paused_or_down(app, url, change, has_end):
    await deliver(app, 10, seconds_ago=5.0)
    await line_up(app, 10)
    await app.execute(f"UPDATE crm_sync.lanes SET {change} WHERE crm = 'brevo'")
    assert (as_json(url)["ends_at"] is not None) == has_end


async def test_scripts_get_the_columns_of_the_gate_as_they_are(app, url):
    await app.execute(
        "UPDATE crm_sync.lanes SET breaker = 'open', breaker_since = '2026-11-24 12:03:10+00', breaker_reason = 'TIMEOUT: slow', "
        "openings = 2, next_probe_at = '2026-11-24 12:03:15.5+00', held_since = '2026-11-24 11:00+00', held_reason = 'x' "
        "WHERE crm = 'brevo'"
    )
    told = as_json(url)
    columns = ("breaker", "breaker_since", "breaker_reason", "next_probe_at", "openings", "held_since", "held_reason")
    assert [told[name] for name in columns] == [
        "open", "2026-11-24T12:03:10.000+00:00", "TIMEOUT: slow", "2026-11-24T12:03:15.500+00:00", 2,
        "2026-11-24T11:00:00.000+00:00", "x",
    ]  # fmt: skip
    other = as_json(url, "hubspot")
    assert (other["breaker"], other["next_probe_at"], other["held_since"]) == ("closed", None, None)


async def test_the_role_of_a_worker_may_look(url):
    for arguments in ((), ("--exact",)):
        assert cells(run(as_worker(url), *arguments), "state") == ["no worker"] * 4


async def test_status_shows_a_crm_that_is_down_and_one_that_is_paused(app, url):
    await app.execute(
        "UPDATE crm_sync.lanes SET breaker = 'open', breaker_since = now() - interval '4 minutes', openings = 3, "
        "breaker_reason = 'UNREACHABLE: refused', next_probe_at = now() + interval '30 seconds' WHERE crm = 'mautic'"
    )
    await app.execute(
        "UPDATE crm_sync.lanes SET held_since = now() - interval '2 hours', held_reason = 'key rotation' WHERE crm = 'brevo'"
    )
    text = run(url)
    assert cells(text, "state") == ["no worker", "paused", "down", "no worker"]
    assert re.search(r"brevo +paused by hand since .* \(2 h\): key rotation", text)
    assert re.search(r"mautic +down since .* \(4 min\): UNREACHABLE: refused; next", text)


# Live numbers, and those of the snapshot.


@pytest.fixture
def large(monkeypatch):
    """Every table counts as a large one."""
    monkeypatch.setattr(snapshot_counts, "SMALL", 0)


async def test_a_small_table_is_counted_at_every_look_so_that_its_columns_add_up(app, url):
    await line_up(app, 3)
    run(url, "--exact")
    await app.execute("SET session_replication_role = replica")  # as a worker may
    await app.execute(
        "UPDATE contacts SET brevo_due_at = NULL, "
        "brevo_sync_status = CASE email WHEN 'ready-3@example.com' THEN 'Error' ELSE 'Complete' END::crm_sync_status"
    )
    await app.execute("INSERT INTO contacts (email) VALUES ('new@example.com')")
    told = as_json(as_worker(url))
    counts = ("new", "selected", "skipped", "ready", "waiting", "in_flight", "complete", "error")
    assert [told[state] for state in counts] == [1, 0, 0, 0, 0, 0, 2, 1]
    assert (told["wanted"], told["done_share"], told["counted_s"]) == (3, 1.0, 0.0)
    assert "counted just now." in " ".join(run(url).split())


async def test_a_partitioned_table_is_as_large_as_all_its_partitions(empty_url, owner, monkeypatch):
    await owner.execute(
        "CREATE TABLE contacts (id integer PRIMARY KEY, email text) PARTITION BY RANGE (id); "
        "CREATE TABLE one PARTITION OF contacts FOR VALUES FROM (0) TO (10); "
        "CREATE TABLE two PARTITION OF contacts FOR VALUES FROM (10) TO (20)"
    )
    await asyncio.to_thread(adopt, empty_url)
    monkeypatch.setattr(snapshot_counts, "SMALL", 8192)  # a page
    await owner.execute("INSERT INTO contacts (id) VALUES (1)")
    assert as_json(empty_url)["new"] == 1
    await owner.execute("INSERT INTO contacts (id) VALUES (11)")
    assert as_json(empty_url)["new"] is None, "two pages"


async def test_a_role_that_may_not_count_sees_the_snapshot(app, url):
    await app.execute("INSERT INTO contacts (email) VALUES ('a')")
    await app.execute(f"REVOKE EXECUTE ON FUNCTION crm_sync.count_contacts() FROM {WORKER}")
    assert as_json(as_worker(url))["new"] is None


@pytest.mark.usefixtures("large")
async def test_what_is_in_line_is_live_and_the_rest_is_of_the_snapshot_with_its_age(app, url):
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status) "
        "VALUES ('a', 'New'), ('b', 'Skipped'), ('c', 'Selected'), ('d', 'Complete')"
    )
    told = as_json(url)
    of_snapshot = ("new", "selected", "skipped", "complete", "wanted", "done_share", "counted_at", "counted_s")
    assert [told[name] for name in of_snapshot] == [None] * 8
    assert "are not counted yet" in " ".join(run(url).split())
    counted = as_json(url, "brevo", "--exact")
    assert [counted[name] for name in ("new", "selected", "skipped", "complete", "wanted")] == [1, 1, 1, 1, 1]
    await line_up(app, 2)
    told = as_json(url)
    assert (told["ready"], told["new"], told["counted_at"]) == (2, 1, counted["counted_at"])
    await app.execute("UPDATE crm_sync.snapshot SET at = at - interval '7 min'")
    assert "counted 7 min ago" in " ".join(run(url).split())


@pytest.mark.usefixtures("large")
async def test_a_count_beyond_the_most_is_the_least_and_about(app, url):
    await line_up(app, 10_200)
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Skipped' WHERE email = 'ready-5@example.com'")
    told = as_json(url)
    assert (told["ready"], told["least"]) == (10_000, ["ready", "in_flight"]), "a line stands for nobody"
    assert 10_000 <= told["about"]["ready"] <= 10_300
    exact = as_json(url, "brevo", "--exact")
    assert (exact["ready"], exact["skipped"], exact["least"], exact["about"]) == (10_199, 1, [], {})


async def test_waiting_in_flight_and_lost_are_told_by_the_rows_of_the_lines(app, url):
    await line_up(app, 4)
    claim = "UPDATE contacts SET brevo_claimed_by = ($1::bigint << 32) + 1, brevo_sync_status = 'Processing' WHERE email = $2"
    for number in (1, 2, 3):
        await app.execute(claim, number, f"ready-{number}@example.com")
    await app.execute(
        "WITH retry AS (UPDATE contacts SET brevo_claimed_by = NULL, brevo_due_at = now() + interval '1 h', "
        "brevo_sync_status = 'Queued', brevo_processing_error = 'TIMEOUT: slow' "
        "WHERE email = 'ready-3@example.com' RETURNING *) "
        "INSERT INTO crm_sync.brevo_line (due_at, key) SELECT brevo_due_at, id FROM retry"
    )
    told = as_json(url)
    assert [told[name] for name in ("ready", "waiting", "in_flight", "lost", "error")] == [1, 1, 2, 2, 0]
    assert told["failures"] == [{"code": "TIMEOUT", "contacts": 1, "sample": "TIMEOUT: slow", "is_least": False}]


@pytest.mark.usefixtures("large")
async def test_errors_are_counted_by_their_code_with_a_bound_over_all_codes(app, url):
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status, brevo_processing_status, brevo_processing_error, last_failed_crm, "
        "last_retry_at) SELECT n || '@example.com', 'Error', 'Error', "
        "(CASE n % 3 WHEN 0 THEN 'DUPLICATE' ELSE 'REJECTED' END) || ': ' || n, "
        "'brevo', now() - make_interval(secs => n) FROM generate_series(1, 30) AS n"
    )
    await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('silent', 'Error')")
    told = as_json(url)
    assert (told["error"], told["last_error"]) == (30, "REJECTED: 1")
    assert [(one["code"], one["contacts"]) for one in told["failures"]] == [("REJECTED", 20), ("DUPLICATE", 10)]
    assert as_json(url, "brevo", "--exact")["error"] == 31
    assert as_json(url)["error"] == 31, "those without a reason are the snapshot's"
    await app.execute(
        "UPDATE contacts SET brevo_processing_error = 'CODE_' || split_part(email, '@', 1) || ': x' WHERE email <> 'silent'"
    )
    told = as_json(url)
    assert (len(told["failures"]), told["least"]) == (20, ["error"])


# Exit codes.


async def test_it_exits_with_0_where_nothing_waits(app, url):
    await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('a', 'New'), ('b', 'Error'), ('c', 'Complete')")
    run(url, code=0)


async def test_it_exits_with_1_where_contacts_are_ready_and_no_worker_runs(app, url):
    await line_up(app, 1)
    run(url, code=1)
    assert json.loads(run(url, "--json", code=1))["lanes"]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("breaker = 'open', openings = 1, next_probe_at = now()", 1),
        ("breaker = 'throttled', next_probe_at = now()", 0),
        ("held_since = now(), held_reason = 'x'", 0),
        ("held_since = NULL", 0),
    ],
)
async def test_a_crm_that_is_down_needs_a_person_and_one_that_pauses_does_not(app, url, change, code):
    await line_up(app, 1)
    await app.execute(f"UPDATE crm_sync.lanes SET {change} WHERE crm = 'brevo'")
    run(url, code=code)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(("state", "code"), [("closed", 1), ("throttled", 0)])
async def test_a_crm_that_is_stalled_needs_a_person(app, url, state, code):
    await line_up(app, 1)
    await make_due(app, in_s=-300)
    await app.execute("UPDATE crm_sync.lanes SET breaker = $1 WHERE crm = 'brevo'", state)
    assert ("stalled" in run(url, code=code)) is (code == 1)


async def test_it_exits_with_69_where_the_database_cannot_be_asked():
    text = run("postgresql://x@127.0.0.1:1/x", code=69)
    assert "cannot reach the database" in text


@pytest.mark.parametrize("arguments", [("--watch", "--json"), ("--watch", "--exact"), ("--nope",)])
def test_wrong_usage_is_2(arguments):
    run("postgresql://x@127.0.0.1:1/x", *arguments, code=2)


@pytest.mark.slow
async def test_watching_goes_on_while_the_database_is_away():
    server = Postgres(VERSION, OPTIONS, within=memory())
    try:
        server.create()
        url = server.create_database("app")
        await asyncio.to_thread(adopt, url)
        ours, its = os.openpty()
        command = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "crm_sync", "status", "--watch",
            env=os.environ | {"DATABASE_URL": url, "TERM": "xterm"}, stdin=its, stdout=its, stderr=its,
        )  # fmt: skip
        os.close(its)

        async def seen(words: bytes) -> None:
            said = b""
            async with asyncio.timeout(TIMEOUT_S):
                while words not in said:
                    said += await asyncio.to_thread(os.read, ours, 65536)

        await seen(b"no worker")
        server.stop("immediate")
        await seen(b"Cannot reach the database, trying again")
        server.start()
        await seen(b"Queued, ready")
        command.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(command.wait(), TIMEOUT_S) == 0
        os.close(ours)
    finally:
        server.destroy()


@pytest.mark.usefixtures("worker")
async def test_a_faulty_lane_needs_a_person_and_the_others_are_counted(app, url):
    await line_up(app, 3)
    await app.execute("ALTER TABLE contacts RENAME COLUMN hubspot_attempts TO tries")
    out = " ".join(run(url, code=1).split())
    assert re.search(r"hubspot a worker cannot deliver: .* has no column hubspot_attempts: run `crm-sync migrate`", out)
    told = as_json(url, "hubspot")
    assert (told["counted"], told["ready"]) == (False, None)
    assert "hubspot_attempts" in told["fault"]
    assert (as_json(url)["counted"], as_json(url)["ready"]) == (True, 3)


@pytest.mark.usefixtures("worker")
async def test_a_lane_that_is_faulty_with_its_columns_whole_is_counted(app, url):
    await line_up(app, 3)
    await app.execute("ALTER TABLE contacts DISABLE TRIGGER crm_sync_brevo_update")
    run(url, code=1)
    assert (as_json(url)["ready"], as_json(url)["counted"]) == (3, True)
    assert "is disabled" in as_json(url)["fault"]


@pytest.mark.usefixtures("worker")
async def test_the_fault_that_a_living_worker_tells_of_needs_a_person(app, url):
    run(url, code=0)
    await app.execute(
        "UPDATE crm_sync.lanes SET fault = 'the mapping is wrong', fault_since = now(), fault_worker = 7 WHERE crm = 'brevo'"
    )
    assert "a worker cannot deliver since" in run(url, code=1)
    assert as_json(url)["fault"] == "the mapping is wrong"
    await app.execute("UPDATE crm_sync.lanes SET fault_worker = 8")
    run(url, code=0)


@pytest.mark.usefixtures("worker")
async def test_a_crm_with_credentials_and_without_columns_needs_a_person(app, url, monkeypatch):
    await app.execute("SELECT crm_sync.remove_crm('brevo')")
    run(url, code=0)
    monkeypatch.setenv("BREVO_API_KEY", "key")
    assert "crm-sync adopt --crm brevo" in " ".join(run(url, code=1).split())
    assert as_json(url)["counted"] is False
