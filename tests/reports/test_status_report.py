"""How `crm-sync status` shows what was read."""

import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from crm_sync.reports.lane_label import label
from crm_sync.reports.lane_state import LaneState
from crm_sync.reports.status_reading import LaneStatus, Status
from crm_sync.reports.status_report import STATE_STYLES, Screen, draw
from crm_sync.telling.labels import LANE_STATES
from tests.manual import page
from tests.reports.test_lane_state import DOWN, HELD, NOW, THROTTLED, lane_state, within

pytestmark = pytest.mark.usefixtures("utc")

CRMS = ("hubspot", "brevo", "mautic", "n8n")
LONG = "UNREACHABLE: no connection to the CRM (" + "a long story of what went wrong on the way there, " * 8 + ")"
ALIVE = [{"alive": True}]


def lane(crm: str, its_state: LaneState | None = None, **changes: Any) -> LaneStatus:
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
    rest |= {
        "counted_s": 3.0,
        "delivered_last_minute": 0,
        "failures": [],
        "on_delete": "keep",
        "deletions_waiting": 0,
        "deletions_failed": 0,
    }
    empty = LaneStatus(crm=crm, state=its_state or lane_state(crm), **counts, **rest)
    return replace(empty, **changes)


def failure(code: str, contacts: int, sample: str, *, is_least: bool = False) -> dict[str, Any]:
    return {"code": code, "contacts": contacts, "sample": sample, "is_least": is_least}


def drawn(*lanes: LaneStatus, width: int = 80, workers: list[dict[str, Any]] = ALIVE) -> str:
    console = Console(width=width, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(draw(Status(workers, list(lanes))))
    return capture.get()


def cells(text: str, name: str) -> list[str]:
    """Those of one row of the table."""
    row = next(line for line in text.splitlines() if line.startswith(f"│ {name} "))
    return [cell.strip() for cell in row.strip("│").split("│")][1:]


@pytest.mark.parametrize(
    ("width", "headings"), [(40, [["hubspot"], ["brevo"], ["mautic"], ["n8n"]]), (60, [["hubspot", "brevo"], ["mautic", "n8n"]])]
)
def test_a_narrow_terminal_gets_more_tables_and_no_cell_is_cut(monkeypatch, width, headings):
    monkeypatch.setenv("COLUMNS", str(width))
    text = drawn(*(lane(crm, new=1_234_567) for crm in CRMS), width=width)
    rows = [line.strip("┃").split("┃")[1:] for line in text.splitlines() if line.startswith("┃ contacts")]
    assert [[cell.strip() for cell in row] for row in rows] == headings
    assert "…" not in text


BUSY = {
    "new": 12_345_678, "ready": 1_234_567, "waiting": 1_234, "in_flight": 100, "complete": 1_500_000, "wanted": 2_735_901,
    "oldest_ready_s": 86_000.0, "delivered_last_minute": 6_000, "pace_per_s": 99.9, "done_share": 0.5482,
    "ends_in_s": 86_340.0, "ends_at": within(hours=23, minutes=59),
}  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
def test_four_crms_with_millions_fit_without_a_broken_cell(width):
    lane_states = [
        lane_state("hubspot"),
        lane_state("brevo", **HELD),
        lane_state("mautic", **{**DOWN, "breaker_reason": LONG}),
        lane_state("n8n", **THROTTLED),
    ]
    failures = [failure("REJECTED", 1_234_567, "REJECTED: " + "no " * 150)]
    text = drawn(*(lane(its.crm, its, **BUSY, failures=failures, last_error="REJECTED: no") for its in lane_states), width=width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert cells(text, "New") == ["12,345,678"] * 4
    assert cells(text, "ends in") == ["23 h 59 min"] * 4
    assert cells(text, "ends at") == ["Wed 12:06"] * 4
    assert cells(text, "state") == ["delivering", "paused", "down", "throttled"]
    # The long text is complete below the table.
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
        ({"done_share": 0.57, "wanted": 100}, "done", "57.0 %"),
        ({"done_share": 9_999_999 / 10_000_000, "wanted": 10_000_000}, "done", "99.9 %"),
        ({"done_share": 1.0, "wanted": 10_000_000}, "done", "100 %"),
        ({"wanted": None}, "done", "?"),
        ({"new": None}, "New", "?"),
        ({"ready": 1_234}, "Queued, ready", "1,234"),
        ({"error": 10_001, "least": ["error"]}, "Error", ">10,000"),
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
        ({"ready": 5, "oldest_ready_s": 3600.0, "in_flight": 2}, "state", "stalled"),
        ({"ready": 5, "oldest_ready_s": 299.0, "in_flight": 2}, "state", "delivering"),
        ({"ready": 5, "oldest_ready_s": 3600.0, "in_flight": 2, "last_delivered_at": within(minutes=-4)}, "state", "delivering"),
        ({"ready": 5, "oldest_ready_s": 3600.0, "in_flight": 2, "last_delivered_at": within(minutes=-6)}, "state", "stalled"),
    ],
)
def test_a_cell(changes, row, cell):
    assert cells(drawn(lane("brevo", **changes)), row) == [cell]


