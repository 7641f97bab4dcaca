"""The state of a contact in one CRM, and what will happen to it, in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crm_sync.core.durations import clock, span
from crm_sync.reports.lane_state import LaneState
from crm_sync.reports.layout import labelled
from crm_sync.table.one_contact import Match, Standing

MOST_ROWS = 10  # with one address that are listed

Workers = Mapping[int, Mapping[str, Any]]


def state(match: Match, workers: Workers) -> str:
    """The state of a row."""
    match match.standing:
        case Standing.IN_FLIGHT:
            return f"in flight with {who(match, workers)}, attempt {match.attempts}{_meanwhile(match)}"
        case Standing.UNSEEN:
            return "Queued, but no trigger saw the flip: a worker that looks through the whole table puts it in line"
        case Standing.IN_LINE | Standing.WAITING if match.due_at is not None:
            failed = f", after {match.processing_error}" if match.processing_error else ""
            wait_s = (match.due_at - match.now).total_seconds()
            if match.standing is Standing.WAITING:
                return f"Queued: waits until {clock(match.due_at, match.now)} (in {span(wait_s)}){failed}"
            return f"Queued: in line since {clock(match.due_at, match.now)} ({span(-wait_s)}){failed}"
        case Standing.NOT_ASKED_FOR:
            return f"{match.sync_status}: nobody has asked for it here{_delivered(match)}"
    said = f": {match.processing_error}" if match.processing_error else ""
    return f"{match.sync_status}{said}{_delivered(match)}"


def who(match: Match, workers: Workers) -> str:
    """The worker that has the contact in flight."""
    worker = workers.get(match.worker or 0)
    if worker is None:
        return f"worker {match.worker}, which is no longer known"
    place = f"worker {match.worker} (process {worker['pid']} on {worker['host']})"
    return place if worker["alive"] else f"{place}, which has died: a running worker puts it back in line within seconds"


def prospect(match: Match, lane_state: LaneState, *, reachable: bool, workers: Workers) -> str:
    """What happens next if nobody intervenes. reachable: there are credentials."""
    if match.standing is Standing.IN_FLIGHT:
        return "it is being sent"
    if match.standing in (Standing.NOT_ASKED_FOR, Standing.SETTLED):
        again = "again " if match.standing is Standing.SETTLED else ""
        return f"nothing, until it is flipped {again}or sent by hand (crm-sync sync)"
    alive = any(worker["alive"] for worker in workers.values())
    obstacles = {
        "nothing: there are no credentials in these settings. It waits in line": not reachable,
        f"nothing, until the CRM is resumed: crm-sync resume {lane_state.crm}": lane_state.held,
        "nothing, until a worker runs: crm-sync run": not alive,
        "a worker sends it once the CRM answers again": not lane_state.open,
        "a worker sends it when it is due": match.standing is Standing.WAITING,
    }
    return next((words for words, holds in obstacles.items() if holds), "a worker sends it in its turn")


def rows(matches: Sequence[Match]) -> Iterator[str]:
    """The row that is meant, and the others with its address."""
    meant, others = matches[0], matches[1:]
    yield labelled("row", str(meant.id))
    if others:
        named = [f"{other.id} ({other.sync_status})" for other in others[:MOST_ROWS]]
        more = f" and {len(others) - MOST_ROWS} more" if len(others) > MOST_ROWS else ""
        those = "another row has" if len(others) == 1 else f"{len(others)} other rows have"
        which = "of those in line it" if meant.standing in (Standing.IN_LINE, Standing.WAITING) else "it"
        yield labelled("", f"{those} this address: {', '.join(named)}{more}. Sent is the one above: {which} was flipped last")


def _meanwhile(match: Match) -> str:
    if match.sync_status == "Processing":
        return ""
    if match.sync_status == "Queued":
        return "; flipped again meanwhile, so it goes out once more after it"
    return f"; withdrawn meanwhile ({match.sync_status})"


def _delivered(match: Match) -> str:
    if match.synced_at is None:
        return ""
    return f"; delivered last {clock(match.synced_at, match.now)}" + (f" as record {match.remote_id}" if match.remote_id else "")
