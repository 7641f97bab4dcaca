"""The state of a contact, and what will happen to it, in words. How rows get there: tests/commands/test_preview.py."""

from dataclasses import replace

import pytest

from crm_sync.reports.contact_report import MOST_ROWS, prospect, rows, state, who
from crm_sync.table.one_contact import Match
from tests.reports.test_lane_state import DOWN, HELD, NOW, ago, lane_state, within

pytestmark = pytest.mark.usefixtures("utc")

WORKERS = {3: {"pid": 77, "host": "app-1", "alive": True}}
DEAD = {3: {**WORKERS[3], "alive": False}}
NEW = Match(7, "New", None, None, None, 0, None, None, None, None, NOW)
QUEUED = replace(NEW, sync_status="Queued", due_at=ago(minutes=4))
WAITING = replace(QUEUED, due_at=within(minutes=4), processing_error="TIMEOUT: slow", attempts=1)
COMPLETE = replace(NEW, sync_status="Complete", synced_at=ago(minutes=4), remote_id="42")
IN_FLIGHT = replace(QUEUED, sync_status="Processing", claimed_by=3 << 32, attempts=1)


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize(
    ("match", "words"),
    [
        (NEW, "New: nobody has asked for it here"),
        (QUEUED, "Queued: in line since 12:03:10 (4 min)"),
        (WAITING, "Queued: waits until 12:11:10 (in 4 min), after TIMEOUT: slow"),
        (
            replace(QUEUED, due_at=None),
            "Queued, but no trigger saw the flip: a worker that looks through the whole table puts it in line",
        ),
        (COMPLETE, "Complete; delivered last 12:03:10 as record 42"),
        (replace(NEW, sync_status="Error", processing_error="REJECTED: no"), "Error: REJECTED: no"),
        (IN_FLIGHT, "in flight with worker 3 (process 77 on app-1), attempt 1"),
        (
            replace(IN_FLIGHT, sync_status="Skipped"),
            "in flight with worker 3 (process 77 on app-1), attempt 1; withdrawn meanwhile (Skipped)",
        ),
    ],
)
def test_a_state_is_told_in_words(match, words):
    assert state(match, WORKERS) == words


def test_who_has_it_in_flight_may_be_gone():
    assert who(IN_FLIGHT, DEAD).startswith("worker 3 (process 77 on app-1), which has died")
    assert who(IN_FLIGHT, {}) == "worker 3, which is no longer known"


@pytest.mark.parametrize(
    ("match", "changes", "workers", "reachable", "words"),
    [
        (IN_FLIGHT, {}, WORKERS, True, "it is being sent"),
        (NEW, {}, WORKERS, True, "nothing, until it is flipped or sent by hand (crm-sync sync)"),
        (COMPLETE, {}, WORKERS, True, "nothing, until it is flipped again or sent by hand (crm-sync sync)"),
        (
            QUEUED,
            HELD,
            {},
            False,
            "nothing: there are no credentials in these settings. It waits in line",
        ),
        (QUEUED, {**HELD, **DOWN}, DEAD, True, "nothing, until the CRM is resumed: crm-sync resume brevo"),
        (QUEUED, DOWN, DEAD, True, "nothing, until a worker runs: crm-sync run"),
        (QUEUED, DOWN, WORKERS, True, "a worker sends it once the CRM answers again"),
        (WAITING, {}, WORKERS, True, "a worker sends it when it is due"),
        (QUEUED, {}, WORKERS, True, "a worker sends it in its turn"),
    ],
)
def test_the_first_obstacle_is_the_one_that_is_told(match, changes, workers, reachable, words):
    assert prospect(match, lane_state(**changes), reachable=reachable, workers=workers) == words


def test_of_one_address_the_row_that_is_meant_comes_first():
    others = [replace(COMPLETE, id=number) for number in range(100, 112)]
    assert list(rows([QUEUED])) == ["  row      7"]
    meant, twins = rows([QUEUED, *others])
    assert meant == "  row      7"
    said = " ".join(twins.split())
    assert said.startswith("12 other rows have this address: 100 (Complete), 101 (Complete), ")
    assert said.count("(Complete)") == MOST_ROWS
    assert said.endswith("and 2 more. Sent is the one above: of those in line it was flipped last")
