"""What `crm-sync status` shows, as it is read from the database."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from crm_sync.core import forecast
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.reports.lane_state import LaneState, read_lane_states
from crm_sync.settings import Settings
from crm_sync.table.contacts import LaneTable
from crm_sync.table.schema import read_schema

PATIENCE_S = 300.0  # counting a table of many millions takes a while


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One CRM. Ages in seconds; delivered_last_minute counts contacts, a contact delivered twice once.

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
        """Whether nothing needs a person: no CRM is down, and where contacts are ready, a worker is alive.

        A CRM that a person has paused is left to that person, and one that says "too many requests" to its pause.
        """
        return not any(lane.state.down or (lane.ready and not self.alive) for lane in self.lanes)


async def read_status(settings: Settings) -> Status:
    """Raises ConfigurationError or DatabaseTroubleError."""
    async with Database(
        settings.database_url, size=1, behind_pooler=settings.database_behind_pooler, timeout_s=PATIENCE_S
    ) as database:
        schema = await read_schema(database)
        read = {crm: await _read_lane(database, table) for crm, table in schema.lanes.items()}
        workers = await database.fetch(query("list_workers"))
        # Last, because the counting takes a while, and these change by the second.
        lane_states = await read_lane_states(database)
    alive = any(row["alive"] for row in workers)
    return Status([dict(row) for row in workers], [_lane(lane_states[crm], fields, alive=alive) for crm, fields in read.items()])


async def _read_lane(database: Database, table: LaneTable) -> dict[str, Any]:
    counts = (await database.fetch(render("count_states", table.variables)))[0]
    failures = await database.fetch(render("count_failures", table.variables))
    last = await database.fetch(render("find_last_error", table.variables))
    error, failed_at = last[0] if last else (None, None)
    deletions = (await database.fetch(render("count_tombstones", table.variables)))[0]
    return {**counts, **deletions, "failures": [dict(row) for row in failures], "last_error": error, "last_failed_at": failed_at}


def _lane(lane_state: LaneState, fields: dict[str, Any], *, alive: bool) -> LaneStatus:
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
