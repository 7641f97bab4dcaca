"""The proof of a verdict: the facts behind it, for people."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from crm_sync.core.durations import local, zone
from crm_sync.reports.verdict import Verdict

# Of the row, by the column's name after the CRM's.
COLUMNS = (
    *("sync_status", "processing_status", "attempts", "flipped_at", "due_at", "synced_at", "claimed_by"),
    *("remote_id", "error"),
)
MOST_OTHERS = 3

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00")


def proof(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """(label, text)."""
    facts = verdict.facts
    if row := facts.get("row"):
        yield "row", ", ".join(f"{_name(verdict.crm, name)} {_written(row[name])}" for name in COLUMNS if row[name] is not None)
    if line := facts.get("line"):
        yield "line", _line(line)
    if others := facts.get("others"):
        named = ", ".join(f"{other['key']} ({other['sync_status']})" for other in others[:MOST_OTHERS])
        yield "others", f"with the same id in the CRM: {named}{' and more' if len(others) > MOST_OTHERS else ''}"
    for attempt in facts.get("attempts") or ():
        yield "attempt", _attempt(attempt)
    if verdict.verdict in ("in line", "waiting", "in flight", "unseen", "deleted"):
        yield "delivery", _delivery(facts["lane"])


def _name(crm: str, column: str) -> str:
    return {"remote_id": "record id", "error": f"{crm}_processing_error"}.get(column, f"{crm}_{column}")


def _written(value: object) -> str:
    """A time in the reader's time zone."""
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return f"{local(datetime.fromisoformat(value)):%Y-%m-%d %H:%M:%S}{zone()}"
    return str(value)


def _line(line: Mapping[str, Any]) -> str:
    if not line["has_line"]:
        return "it has none"
    before = f"{line['before']:,}" if line["before_is_all"] else f"about {line['before_about']:,}"
    behind = line["behind"]
    return f"{before} before it, {'more than 50' if behind > 50 else behind} due behind it"


def _attempt(attempt: Mapping[str, Any]) -> str:
    said = [_written(attempt["at"]), attempt["outcome"]]
    said += [attempt["code"]] if attempt["code"] else []
    said += [f"status {attempt['status']}"] if attempt["status"] else []
    said += [f"{attempt['took_ms']} ms"] if attempt["took_ms"] is not None else []
    return ", ".join(map(str, said))


def _called(lane: Mapping[str, Any]) -> str:
    if lane["held_since"]:
        return "paused"
    return "the CRM may be called" if lane["breaker"] == "closed" else f"the CRM is not called (breaker {lane['breaker']})"


def _delivery(lane: Mapping[str, Any]) -> str:
    said = [
        _called(lane),
        f"{lane['workers']} worker{'' if lane['workers'] == 1 else 's'}, {lane['workers_with_lane']} with this CRM",
        f"{lane['delivered_last_minute']:,} delivered in the last minute",
    ]
    return ", ".join(said) + (f", limits {lane['limits']}" if lane["limits"] not in (None, "none") else "")
