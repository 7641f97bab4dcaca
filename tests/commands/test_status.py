"""What `crm-sync status` says of each CRM: whether it is delivered to, how far it is, and when it ends."""

import json
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from crm_sync.cli import crm_sync
from crm_sync.core.words import clock, end, span
from crm_sync.reports.lane_state import Gate
from crm_sync.reports.status_reading import LaneStatus, Status
from crm_sync.reports.status_report import draw
from tests.roles import as_worker

NOW = datetime(2026, 11, 24, 12, 7, 10, tzinfo=UTC)
CRMS = ("hubspot", "brevo", "mautic", "n8n")
LONG = "UNREACHABLE: no connection to the CRM (" + "a long story of what went wrong on the way there, " * 8 + ")"
ALIVE = [{"alive": True}]


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def gate(crm: str = "brevo", **changes: Any) -> Gate:
    return replace(Gate(crm, "closed", NOW, None, None, 0, None, None, NOW), **changes)


def ago(**units: float) -> datetime:
    return NOW - timedelta(**units)


def within(**units: float) -> datetime:
    return NOW + timedelta(**units)


# The gate in words.

DOWN = {"breaker": "open", "breaker_since": ago(minutes=4), "breaker_reason": "UNREACHABLE: refused", "openings": 7}
THROTTLED = {"breaker": "throttled", "breaker_since": ago(seconds=2), "breaker_reason": "RATE_LIMITED: too many requests"}
HELD = {"held_since": ago(hours=2), "held_reason": "key rotation"}


@pytest.mark.parametrize(
    ("changes", "label", "sentence"),
    [
        ({}, "delivering", "delivering"),
        (HELD, "paused", "paused by hand since 10:07:10 (2 h): key rotation"),
        (
            {**DOWN, "next_probe_at": within(seconds=5)},
            "down",
            "down since 12:03:10 (4 min): UNREACHABLE: refused; next probe in 5 s",
        ),
        (
            {**DOWN, "next_probe_at": ago(seconds=5)},
            "down",
            "down since 12:03:10 (4 min): UNREACHABLE: refused; next probe as soon as a contact is ready",
        ),
        (
            {**DOWN, "breaker": "half-open", "next_probe_at": within(seconds=29)},
            "probing",
            "down since 12:03:10 (4 min): UNREACHABLE: refused; being probed now",
        ),
        (
            {**THROTTLED, "next_probe_at": within(seconds=8)},
            "throttled",
            "too many requests since 12:07:08 (2 s), next call in 8 s (RATE_LIMITED: too many requests)",
        ),
        (
            {**THROTTLED, "breaker": "half-open", "next_probe_at": within(seconds=30)},
            "probing",
            "too many requests since 12:07:08 (2 s), being probed now (RATE_LIMITED: too many requests)",
        ),
        (
            {**HELD, **DOWN, "next_probe_at": within(seconds=5)},
            "paused",
            (
                "paused by hand since 10:07:10 (2 h): key rotation; besides, "
                "down since 12:03:10 (4 min): UNREACHABLE: refused; no probe until it is resumed"
            ),
        ),
    ],
)
def test_a_gate_is_told_in_a_word_and_in_a_sentence(changes, label, sentence):
    assert gate(**changes).label == label
    assert gate(**changes).sentence == sentence


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"), (0.4, "0 s"), (8, "8 s"), (59.4, "59 s"), (59.6, "1 min"), (240, "4 min"), (3599, "1 h"), (3600, "1 h"),
        (11_520, "3 h 12 min"), (86_399, "1 d"), (100_000, "1 d 4 h"), (1e9, "11,574 d 2 h"),
    ],
)  # fmt: skip
def test_a_span_of_time_is_said_as_people_say_it(seconds, words):
    assert span(seconds) == words


def test_a_time_of_another_day_says_so():
    assert clock(ago(minutes=4), NOW) == "12:03:10"
    assert clock(ago(days=1), NOW) == "23 Nov 12:07"
    assert clock(ago(days=400), NOW) == "20 Oct 2025"
    assert end(within(hours=3), NOW) == "15:07"
    assert end(within(days=2), NOW) == "Thu 12:07"
    assert end(within(days=9), NOW) == "3 Dec"
    assert end(within(days=90), NOW) == "22 Feb 2027"


