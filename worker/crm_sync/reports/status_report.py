"""`crm-sync status` for people: a table with a column for each CRM, and below it everything too long for a cell.

States have the names used in the table's own columns.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import SegmentLines
from rich.table import Table
from rich.text import Text

from crm_sync.core.durations import clock, end, span
from crm_sync.reports.http_report import harmless
from crm_sync.reports.lane_label import label, stalled
from crm_sync.reports.layout import console, name, number, prose
from crm_sync.reports.status_reading import LaneStatus, Status

STATES = {
    "Queued, ready": "ready",
    "Queued, waiting": "waiting",
    "Processing": "in_flight",
    "Complete": "complete",
    "Error": "error",
    "Skipped": "skipped",
    "Selected": "selected",
    "New": "new",
}
UNIMPORTANT = ("waiting", "skipped", "selected", "new")  # left out on a small screen if they are 0
LANES_A_TABLE = 4  # at most: as many as fit into 80 columns
TITLES, CELL = 22, 13  # columns of the titles, and of a lane, with their borders
OF_COUNT = "Complete, Skipped, Selected, New and done"
JUST_NOW_S = 2.0

# For every state that is shown. docs/reference/status.md explains each.
STATE_STYLES = {
    "delivering": "green",
    "idle": "",
    **dict.fromkeys(("paused", "throttled", "probing"), "yellow"),
    **dict.fromkeys(("no worker", "stalled", "faulty", "down"), "red"),
}


def draw(current: Status) -> Group:
    """Everything."""
    alive = current.alive
    parts: list[RenderableType] = [_counts(lanes, alive) for lanes in _tables(current.lanes)]
    if any(lane.counted for lane in current.lanes):
        parts.append(Padding(Text(_age_of_counts(current.lanes)), (0, 1), expand=False))
    sentences = Table.grid(name(""), prose(""), padding=(0, 1))
    for lane in current.lanes:
        if (sentence := _sentence(lane, alive)) is not None:
            sentences.add_row(Text(lane.crm, style="bold"), Text(harmless(sentence)))
    if sentences.row_count:
        parts.append(Padding(sentences, (0, 1), expand=False))
    failures = _failures(current.lanes)
    if failures.row_count:
        parts.append(failures)
    parts.append(Padding(_workers(current, alive), (0, 1), expand=False))
    return Group(*parts)


class Screen:
    """The same, limited to the lines of the screen. said: shown below it."""

    def __init__(self, current: Status | None, said: str | None = None) -> None:
        self._current = current
        self._said = said

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        bottom = [] if self._said is None else console.render_lines(_one_line(self._said), options, pad=False)
        room = options.size.height - 1 - len(bottom)  # the cursor needs its own line
        lines = [] if self._current is None else console.render_lines(_short(self._current), options, pad=False)
        if len(lines) > room:
            more = f"... {len(lines) - room + 1} more lines: crm-sync status"
            lines = [*lines[: room - 1], *console.render_lines(_one_line(more), options, pad=False)]
        yield SegmentLines([*lines, *bottom], new_lines=True)


def _short(current: Status) -> Group:
    """One line, the most important first."""
    alive = current.alive
    parts: list[RenderableType] = [_counts(lanes, alive, short=True) for lanes in _tables(current.lanes)]
    parts.append(_workers(current, alive, counted=_counted(current.lanes)))
    sentences = ((lane.crm, _sentence(lane, alive)) for lane in current.lanes)
    parts += [_one_line(f"{crm}  {sentence.splitlines()[0]}") for crm, sentence in sentences if sentence]
    parts += [
        _one_line(f"{lane.crm}  {_of_code(failure)}  {failure['sample']}") for lane in current.lanes for failure in lane.failures
    ]
    return Group(*parts)


def _tables(lanes: Sequence[LaneStatus]) -> list[Sequence[LaneStatus]]:
    """The lanes of each table. In a narrow terminal they are fewer, because a cell that is cut says nothing."""
    most = max(1, min(LANES_A_TABLE, (console().width - TITLES) // CELL))
    return [lanes[start : start + most] for start in range(0, len(lanes), most)]


def _one_line(text: str) -> Text:
    return Text(harmless(text), no_wrap=True, overflow="ellipsis")


def _counts(lanes: Sequence[LaneStatus], alive: int, *, short: bool = False) -> Table:
    table = Table(name("contacts"), *(number(lane.crm) for lane in lanes), show_edge=not short)

    def row(title: str, cell: Callable[[LaneStatus], str]) -> None:
        table.add_row(title, *(cell(lane) if lane.counted else "?" for lane in lanes))

    states = [label(lane, alive) for lane in lanes]
    table.add_row("state", *(Text(state, style=STATE_STYLES[state]) for state in states))
    if not short:
        table.add_section()
    for title, state in STATES.items():
        if not short or state not in UNIMPORTANT or any(getattr(lane, state) for lane in lanes):
            row(title, lambda lane, state=state: _count(lane, state))  # type: ignore[misc]
    if any(lane.lost for lane in lanes):
        row("worker is gone", lambda lane: f"{lane.lost:,}")
    if not short:
        table.add_section()
    row("oldest ready", lambda lane: "" if lane.oldest_ready_s is None else _age(lane.oldest_ready_s))
    row("delivered in 1 min", lambda lane: f"{lane.delivered_last_minute:,}")
    row("pace", lambda lane: "-" if lane.pace_per_s is None else _pace(lane.pace_per_s))
    row("done", _percent)
    row("ends in", _ends_in)
    if not short and any(map(_ends_at, lanes)):
        row("ends at", _ends_at)
    if not short and any(lane.on_delete != "keep" or lane.deletions_waiting or lane.deletions_failed for lane in lanes):
        table.add_section()
        row("deletions waiting", lambda lane: _count(lane, "deletions_waiting"))
        row("deletions failed", lambda lane: _count(lane, "deletions_failed"))
    return table


def _count(lane: LaneStatus, state: str) -> str:
    """A number, and below it an estimate if it was not counted to the end."""
    found: int | None = getattr(lane, state)
    if found is None:
        return "?"
    if state not in lane.least:
        return f"{found:,}"
    about = lane.about.get(state)
    more = f">{max(0, found - 1):,}"
    return more if about is None else f"{more}\n~{about:,}"


def _counted(lanes: Sequence[LaneStatus]) -> str:
    """When the snapshot numbers were counted: the oldest of these times."""
    ages = [lane.counted_s for lane in lanes if lane.counted]
    known = [age_s for age_s in ages if age_s is not None]
    if len(known) < len(ages):
        return "not counted yet"
    return "counted just now" if max(known, default=0.0) < JUST_NOW_S else f"counted {span(max(known))} ago"


def _age_of_counts(lanes: Sequence[LaneStatus]) -> str:
    match _counted(lanes):
        case "not counted yet":
            return f"{OF_COUNT} are not counted yet: a worker does when it starts, crm-sync status --exact does now."
        case "counted just now" as counted:
            return f"{OF_COUNT}: {counted}."
        case counted:
            return f"{OF_COUNT}: {counted}, and moved on by what was delivered since. crm-sync status --exact counts now."


def _sentence(lane: LaneStatus, alive: int) -> str | None:
    """What the user should know besides the numbers. None: nothing."""
    if not lane.state.open:
        advice = f"\nTo go on: crm-sync resume {lane.crm}" if lane.state.held else ""
        return lane.state.sentence + advice
    return stalled(lane) if alive else None


def _age(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else span(seconds)


def _pace(per_s: float) -> str:
    if per_s < 1:
        return f"{60 * per_s:.0f}/min"
    return f"{per_s:.1f}/s" if per_s < 10 else f"{per_s:,.0f}/s"


def _percent(lane: LaneStatus) -> str:
    """Rounded down: 100 % means that all are done."""
    if lane.wanted is None:
        return "?"
    if not lane.wanted:
        return ""
    tenths = min(1000, 1000 * round((lane.done_share or 0.0) * lane.wanted) // lane.wanted)
    return "100 %" if tenths == 1000 else f"{tenths / 10} %"


def _ends_in(lane: LaneStatus) -> str:
    if not lane.ready + lane.in_flight + lane.waiting:
        return ""
    return "-" if lane.ends_in_s is None else span(lane.ends_in_s)


def _ends_at(lane: LaneStatus) -> str:
    """For anything that takes longer than a minute."""
    if lane.ends_in_s is None or lane.ends_at is None or lane.ends_in_s < 60:
        return ""
    return end(lane.ends_at, lane.state.now)


def _of_code(failure: Mapping[str, Any]) -> str:
    contacts = failure["contacts"]
    return f">{contacts - 1:,}" if failure["is_least"] else f"{contacts:,}"


def _failures(lanes: Sequence[LaneStatus]) -> Table:
    table = Table(name("CRM"), number("contacts"), prose("failed, for example"))
    for lane in lanes:
        for failure in lane.failures:
            table.add_row(lane.crm, _of_code(failure), Text(harmless(failure["sample"])))
    for lane in lanes:
        if lane.deletion_error is not None:
            table.add_row(lane.crm, "deleted", Text(harmless(lane.deletion_error)))
    for lane in lanes:
        if lane.last_error is not None:
            when = f"{clock(lane.last_failed_at, lane.state.now)}  " if lane.last_failed_at else ""
            table.add_section()
            table.add_row(lane.crm, "latest", Text(harmless(f"{when}{lane.last_error}")))
    return table


def _workers(current: Status, alive: int, *, counted: str | None = None) -> Text:
    dead = len(current.workers) - alive
    line = f"Workers alive: {alive}" + (f", dead and not yet cleaned up: {dead}" if dead else "")
    line = line if alive else f"{line}  (start one with `crm-sync run`)"
    return Text(line if counted is None else f"{line}; {counted}")
