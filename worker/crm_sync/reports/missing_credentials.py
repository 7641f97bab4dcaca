"""A CRM on the contacts table for which there are no credentials here: whether that is intended."""

from dataclasses import dataclass

from crm_sync.configuration import Configuration
from crm_sync.errors import StatementRefusedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.table.schema import Schema

LINES = 1_000  # that are examined for contacts in line


@dataclass(frozen=True, slots=True)
class MissingCredentials:
    """is_felt: something is to be delivered, and no worker does."""

    is_felt: bool
    note: str


async def missing_credentials(database: Database, configuration: Configuration, schema: Schema, crm: str) -> MissingCredentials:
    """It is felt if contacts wait, or if no CRM at all has credentials here, unless a worker with other settings is there."""
    asked = configuration.crms[crm].asked if crm in configuration.crms else ()
    missing = " and ".join(name.upper() for name in asked if name not in configuration.environment.values)
    note = f"no credentials{f' ({missing} not set)' if missing else ''}, so nothing is sent there from here"
    served = await _served(database)
    if crm in served:
        return MissingCredentials(False, f"{note}; another worker does that")
    if await _is_in_line(database, schema, crm):
        return MissingCredentials(True, f"{note}, nor by any other worker, but contacts are in line for it")
    if not configuration.with_credentials() and not served:
        return MissingCredentials(True, f"{note}. No CRM has credentials, so a worker with these settings delivers nothing")
    return MissingCredentials(False, f"{note}: its contacts wait")


async def _served(database: Database) -> set[str]:
    """The CRMs that living workers have a lane for. None if this role may not read that, which no delivery needs."""
    try:
        return {row["crm"] for row in await database.fetch(query("read_pace")) if row["workers"]}
    except StatementRefusedError:
        return set()


async def _is_in_line(database: Database, schema: Schema, crm: str) -> bool:
    table = schema.lanes.get(crm)
    if table is None:
        return False
    line = (await database.fetch(render("count_line", table.variables), LINES, 0))[0]
    return bool(line["ready"] + line["waiting"])
