"""The rights that a worker needs: what `crm-sync grants` grants, and what a worker and its lanes check before they open."""

from collections.abc import Iterable, Sequence

import asyncpg

from crm_sync.errors import ConfigurationError, StatementRefusedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.table.adopted_table import OWN_COLUMNS, ROLL_UP, AdoptedTable, LaneTable

# What the statements of sql/queries read and write in the schema crm_sync.
ACCOUNT = ("account", "account_since")  # the last columns that a migration has added for workers
LANES_WRITTEN = (
    "breaker",
    "breaker_since",
    "breaker_reason",
    "next_probe_at",
    "openings",
    "revision",
    "keeper",
    "newest_sent",
    *ACCOUNT,
)
FAULTS_WRITTEN = ("fault", "fault_since", "fault_worker")
LANES_READ = ("id", "crm", "remote_id_column", "installed", *LANES_WRITTEN, "held_since", "held_reason", "on_delete")
BUDGETS = ("crm", "budget")
TOMBSTONES_WRITTEN = ("due_at", "attempts", "error", "claimed_by")
ALERT_TABLES = ("crm_sync.alerts", "crm_sync.alert_codes")
PERMITS = ("lane", "number", "worker")
WORKERS_CHANGED = ("backend_pid", "backend_start")
WORKERS_WRITTEN = ("id", "host", "pid", "version", *WORKERS_CHANGED)
WORKERS_READ = (*WORKERS_WRITTEN, "started_at")
# Records of deliveries. Without these rights contacts are still delivered.
HISTORY_FORGOTTEN = ("key", "reason", "request_id", "remote_id", "trace")
# For reports to people: no lane needs these.
TELLING = ("crm_sync.snapshot", "crm_sync.progress")
TELLING_FUNCTIONS = (
    "contacts()",
    "full_name(regclass)",
    "line(text)",
    "unreadable_column(text)",
    "operators_of(regclass, text)",
    "count_contacts()",
    "lane_facts(text)",
    "line_facts(text, text, timestamptz)",
    "row_facts(text, text)",
    "lock_facts(xid)",
    "attempt_facts(text, text)",
    "why(text)",
)

Right = tuple[str, str, str]  # a relation, one of its columns or "" for all, and the privilege


async def require_worker_rights(database: Database) -> None:
    """Raises ConfigurationError that names the rights the worker's role lacks for any delivery, and who can grant them; also if
    the schema is of an older version.
    """
    try:
        await _require(
            database,
            [
                *_on("crm_sync.workers", WORKERS_READ, "SELECT"),
                *_on("crm_sync.workers", WORKERS_WRITTEN, "INSERT"),
                *_on("crm_sync.workers", WORKERS_CHANGED, "UPDATE"),
                *_on("crm_sync.workers", ("",), "DELETE"),
                *_on("crm_sync.living_workers", ("",), "SELECT"),
                *(right for privilege in ("SELECT", "INSERT", "UPDATE") for right in _on("crm_sync.permits", PERMITS, privilege)),
                *_on("crm_sync.permits", ("",), "DELETE"),
                *_on("crm_sync.lanes", ACCOUNT, "UPDATE"),
            ],
        )
    except StatementRefusedError as error:
        if not isinstance(error.__cause__, asyncpg.UndefinedTableError | asyncpg.UndefinedColumnError):
            raise
        raise ConfigurationError("the schema crm_sync is older than this worker: run `crm-sync migrate`") from error


async def require_rights(database: Database, table: AdoptedTable, lane: LaneTable) -> None:
    """Raises ConfigurationError that names the rights the worker's role lacks to deliver to this CRM, and who can grant them."""
    await _require(database, _needed(table, lane))


async def require_alert_rights(database: Database) -> None:
    """Raises ConfigurationError that names the rights the worker's role lacks for alerts; no delivery needs these."""
    written = ("SELECT", "INSERT", "UPDATE")
    await _require(
        database,
        [
            *_on("crm_sync.alert_duty", ("worker",), "UPDATE"),
            *_on("crm_sync.minutes", ("",), "SELECT"),
            *(right for privilege in ("SELECT", "INSERT") for right in _on("crm_sync.alert_duty", ("",), privilege)),
            *(right for table in ALERT_TABLES for privilege in (*written, "DELETE") for right in _on(table, ("",), privilege)),
        ],
    )


async def _require(database: Database, needed: Sequence[Right]) -> None:
    relations, columns, privileges = zip(*needed, strict=True)
    missing = await database.fetch(query("list_missing_rights"), relations, columns, privileges)
    if not missing:
        return
    names = [f"{row['privilege']} on {row['relation']} {row['column_name']}".rstrip() for row in missing]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    role = missing[0]["role"]
    raise ConfigurationError(
        f"the role {role} lacks {', '.join(names[:3])}{more}: let the owner of the table run what `crm-sync grants {role}` prints"
    )


def _needed(table: AdoptedTable, lane: LaneTable) -> Sequence[Right]:
    own = [*ROLL_UP, *(f"{lane.crm}_{column}" for column in OWN_COLUMNS), lane.remote_id_column]
    line = lane.variables["line"]
    return [
        *(right for privilege in ("SELECT", "INSERT", "DELETE") for right in _on(line, ("",), privilege)),
        *_on(table.name, ("ctid", table.key, table.email, *own), "SELECT"),
        *_on(table.name, own, "UPDATE"),
        *_on("crm_sync.lanes", LANES_READ, "SELECT"),
        *_on("crm_sync.lanes", LANES_WRITTEN, "UPDATE"),
        *(right for privilege in ("SELECT", "INSERT", "UPDATE") for right in _on("crm_sync.budgets", BUDGETS, privilege)),
        *_on("crm_sync.tombstones", ("",), "SELECT"),
        *_on("crm_sync.tombstones", TOMBSTONES_WRITTEN, "UPDATE"),
        *_on("crm_sync.tombstones", ("",), "DELETE"),
    ]


def _on(relation: str, columns: Iterable[str], privilege: str) -> list[Right]:
    return [(relation, column, privilege) for column in columns]
