"""What `crm-sync status` shows, as it is read from the database."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from crm_sync.core import forecast
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.reports.lane_state import LaneState, read_lane_states
from crm_sync.settings import Settings
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.schema import inspect_schema, not_installed

PATIENCE_S = 300.0  # counting a table of many millions takes a while


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One CRM. Ages in seconds; delivered_last_minute counts contacts, a contact delivered twice once.

    lost: of those in flight, the ones that no living worker has. counted: whether its contacts could be counted; else all counts
    are 0.

    deletions_waiting counts deleted contacts whose record is still to be deleted, deletions_failed those given up.
    pace_per_s, done_share and ends_in_s are those of `crm_sync.core.forecast`; None where it cannot be known. Without a worker
    there is neither a pace nor an end.
    """

    crm: str
    state: LaneState
    new: int
    selected: int
    skipped: int
    ready: int
    waiting: int
    in_flight: int
    complete: int
    error: int
    wanted: int
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


# What is counted over the contacts of one CRM.
COUNTS = (
    *("new", "selected", "skipped", "ready", "waiting", "in_flight", "complete", "error", "wanted"),
    *("delivered_last_minute", "deletions_waiting", "deletions_failed", "lost"),
)
_NOT_COUNTED = (
    *("oldest_ready_s", "last_delivered_at", "pace_per_s", "done_share", "ends_in_s", "ends_at"),
    *("last_error", "last_failed_at", "deletion_error"),
)


def _uncounted(lane_state: LaneState) -> LaneStatus:
    fields: dict[str, Any] = {**dict.fromkeys(COUNTS, 0), **dict.fromkeys(_NOT_COUNTED), "failures": [], "on_delete": "keep"}
    return LaneStatus(crm=lane_state.crm, state=lane_state, counted=False, **fields)


@dataclass(frozen=True, slots=True)
class Status:
    workers: list[dict[str, Any]]
    lanes: list[LaneStatus]

    @property
    def alive(self) -> int:
        """How many workers are."""
        return sum(worker["alive"] for worker in self.workers)

    @property
    def well(self) -> bool:
        """Whether nothing needs a person: no CRM is down, no lane faulty, and where contacts are ready, a worker is alive.

        A CRM that a person has paused is left to that person, and one that says "too many requests" to its pause.
        """
        return not any(lane.state.down or lane.state.fault is not None or (lane.ready and not self.alive) for lane in self.lanes)


async def read_status(settings: Settings, with_credentials: Collection[str] = ()) -> Status:
    """with_credentials: the CRMs that a worker with the settings of this command would deliver to.

    What is wrong with one CRM is its fault, and the others are counted all the same. Raises ConfigurationError where it is wrong
    with all, or DatabaseTroubleError.
    """
    async with Database.of(settings, size=1, timeout_s=PATIENCE_S) as database:
        schema = await inspect_schema(database)
        read = {crm: await _read_lane(database, table) for crm, table in {**schema.lanes, **schema.countable}.items()}
        workers = await database.fetch(query("list_workers"))
        # Last, because the counting takes a while, and these change by the second.
        lane_states = await read_lane_states(database)
        now = await database.value(query("read_clock"))
    alive = any(row["alive"] for row in workers)
    for crm, fault in schema.faults.items():
        if lane_states[crm].fault is None:
            lane_states[crm] = replace(lane_states[crm], fault=fault)
    for crm in with_credentials:
        if crm not in lane_states:
            lane_states[crm] = _not_installed(crm, now)
    lanes = [_lane(state, read.get(crm), alive=alive) for crm, state in lane_states.items()]
    return Status([dict(row) for row in workers], lanes)


def _not_installed(crm: str, now: datetime) -> LaneState:
    return LaneState(crm, "closed", now, None, None, 0, None, None, now, not_installed(crm))


async def _read_lane(database: Database, table: LaneTable) -> dict[str, Any]:
    counts = (await database.fetch(render("count_states", table.variables)))[0]
    failures = await database.fetch(render("count_failures", table.variables))
    last = await database.fetch(render("find_last_error", table.variables))
    error, failed_at = last[0] if last else (None, None)
    lost = await database.value(render("count_lost_claims", table.variables)) if counts["in_flight"] else 0
    deletions = (await database.fetch(render("count_tombstones", table.variables)))[0]
    return {
        **counts,
        **deletions,
        "lost": lost,
        "failures": [dict(row) for row in failures],
        "last_error": error,
        "last_failed_at": failed_at,
    }


def _lane(lane_state: LaneState, fields: dict[str, Any] | None, *, alive: bool) -> LaneStatus:
    """fields: as read; None where its columns are not whole."""
    if fields is None:
        return _uncounted(lane_state)
    delivering_s = fields.pop("delivering_s")
    # What the last minute was like says nothing of a worker that is gone.
    pace = forecast.pace_per_s(fields["delivered_last_minute"], delivering_s) if alive else None
    ends_in_s = forecast.ends_in_s(
        ready=fields["ready"],
        in_flight=fields["in_flight"],
        waiting=fields["waiting"],
        # Nor of a CRM that is not called now.
        pace=None if lane_state.held or lane_state.down else pace,
    )
    return LaneStatus(
        crm=lane_state.crm,
        state=lane_state,
        pace_per_s=pace,
        done_share=forecast.done_share(fields["complete"] + fields["error"], fields["wanted"]),
        ends_in_s=ends_in_s,
        ends_at=None if ends_in_s is None else lane_state.now + timedelta(seconds=ends_in_s),
        **fields,
    )
