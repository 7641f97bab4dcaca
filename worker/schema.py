"""What the database must have for the worker to run on it, and what is wrong where it has not."""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.contacts import OWN_COLUMNS, LaneTable
from worker.database import Database
from worker.errors import ConfigurationError
from worker.sql import query

TRIGGERS = ("update", "insert")
DELETED = "deleted"  # where deleted contacts are deleted in the CRM too
ROLL_UP = ("retry_count", "last_retry_at", "next_retry_at", "last_failed_crm")
ADVICE = "run `crm-sync migrate`"


@dataclass(frozen=True, slots=True)
class Schema:
    """lanes: by CRM. columns: of the contacts table, with their types."""

    lanes: Mapping[str, LaneTable]
    columns: Mapping[str, str]


async def read_schema(database: Database) -> Schema:
    """Raises ConfigurationError naming the first thing that is missing and what to do."""
    rows = await database.fetch(query("list_columns"))
    columns = {row["name"]: row["type"] for row in rows}
    if not columns:
        raise ConfigurationError(f"there is no table contacts on the search_path: {ADVICE}")
    keys = [row["name"] for row in rows if row["is_key"]]
    if len(keys) != 1:
        raise ConfigurationError("the table contacts needs a primary key of one column")
    if not await database.value("SELECT to_regclass('crm_sync.lanes') IS NOT NULL"):
        raise ConfigurationError(f"there is no table crm_sync.lanes: {ADVICE}")
    lanes = await database.fetch(query("list_lanes"))
    wanted = [*ROLL_UP]
    for lane in lanes:
        wanted += [f"{lane['crm']}_{column}" for column in OWN_COLUMNS] + [lane["remote_id_column"]]
    for column in wanted:
        if column not in columns:
            raise ConfigurationError(f"the table contacts has no column {column}: {ADVICE}")
    triggers = {row["name"]: row["enabled"] for row in await database.fetch(query("list_triggers"))}
    for lane in lanes:
        deleted = () if lane["on_delete"] == "keep" else (DELETED,)
        for case in (*TRIGGERS, *deleted):
            trigger = f"crm_sync_{lane['crm']}_{case}"
            if trigger not in triggers:
                advice = f"run `crm-sync on-delete {lane['crm']} {lane['on_delete']}`" if case == DELETED else ADVICE
                raise ConfigurationError(f"the table contacts has no trigger {trigger}: {advice}")
            if not triggers[trigger]:
                raise ConfigurationError(
                    f"the trigger {trigger} is disabled: run `ALTER TABLE contacts ENABLE TRIGGER {trigger}`"
                )
    return Schema({lane["crm"]: LaneTable.describe(dict(lane), columns, keys[0]) for lane in lanes}, columns)
