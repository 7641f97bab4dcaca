"""What the database must have for the worker to run on it, and what is wrong where it has not."""

from collections.abc import Mapping
from dataclasses import dataclass

from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.table.contacts import OWN_COLUMNS, AdoptedTable, LaneTable

TRIGGERS = ("update", "insert")
MOVED = "moved"  # of a partitioned table
DELETED = "deleted"  # where deleted contacts are deleted in the CRM too
ROLL_UP = ("retry_count", "last_retry_at", "next_retry_at", "last_failed_crm")
ADVICE = "run `crm-sync migrate`"


@dataclass(frozen=True, slots=True)
class Schema:
    """lanes: by CRM."""

    table: AdoptedTable
    lanes: Mapping[str, LaneTable]


async def read_schema(database: Database, table: str | None = None) -> Schema:
    """table: the one that a person expects. Raises ConfigurationError naming the first thing that is missing and what to do."""
    adopted = await _read_table(database, table)
    lanes = await database.fetch(query("list_lanes"))
    wanted = [*ROLL_UP]
    for lane in lanes:
        wanted += [f"{lane['crm']}_{column}" for column in OWN_COLUMNS] + [lane["remote_id_column"]]
    for column in wanted:
        if column not in adopted.types:
            raise ConfigurationError(f"the table {adopted.name} has no column {column}: {ADVICE}")
    triggers = {row["name"]: row["enabled"] for row in await database.fetch(query("list_triggers"))}
    for lane in lanes:
        deleted = () if lane["on_delete"] == "keep" else (DELETED,)
        moved = (MOVED,) if adopted.is_partitioned else ()
        for case in (*TRIGGERS, *moved, *deleted):
            trigger = f"crm_sync_{lane['crm']}_{case}"
            if trigger not in triggers:
                advice = f"run `crm-sync on-delete {lane['crm']} {lane['on_delete']}`" if case == DELETED else ADVICE
                raise ConfigurationError(f"the table {adopted.name} has no trigger {trigger}: {advice}")
            if not triggers[trigger]:
                raise ConfigurationError(
                    f"the trigger {trigger} is disabled: run `ALTER TABLE {adopted.name} ENABLE TRIGGER {trigger}`"
                )
    if await database.value(query("check_row_security")):
        role = await database.value("SELECT quote_ident(current_user)")
        raise ConfigurationError(
            f"row level security may hide rows of {adopted.name} from the role {role}, and so their flips: let the owner run "
            f"what `crm-sync grants` prints for it, or ALTER ROLE {role} BYPASSRLS"
        )
    return Schema(adopted, {lane["crm"]: LaneTable.describe(dict(lane), adopted) for lane in lanes})


async def _read_table(database: Database, wanted: str | None) -> AdoptedTable:
    if not await database.value("SELECT to_regclass('crm_sync.adopted') IS NOT NULL"):
        raise ConfigurationError(f"crm-sync is not in this database yet, or in an older version: {ADVICE}")
    rows = await database.fetch(query("read_adoption"))
    if not rows:
        raise ConfigurationError(f"no table is adopted in this database yet: {ADVICE}")
    adopted = rows[0]
    if adopted["name"] is None:
        raise ConfigurationError("the adopted table is gone: run `crm-sync adopt --undo`, then adopt another one")
    if wanted is not None and adopted["relation"] != await database.value("SELECT to_regclass($1::text)::oid", wanted):
        raise ConfigurationError(f"CONTACTS_TABLE: {wanted} is not the table that is adopted here, which is {adopted['name']}")
    columns = await database.fetch(query("list_columns"))
    table = AdoptedTable(
        adopted["name"],
        adopted["is_partitioned"],
        adopted["key_column"],
        adopted["email_column"],
        {row["name"]: row["type"] for row in columns},
        {row["name"]: row["declared"] for row in columns},
    )
    for column in (table.key, table.email):
        if column not in table.types:
            raise ConfigurationError(
                f"the table {table.name} has no column {column} any more. If it was renamed: run `crm-sync adopt`, with "
                "its name in CONTACTS_KEY or CONTACTS_EMAIL"
            )
    return table
