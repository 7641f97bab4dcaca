"""What the database must have for the worker to run on it, and what is wrong if it does not."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crm_sync.core.table_words import WITHOUT_ROWS, obstacle
from crm_sync.core.traceparent import COLUMN as TRACE
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.table.adopted_table import OWN_COLUMNS, ROLL_UP, AdoptedTable, LaneTable

TRIGGERS = ("update", "update_stale", "insert", "placed", "key")
MOVED = "moved"  # of a partitioned table
DELETED = "deleted"  # if deleted contacts are also deleted in the CRM
ADVICE = "run `crm-sync migrate`"
ADOPT = "run `crm-sync adopt`, which says what it does with `--plan`"


@dataclass(frozen=True, slots=True)
class Schema:
    """lanes: by CRM, those with complete columns and triggers. faults: by CRM, what is wrong with the others.

    countable: those of the others whose columns exist, so that their contacts can be counted. obstacle: what is wrong with the
    table itself, and so with all CRMs.
    """

    table: AdoptedTable
    lanes: Mapping[str, LaneTable]
    faults: Mapping[str, str] = field(default_factory=dict)
    countable: Mapping[str, LaneTable] = field(default_factory=dict)
    obstacle: str | None = None

    def is_outdated(self, crm: str, later: "Schema") -> bool:
        """Whether a lane that was opened with this schema has to be reopened, and can be.

        Added columns that no statement reads yet do not count.
        """
        changed = self.table != later.table.without_new(self.table) or self.lanes.get(crm) != later.lanes.get(crm)
        return changed and crm in later.lanes


def not_installed(crm: str) -> str:
    """What is wrong with a CRM that is to be delivered to but has no columns."""
    return f"{crm} has credentials, but is not installed on the contacts table: run `crm-sync adopt --crm {crm}`"


async def read_schema(database: Database, table: str | None = None, crms: Collection[str] = ()) -> Schema:
    """table: the configured one. crms: those that a person named; otherwise all.

    Raises ConfigurationError that names the first thing missing for these, and what to do.
    """
    schema = await inspect_schema(database, table)
    meant = {crm.strip().lower() for crm in crms}
    for crm, fault in schema.faults.items():
        if not meant or crm in meant:
            raise ConfigurationError(fault)
    return schema


async def inspect_schema(database: Database, table: str | None = None) -> Schema:
    """Like read_schema, but problems of single CRMs are returned in faults.

    Raises ConfigurationError for problems of the table itself: none is adopted, it no longer exists, or it is not the configured
    one.
    """
    adopted = await _read_table(database, table)
    lanes = [dict(lane) for lane in await database.fetch(query("list_lanes"))]
    triggers = {row["name"]: row["enabled"] for row in await database.fetch(query("list_triggers"))}
    in_the_way = await _obstacle(database, adopted)
    of_all = _of_the_table(adopted) or await _hidden_rows(database, adopted)
    faults = {lane["crm"]: in_the_way or _of_a_lane(adopted, lane, triggers) or of_all for lane in lanes}
    readable = {
        lane["crm"]: LaneTable.describe(lane, adopted)
        for lane in lanes
        if _missing_column(adopted, [adopted.key, adopted.email, *_columns(lane)]) is None
    }
    return Schema(
        adopted,
        {crm: table for crm, table in readable.items() if faults[crm] is None},
        {crm: fault for crm, fault in faults.items() if fault is not None},
        {crm: table for crm, table in readable.items() if faults[crm] is not None},
        in_the_way,
    )


async def _obstacle(database: Database, table: AdoptedTable) -> str | None:
    for row in await database.fetch(query("list_obstacles")):
        return obstacle(row["kind"], row["name"], table.name, table.key)
    return None


def _of_the_table(table: AdoptedTable) -> str | None:
    """What every CRM needs from it."""
    for column in (table.key, table.email):
        if column not in table.types:
            return (
                f"the table {table.name} no longer has a column {column}. If it was renamed: run `crm-sync adopt`, with its new "
                f"name in CONTACTS_KEY or CONTACTS_EMAIL"
            )
    return _missing_column(table, ROLL_UP)


def _of_a_lane(table: AdoptedTable, lane: Mapping[str, Any], triggers: Mapping[str, bool]) -> str | None:
    crm = lane["crm"]
    of_what_is_written = _missing_column(table, _columns(lane)) or _of_the_line(table, lane)
    if of_what_is_written is not None:
        return of_what_is_written
    if not lane["knows_types"]:
        return (
            f"the type of a status column has another name or schema than the trigger functions of {crm} know, so flips are not "
            "seen: run `crm-sync adopt`"
        )
    deleted = () if lane["on_delete"] == "keep" else (DELETED,)
    moved = (MOVED,) if table.is_partitioned else ()
    for case in (*TRIGGERS, *moved, *deleted):
        trigger = f"crm_sync_{crm}_{case}"
        if trigger not in triggers:
            advice = f"run `crm-sync on-delete {crm} {lane['on_delete']}`" if case == DELETED else ADVICE
            return f"the table {table.name} has no trigger {trigger}: {advice}"
        if not triggers[trigger]:
            return f"the trigger {trigger} is disabled: run `ALTER TABLE {table.name} ENABLE TRIGGER {trigger}`"
    return None


def _of_the_line(table: AdoptedTable, lane: Mapping[str, Any]) -> str | None:
    crm = lane["crm"]
    if not lane["has_line"]:
        return f"there is no table crm_sync.{crm}_line: {ADVICE}"
    if not lane["takes_keys"]:
        return f"the table crm_sync.{crm}_line does not accept keys of the type that {table.key} has now: {ADVICE}"
    return None


def _columns(lane: Mapping[str, Any]) -> list[str]:
    return [*(f"{lane['crm']}_{column}" for column in OWN_COLUMNS), lane["remote_id_column"]]


def _missing_column(table: AdoptedTable, columns: Sequence[str]) -> str | None:
    for column in columns:
        if column not in table.types:
            return f"the table {table.name} has no column {column}: {ADVICE}"
    return None


async def _hidden_rows(database: Database, table: AdoptedTable) -> str | None:
    if not await database.value(query("check_row_security")):
        return None
    role = await database.value(query("name_role"))
    return (
        f"row level security may hide rows of {table.name} from the role {role}, and so their flips: let the owner run "
        f"what `crm-sync grants` prints for it, or ALTER ROLE {role} BYPASSRLS"
    )


async def _read_table(database: Database, wanted: str | None) -> AdoptedTable:
    if not await database.value(query("detect_adoption")):
        raise ConfigurationError(f"crm-sync is not installed in this database yet: {ADOPT}. If an older version is: {ADVICE}")
    rows = await database.fetch(query("read_adoption"))
    if not rows:
        is_restored = await database.value(query("detect_adoption_triggers"))
        raise ConfigurationError(WITHOUT_ROWS if is_restored else f"no table is adopted in this database yet: {ADOPT}")
    adopted = rows[0]
    if adopted["name"] is None:
        for row in await database.fetch(query("list_obstacles")):
            raise ConfigurationError(obstacle(row["kind"], row["name"], None, adopted["key_column"]))
        raise ConfigurationError("the adopted table is gone: run `crm-sync adopt --undo`, then adopt another one")
    if wanted is not None and adopted["relation"] != await _relation(database, wanted):
        raise ConfigurationError(f"CONTACTS_TABLE: {wanted} is not the adopted table, which is {adopted['name']}")
    columns = await database.fetch(query("list_columns"))
    return AdoptedTable(
        adopted["name"],
        adopted["is_partitioned"],
        adopted["key_column"],
        adopted["email_column"],
        {row["name"]: row["type"] for row in columns},
        {row["name"]: row["declared"] for row in columns},
        {row["name"]: row["operators"] for row in columns},
        await database.own_path(),
        frozenset(row["name"] for row in await database.fetch(query("list_unique_columns"))),
        any(row["name"] == TRACE and row["may_read"] for row in columns),
    )


async def _relation(database: Database, name: str) -> int | None:
    """The table that the user means. An unqualified name is looked up in the search_path of the user's role."""
    resolve = query("resolve_table")
    relation: int | None = await database.value(resolve, name)
    return relation if relation is not None else (await database.fetch_by_own_path(resolve, name))[0][0]