def test_what_was_not_counted_to_the_end_is_the_least_and_about_how_many():
    text = drawn(lane("brevo", ready=9_998, least=["ready", "in_flight"], about={"ready": 980_000}))
    [first, second] = [line for line in text.splitlines() if "9,997" in line or "980,000" in line]
    assert first.split()[3:] == ["│", ">9,997", "│"]
    assert second.split() == ["│", "│", "~980,000", "│"]
    failures = [failure("REJECTED", 10_001, "REJECTED: no", is_least=True)]
    assert ">10,000 │ REJECTED: no" in drawn(lane("brevo", failures=failures))


@pytest.mark.parametrize(
    ("age_s", "said"),
    [
        (0.5, "counted just now."),
        (400.0, "counted 7 min ago, and moved on by what was delivered since."),
        (None, "are not counted yet: a worker does when it starts, crm-sync status --exact does now."),
    ],
)
def test_the_age_of_what_is_not_live_stands_below_it(age_s, said):
    assert said in " ".join(drawn(lane("brevo", counted_s=age_s), lane("mautic", counted_s=0.5)).split())
    one_line = on_a_screen(Status(ALIVE, [lane("brevo", counted_s=age_s)]), width=120)
    assert sum("counted" in line for line in one_line) == 1


def test_the_end_within_a_minute_needs_no_clock():
    assert "ends at" not in drawn(lane("brevo", **{**BUSY, "ends_in_s": 42.0, "ends_at": within(seconds=42)}))


def test_nobody_delivers_without_a_worker():
    text = drawn(lane("brevo", **BUSY), workers=[])
    assert cells(text, "state") == ["no worker"]
    assert "start one with `crm-sync run`" in text


def test_contacts_in_flight_that_no_living_worker_has_are_counted_where_there_are_any():
    assert "worker is gone" not in drawn(lane("brevo", in_flight=3))
    text = drawn(lane("brevo", in_flight=1_234, lost=1_230), lane("mautic", in_flight=1))
    assert cells(text, "worker is gone") == ["1,230", "0"]


def test_a_reason_is_no_markup():
    held = lane_state(held_since=NOW, held_reason="[bold]see[/nothing] [/]")
    assert "[bold]see[/nothing] [/]" in drawn(lane("brevo", held))


def test_deletions_are_shown_where_there_are_any_or_will_be():
    assert "deleted" not in drawn(lane("brevo"))
    assert cells(drawn(lane("brevo"), lane("mautic", on_delete="delete")), "deletions waiting") == ["0", "0"]
    text = drawn(lane("brevo", deletions_waiting=1_234, deletions_failed=2, deletion_error="LOCKED: busy"))
    assert cells(text, "deletions waiting") == ["1,234"]
    assert cells(text, "deletions failed") == ["2"]
    assert "LOCKED: busy" in text


def on_a_screen(current: Status | None, said: str | None = None, *, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(Screen(current, said), end="")
    return capture.get().splitlines()


def test_the_worst_day_fits_a_screen_and_says_that_there_is_more():
    failures = [failure(f"CODE_{number}", 9, "REJECTED: " + "no " * 150) for number in range(10)]
    lanes = [
        lane(crm, lane_state(crm, **{**DOWN, "breaker_reason": LONG}), **BUSY, skipped=1, selected=2, failures=failures)
        for crm in CRMS
    ]
    lines = on_a_screen(Status([], lanes), "12:00:00  The database cannot be asked")
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "Workers alive: 0" in text
    assert all(f"{crm}  down since" in text for crm in CRMS)
    assert "more lines: crm-sync status" in lines[-2]
    assert lines[-1] == "12:00:00  The database cannot be asked"


def test_a_quiet_day_leaves_out_what_there_is_none_of():
    lines = on_a_screen(Status(ALIVE, [lane(crm) for crm in CRMS]))
    assert len(lines) <= 15
    assert not any("Selected" in line or "more lines" in line for line in lines)


def test_before_the_database_was_asked_for_the_first_time_the_screen_says_why():
    assert on_a_screen(None, "The database cannot be asked") == ["The database cannot be asked"]


def test_nothing_that_a_terminal_obeys_is_printed():
    escape = "\x1b]0;pwned\x07\x1b[2J"
    failures = [failure("REJECTED", 1, f"REJECTED: {escape}")]
    held = lane_state("brevo", **{**HELD, "held_reason": escape})
    lanes = [lane("brevo", held, failures=failures, last_error=escape, deletion_error=escape)]
    for text in (drawn(*lanes), "\n".join(on_a_screen(Status(ALIVE, lanes), escape))):
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "pwned" in text


def test_every_state_that_is_shown_is_explained_and_no_other():
    section = page("reference/status.md").partition("## The states of a lane")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| ([a-z ]+) \|", section, re.MULTILINE)) - {"state"} == set(STATE_STYLES)


BROKEN = [{}, *({"breaker": word, "openings": count} for word in ("throttled", "open", "half-open") for count in (0, 2))]
LANES = [
    {**broken, **more} for broken in BROKEN for more in ({}, {"held_since": NOW, "held_reason": "x"}, {"fault": "no column"})
]


@pytest.mark.parametrize("state", LANES)
@pytest.mark.parametrize("counts", [{}, {"ready": 5}, {"ready": 5, "oldest_ready_s": 300.0}, {"in_flight": 1}])
@pytest.mark.parametrize("alive", [0, 1])
def test_a_state_that_is_shown_is_one_of_those(state, counts, alive):
    shown = label(lane("brevo", lane_state("brevo", **state), **counts), alive)
    assert shown in STATE_STYLES
    assert STATE_STYLES.keys() >= {*LANE_STATES}
