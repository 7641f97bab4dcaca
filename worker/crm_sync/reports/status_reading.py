"""Reads what `crm-sync status` shows from the database, at a cost that does not grow with the table.

ready, waiting, in flight, in Error    live, from the lines and the index of failures, each up to MOST; beyond that,
                                       a lower bound and an estimate
New, Selected, Skipped, Complete       from the snapshot that a worker makes, with its age; if the table is small, all states
                                       are counted now
the pace                               from what living workers report
"""

from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from crm_sync.core import forecast
from crm_sync.errors import ConfigurationError, StatementRefusedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.reports.lane_state import LaneState, read_lane_states
from crm_sync.reports.snapshot_counts import Counted, count_small, read_snapshots
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.schema import Schema, inspect_schema, not_installed

MOST = 10_000  # limit for exact counts
NEWEST = 1_000  # lines at the end of a backlog that are examined for contacts in flight
CODES = 20  # of failures that are listed; of all of them together, 2 * MOST contacts are examined


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One CRM. Ages in seconds; None if unknown. delivered_last_minute counts deliveries.

    least: the counts that are only lower bounds. about: estimates for these. counted: whether its contacts could be counted;
    otherwise there are no counts. counted_at and counted_s: when the snapshot was made, and its age: new, selected, skipped,
    complete, wanted and done_share are from then, updated by deliveries since. lost: contacts in flight that no living worker
    has.

    deletions_waiting counts deleted contacts whose record is still to be deleted, deletions_failed those given up. pace_per_s,
    done_share and ends_in_s are from `crm_sync.core.forecast`. Without a worker there is neither a pace nor an end.
    """

    crm: str
    state: LaneState
    new: int | None
    selected: int | None
    skipped: int | None
    ready: int
    waiting: int
    in_flight: int
    complete: int | None
    error: int
    wanted: int | None
    oldest_ready_s: float | None
    delivered_last_minute: int
    last_delivered_at: datetime | None
    pace_per_s: float | None
    done_share: float | None
    ends_in_s: float | None
    ends_at: datetime | None
    last_error: str | None
    last_failed_at: datetime | None
    failures: list[dict[str, Any]]
    on_delete: str
    deletions_waiting: int
    deletions_failed: int
    deletion_error: str | None
    lost: int = 0
    counted: bool = True
    counted_at: datetime | None = None
    counted_s: float | None = None
    least: list[str] = field(default_factory=list)
    about: dict[str, int] = field(default_factory=dict)


# What is counted for the contacts of one CRM: live, and in the snapshot.
LIVE = (*("ready", "waiting", "in_flight", "error", "delivered_last_minute", "deletions_waiting", "deletions_failed", "lost"),)
OF_SNAPSHOT = ("new", "selected", "skipped", "complete")
COUNTS = (*LIVE, *OF_SNAPSHOT, "wanted")
_NOT_COUNTED = (
    *("oldest_ready_s", "last_delivered_at", "pace_per_s", "done_share", "ends_in_s", "ends_at"),
    *("last_error", "last_failed_at", "deletion_error", *OF_SNAPSHOT, "wanted"),
)


def _uncounted(lane_state: LaneState) -> LaneStatus:
    fields: dict[str, Any] = {**dict.fromkeys(LIVE, 0), **dict.fromkeys(_NOT_COUNTED), "failures": [], "on_delete": "keep"}
    return LaneStatus(crm=lane_state.crm, state=lane_state, counted=False, **fields)


@dataclass(frozen=True, slots=True)
class Status:
    workers: list[dict[str, Any]]
    lanes: list[LaneStatus]

    @property
    def alive(self) -> int:
        """The number of living workers."""
        return sum(worker["alive"] for worker in self.workers)


async def read_status(
    database: Database,
    with_credentials: Collection[str] = (),
    *,
    exact: bool = False,
    refused: MutableMapping[str, ConfigurationError] | None = None,
    most: int = MOST,
) -> Status:
    """with_credentials: the CRMs that a worker with the settings of this command would deliver to. exact: all numbers are from
    the snapshot, which was made just now. refused: collects the CRMs whose contacts this role may not count, and why; without it,
    the first one raises. most: the limit of each count. A small table is counted now, in one pass.

    A problem of one CRM is reported as its fault, and the others are counted anyway. Raises ConfigurationError if it affects all,
    or DatabaseTroubleError.
    """
    schema = await inspect_schema(database)
    tables = {**schema.lanes, **schema.countable}
    snapshot = await read_snapshots(database)
    counted_now = await count_small(database)
    paces = await _paces(database)
    read = {}
    for crm, table in tables.items():
        try:
            read[crm] = await _read_lane(database, table, most)
        except ConfigurationError as error:
            if refused is None:
                raise
            refused[crm] = error
    workers = await database.fetch(query("list_workers"))
    # Last, because these change every second.
    lane_states = await _lane_states(database, schema, with_credentials)
    alive = any(row["alive"] for row in workers)
    lanes = []
    for crm, state in lane_states.items():
        fields = read.get(crm)
        if fields is None:
            lanes.append(_uncounted(state))
            continue
        counted = counted_now.get(crm, snapshot.get(crm))
        fields = _with_snapshot(fields, counted, exact=exact or crm in counted_now)
        lanes.append(_lane(state, fields, paces.get(crm, _NO_PACE), alive=alive))
    return Status([dict(row) for row in workers], lanes)


async def _lane_states(database: Database, schema: Schema, with_credentials: Collection[str]) -> dict[str, LaneState]:
    """With the faults of columns and triggers, and of CRMs that have credentials but are not installed."""
    lane_states = await read_lane_states(database)
    now = await database.value(query("read_clock"))
    for crm, fault in schema.faults.items():
        if lane_states[crm].fault is None:
            lane_states[crm] = replace(lane_states[crm], fault=fault)
    for crm in with_credentials:
        if crm not in lane_states:
            lane_states[crm] = LaneState(crm, "closed", now, None, None, 0, None, None, now, not_installed(crm))
    return lane_states


# The snapshot and the pace.

_NO_PACE: Mapping[str, Any] = {"delivered_last_minute": 0, "delivering_s": None, "last_delivered_at": None}


async def _paces(database: Database) -> dict[str, Mapping[str, Any]]:
    try:
        return {row["crm"]: dict(row) for row in await database.fetch(query("read_pace"))}
    except StatementRefusedError:
        return {}


def _with_snapshot(fields: dict[str, Any], counted: Counted | None, *, exact: bool) -> dict[str, Any]:
    if counted is None:
        return {**fields, **dict.fromkeys((*OF_SNAPSHOT, "wanted", "done_share", "counted_at", "counted_s", "latest"))}
    contacts = counted.contacts
    fields = {
        **fields,
        **{state: contacts.get(state, 0) for state in OF_SNAPSHOT},
        "counted_at": counted.at,
        "counted_s": counted.age_s,
        "latest": counted.latest,
    }
    if exact:
        fields |= {
            **{state: contacts.get(state.replace("_", " "), 0) for state in ("ready", "waiting", "in_flight")},
            "error": contacts.get("error", 0) + contacts.get("silent", 0),
            "least": [],
            "about": {},
        }
    else:
        fields["error"] += contacts.get("silent", 0)  # these are in no index
    silent = contacts.get("silent", 0)
    if "error" in fields["least"]:
        fields["about"]["error"] = max(fields["error"], contacts.get("error", 0) + silent)
    not_done = contacts.get("unseen", 0) + sum(_about(fields, state) for state in ("ready", "waiting", "in_flight"))
    # Contacts flipped since the count were in another state then.
    most_done = max(0, sum(contacts.values()) - not_done)
    done = min(fields["complete"] + _about(fields, "error"), most_done)
    return {**fields, "wanted": done + not_done, "done_share": forecast.done_share(done, done + not_done)}


def _about(fields: Mapping[str, Any], state: str) -> int:
    return int(fields["about"].get(state, fields[state]))


# Live numbers.


async def _read_lane(database: Database, table: LaneTable, most: int) -> dict[str, Any]:
    line = dict((await database.fetch(render("count_line", table.variables), most + 1, NEWEST))[0])
    least = [state for state in ("ready", "waiting") if line.pop(f"{state}_is_least")]
    about: dict[str, int] = {}
    if least:
        estimate = (await database.fetch(render("estimate_line", table.variables)))[0]
        about = {state: max(line[state], estimate[state]) for state in least}
        if "ready" in least:
            least.append("in_flight")
    codes = [dict(row) for row in await database.fetch(render("count_codes", table.variables), 2 * most, CODES)]
    if any(code["is_least"] for code in codes) or len(codes) == CODES:
        least.append("error")
    latest = max((code for code in codes if code["failed_at"] is not None), key=lambda code: code["failed_at"], default=None)
    deletions = dict((await database.fetch(render("count_tombstones", table.variables)))[0])
    return {
        **line,
        **deletions,
        "error": sum(code["in_error"] for code in codes),
        "failures": [{name: code[name] for name in ("code", "contacts", "sample", "is_least")} for code in codes],
        # If there are more than were examined, the latest one is not known.
        "last_error": None if latest is None or "error" in least else latest["last_error"],
        "last_failed_at": None if latest is None or "error" in least else latest["failed_at"],
        "least": least + [name for name in ("deletions_waiting", "deletions_failed") if deletions[name] > MOST],
        "about": about,
    }


def _lane(lane_state: LaneState, fields: dict[str, Any], pace_of: Mapping[str, Any], *, alive: bool) -> LaneStatus:
    latest = [moment for moment in (fields.pop("latest"), pace_of["last_delivered_at"]) if moment is not None]
    delivered = pace_of["delivered_last_minute"]
    # The last minute says nothing about a worker that is gone.
    pace = forecast.pace_per_s(delivered, pace_of["delivering_s"]) if alive else None
    ends_in_s = forecast.ends_in_s(
        ready=_about(fields, "ready"),
        in_flight=fields["in_flight"],
        waiting=_about(fields, "waiting"),
        # Nor about a CRM that is not called now.
        pace=None if lane_state.held or lane_state.down else pace,
    )
    return LaneStatus(
        crm=lane_state.crm,
        state=lane_state,
        delivered_last_minute=delivered,
        last_delivered_at=max(latest, default=None),
        pace_per_s=pace,
        ends_in_s=ends_in_s,
        ends_at=None if ends_in_s is None else lane_state.now + timedelta(seconds=ends_in_s),
        **fields,
    )