# What is drawn.


def lane(crm: str, its_gate: Gate | None = None, **changes: Any) -> LaneStatus:
    counts = dict.fromkeys(("new", "selected", "skipped", "ready", "waiting", "in_flight", "complete", "error", "wanted"), 0)
    rest = dict.fromkeys(
        (
            "oldest_ready_s",
            "last_delivered_at",
            "pace_per_s",
            "done_share",
            "ends_in_s",
            "ends_at",
            "last_error",
            "last_failed_at",
            "deletion_error",
        )
    )
    rest |= {"delivered_last_minute": 0, "failures": [], "on_delete": "keep", "deletions_waiting": 0, "deletions_failed": 0}
    empty = LaneStatus(crm=crm, gate=its_gate or gate(crm), **counts, **rest)
    return replace(empty, **changes)


def drawn(*lanes: LaneStatus, width: int = 80, workers: list[dict[str, Any]] = ALIVE) -> str:
    console = Console(width=width, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(draw(Status(workers, list(lanes))))
    return capture.get()


def cells(text: str, name: str) -> list[str]:
    """Those of one row of the table."""
    row = next(line for line in text.splitlines() if line.startswith(f"│ {name} "))
    return [cell.strip() for cell in row.strip("│").split("│")][1:]


BUSY = {
    "new": 12_345_678, "ready": 1_234_567, "waiting": 1_234, "in_flight": 100, "complete": 1_500_000, "wanted": 2_735_901,
    "oldest_ready_s": 86_000.0, "delivered_last_minute": 6_000, "pace_per_s": 99.9, "done_share": 0.5482,
    "ends_in_s": 86_340.0, "ends_at": within(hours=23, minutes=59),
}  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
def test_four_crms_with_millions_fit_without_a_broken_cell(width):
    gates = [gate("hubspot"), gate("brevo", **HELD), gate("mautic", **{**DOWN, "breaker_reason": LONG}), gate("n8n", **THROTTLED)]
    failures = [{"code": "REJECTED", "contacts": 1_234_567, "sample": "REJECTED: " + "no " * 150}]
    text = drawn(*(lane(its.crm, its, **BUSY, failures=failures, last_error="REJECTED: no") for its in gates), width=width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert cells(text, "new") == ["12,345,678"] * 4
    assert cells(text, "ends in") == ["23 h 59 min"] * 4
    assert cells(text, "ends at") == ["Wed 12:06"] * 4
    assert cells(text, "state") == ["delivering", "paused", "down", "throttled"]
    # The long story stands below the table, whole.
    story = re.sub(r"\s+", " ", text.partition("└")[2])
    assert LONG.replace("  ", " ").strip() in story
    assert "To go on: crm-sync resume brevo" in story


def test_a_fifth_crm_gets_a_table_of_its_own_instead_of_breaking_the_four():
    text = drawn(*(lane(crm, **BUSY) for crm in (*CRMS, "pipedrive")))
    assert "…" not in text
    assert text.count("oldest ready") == 2


def test_progress_is_told_as_people_say_it():
    text = drawn(lane("brevo", **{**BUSY, "ends_in_s": 11_520.0, "ends_at": within(hours=3, minutes=12)}))
    assert [cells(text, name) for name in ("pace", "done", "ends in", "ends at")] == [
        ["100/s"],
        ["54.8 %"],
        ["3 h 12 min"],
        ["15:19"],
    ]


@pytest.mark.parametrize(
    ("changes", "row", "cell"),
    [
        ({"ready": 5, "pace_per_s": None}, "pace", "-"),
        ({"ready": 5, "ends_in_s": None}, "ends in", "-"),
        ({"complete": 56, "error": 1, "wanted": 100}, "done", "57.0 %"),
        ({"complete": 9_999_999, "wanted": 10_000_000}, "done", "99.9 %"),
        ({"complete": 10_000_000, "wanted": 10_000_000}, "done", "100 %"),
        ({"wanted": 0}, "done", ""),
        ({"pace_per_s": 0.05}, "pace", "3/min"),
        ({"pace_per_s": 9.82}, "pace", "9.8/s"),
        ({"pace_per_s": 34_627.3}, "pace", "34,627/s"),
        ({"oldest_ready_s": 0.3}, "oldest ready", "0.3 s"),
        ({}, "ends in", ""),
        ({}, "state", "idle"),
        ({"ready": 5, "oldest_ready_s": 3.0}, "state", "delivering"),
        ({"ready": 5, "oldest_ready_s": 300.0}, "state", "stalled"),
        ({"ready": 5, "oldest_ready_s": 300.0, "delivered_last_minute": 9}, "state", "delivering"),
    ],
)
def test_a_cell(changes, row, cell):
    assert cells(drawn(lane("brevo", **changes)), row) == [cell]


def test_the_end_within_a_minute_needs_no_clock():
    assert "ends at" not in drawn(lane("brevo", **{**BUSY, "ends_in_s": 42.0, "ends_at": within(seconds=42)}))


def test_nobody_delivers_without_a_worker():
    text = drawn(lane("brevo", **BUSY), workers=[])
    assert cells(text, "state") == ["no worker"]
    assert "start one with `crm-sync run`" in text


def test_a_reason_is_no_markup():
    held = gate(held_since=NOW, held_reason="[bold]see[/nothing] [/]")
    assert "[bold]see[/nothing] [/]" in drawn(lane("brevo", held))


# What is read.


def run(url: str, *arguments: str) -> str:
    """In a thread, for a command runs a loop of its own."""
    with ThreadPoolExecutor(1) as thread:
        env = {"DATABASE_URL": url, "COLUMNS": "80"}
        answer = thread.submit(CliRunner().invoke, crm_sync, ["status", *arguments], env=env).result()
    assert answer.exit_code == 0, (answer.output, answer.exception)
    return answer.output


def as_json(url: str, crm: str = "brevo") -> Mapping[str, Any]:
    return next(entry for entry in json.loads(run(url, "--json"))["lanes"] if entry["crm"] == crm)


async def deliver(app, count: int, *, seconds_ago: float) -> None:
    """Contacts as a worker leaves them that delivered them evenly since then."""
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


async def test_a_backfill_says_how_far_it_is_and_when_it_will_end_at_its_pace(app, url):
    await deliver(app, 100, seconds_ago=10.0)
    await line_up(app, 300)
    await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('a', 'New'), ('b', 'Skipped'), ('c', 'Selected')")
    told = as_json(url)
    assert (told["wanted"], told["done_share"]) == (400, 0.25)
    # Ten seconds ago it began: a hundred in them, and what it took to get here.
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
    told = as_json(url)
    assert (told["pace_per_s"], told["ends_in_s"], told["ends_at"], told["done_share"]) == (None, None, None, 0.25)


async def test_a_rejected_contact_is_done_too(app, url):
    await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('a', 'Error'), ('b', 'Queued')")
    assert as_json(url)["done_share"] == 0.5


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
    assert cells(run(as_worker(url)), "state") == ["no worker"] * 4


async def test_status_shows_a_crm_that_is_down_and_one_that_is_paused(app, url):
    await app.execute(
        "UPDATE crm_sync.lanes SET breaker = 'open', breaker_since = now() - interval '4 minutes', openings = 3, "
        "breaker_reason = 'UNREACHABLE: refused', next_probe_at = now() + interval '30 seconds' WHERE crm = 'mautic'"
    )
    await app.execute("UPDATE crm_sync.lanes SET held_since = now(), held_reason = 'key rotation' WHERE crm = 'brevo'")
    text = run(url)
    assert cells(text, "state") == ["no worker", "paused", "down", "no worker"]
    assert re.search(r"brevo +paused by hand since .* \(0 s\): key rotation", text)
    assert re.search(r"mautic +down since .* \(4 min\): UNREACHABLE: refused; next", text)


def test_deletions_are_shown_where_there_are_any_or_will_be():
    assert "deleted" not in drawn(lane("brevo"))
    assert cells(drawn(lane("brevo"), lane("mautic", on_delete="delete")), "deleted, to tell") == ["0", "0"]
    text = drawn(lane("brevo", deletions_waiting=1_234, deletions_failed=2, deletion_error="LOCKED: busy"))
    assert cells(text, "deleted, to tell") == ["1,234"]
    assert cells(text, "deleted, in error") == ["2"]
    assert "LOCKED: busy" in text
