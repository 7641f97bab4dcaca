"""What a contact in line is waiting for: the first of these that applies.

a pause, no worker, a fault, no lane, the breaker         all contacts of the CRM wait for it
the full look, a refusal of the table, a retry, a lock    only this contact waits for it
a limit of the account, those before it in line           it is the contact's turn after them
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from crm_sync.core import forecast
from crm_sync.core.durations import clock, end, local, span
from crm_sync.core.fairness import MOST_FRESH
from crm_sync.core.rate import Budget, Window, parse
from crm_sync.core.text import clean
from crm_sync.reports.lane_label import STALLED_S
from crm_sync.reports.lane_state import LaneState

BACKLOG = 100  # contacts before one: usually a claim
FULL_LOOK = "when it looks through the whole table, by default every 15 minutes"
SOON_S = 1.0  # waiting shorter than this for a limit is normal pacing
_UNITS = {86400: "day", 3600: "hour", 60: "minute", 1: "second"}


class Because(NamedTuple):
    """word: for scripts. words: the end of the sentence. advice: a command, or None."""

    word: str
    words: str
    advice: str | None = None


def reason_to_wait(crm: str, facts: Mapping[str, Any], lane_state: LaneState) -> Because:
    """facts: of `crm_sync.why`, for a contact in line."""
    return next(_reasons(crm, facts, lane_state))


def _reasons(crm: str, facts: Mapping[str, Any], state: LaneState) -> Iterator[Because]:
    lane = facts["lane"]
    if state.held:
        yield Because("paused", f"{crm} is {_only(state, held=True)}", f"crm-sync resume {crm}")
    if not lane["workers"]:
        yield Because("no worker", "no worker is running", "crm-sync run")
    if state.fault is not None and (lane["fault"] is None or not lane["workers_with_lane"]):
        yield Because("misconfigured", f"{crm} gets no deliveries, because of this: {state.fault}", "crm-sync check")
    if not lane["workers_with_lane"]:
        without = f"no worker that runs delivers to {crm}: it has no credentials there, or has not said so yet"
        yield Because("no lane", without, "crm-sync check")
    if state.down:
        yield Because("down", f"{crm} is {_only(state)}", None)
    if state.breaker != "closed":
        yield Because("throttled", f"{crm} says {_only(state)}", None)
    yield from _of_the_contact(facts)
    yield from _of_a_limit(crm, facts)
    yield _of_the_line(facts)


def _only(state: LaneState, *, held: bool = False) -> str:
    """The sentence for one of its reasons."""
    parts = state.sentence.split("; besides, ")
    return parts[0] if held else parts[-1]


def _of_the_contact(facts: Mapping[str, Any]) -> Iterator[Because]:
    now, row, line = datetime.fromisoformat(facts["now"]), facts["row"], facts["line"]
    due = datetime.fromisoformat(row["due_at"])
    if not line["has_line"]:
        yield Because(
            "full look",
            f"it has no entry in the line: a worker finds it {FULL_LOOK}",
        )
    if facts["refused"]:
        yield Because(
            "row refused", f"the contacts table refuses to have its row written: {clean(facts['refused'])}", "crm-sync check"
        )
    if due > now:
        tried, wait = row["attempts"], f"{when(due, now)} (in {span((due - now).total_seconds())})"
        failed = f"attempt {tried} failed with {clean(row['error'])}, and " if row["error"] else ""
        yield Because("retry", f"{failed}attempt {tried + 1} is due {wait}", None)
    if lock := facts["lock"]:
        yield Because("locked", f"{held_by(lock, now)} has its row locked, and workers do not wait for locks")


def when(at: datetime, now: datetime) -> str:
    """A time today, or on another day."""
    return f"{'at' if local(at).date() == local(now).date() else 'on'} {clock(at, now)}"


def held_by(lock: Mapping[str, Any], now: datetime) -> str:
    """The transaction that keeps a row locked, or has written to it."""
    since = None if lock["since"] is None else datetime.fromisoformat(lock["since"])
    ago = "" if since is None else f"since {clock(since, now)} ({span((now - since).total_seconds())})"
    if lock["prepared"] is not None:
        return f"the prepared transaction {clean(lock['prepared'])}{f', there {ago}' if ago else ''},"
    application = f" of {clean(lock['application'])}" if lock["application"] else ""
    return f"a transaction{application} (pid {lock['pid']}{f', open {ago}' if ago else ''})"


def _of_a_limit(crm: str, facts: Mapping[str, Any]) -> Iterator[Because]:
    """A long window of the account that is used up."""
    lane, now = facts["lane"], datetime.fromisoformat(facts["now"])
    windows = _windows(lane)
    budget = Budget.from_json(lane["budget"], windows).settled(windows, now.timestamp())
    for window in windows:
        free = budget.room_at(window, now.timestamp()) if not window.spaced else now.timestamp()
        if free - now.timestamp() > SOON_S:
            again = datetime.fromtimestamp(free, UTC)
            yield Because(
                "daily limit" if window.seconds >= 86400 else "limit",
                f"the limit of the account, {_per(window)}, is used up; {crm} is called again at {end(again, now)} "
                f"(in {span(free - now.timestamp())})",
            )


def _of_the_line(facts: Mapping[str, Any]) -> Because:
    lane, line, now = facts["lane"], facts["line"], datetime.fromisoformat(facts["now"])
    before = line["before"] if line["before_is_all"] else line["before_about"]
    pace = forecast.pace_per_s(lane["delivered_last_minute"], lane["delivering_s"])
    if not before:
        waited_s = (now - datetime.fromisoformat(facts["row"]["due_at"])).total_seconds()
        if pace is None and waited_s > STALLED_S:
            return Because("turn", "it is the next, but nothing was delivered in the last minute", "crm-sync status")
        return Because("turn", "it is the next")
    others = "1 other is" if before == 1 else f"{'' if line['before_is_all'] else 'about '}{before:,} others are"
    paces = [_per(window) for window in _windows(lane) if window.spaced]
    at_most = f", at most {' and '.join(paces)}" if paces else ""
    if before >= BACKLOG and line["behind"] <= MOST_FRESH:
        return Because(
            "backfill share",
            f"{others} before it, but it waits for only a few of them: a quarter of the requests is for flips after a backlog",
        )
    if pace is None:
        return Because("turn", f"{others} before it{at_most}, and nothing was delivered in the last minute", "crm-sync status")
    in_s = before / pace
    at = end(now + timedelta(seconds=in_s), now)
    turn = f"its turn comes in about {span(in_s)}" + (f", at {at}" if in_s > 60 else "")
    return Because("pace", f"{others} before it, and at the pace of the last minute ({pace:,.1f}/s{at_most}) {turn}")


def _windows(lane: Mapping[str, Any]) -> tuple[Window, ...]:
    try:
        return parse(lane["limits"] or "none")
    except ValueError:  # of another version
        return ()


def _per(window: Window) -> str:
    unit = _UNITS.get(int(window.seconds))
    return f"{window.limit:,} requests " + (f"a {unit}" if unit else f"in {span(window.seconds)}")
