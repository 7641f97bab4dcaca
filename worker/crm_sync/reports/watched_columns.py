"""Which columns are watched, and who may change that."""

from dataclasses import dataclass

from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.reports.installed import installed
from crm_sync.reports.rights import Needs
from crm_sync.table.schema import Schema

TO_WATCH = Needs(
    lacking="the role {role} of DATABASE_URL may not change what is watched, because that changes a trigger of the contacts "
    "table. Run this with the DATABASE_URL of the role that ran `crm-sync migrate`, which owns the table",
    absent="this database has no crm_sync.watch yet: run `crm-sync migrate`",
)


@dataclass(frozen=True, slots=True)
class Watch:
    """A row of list_watches.sql: the columns that are watched for one CRM. enabled: whether the trigger fires."""

    crm: str
    columns: list[str]
    trigger: str
    enabled: bool


async def read_watches(database: Database, schema: Schema) -> dict[str, Watch]:
    """By CRM, for those that have one. Raises as Database.fetch does."""
    rows = await database.fetch(render("list_watches", {"contacts_name": schema.table.name}))
    return {row["crm"]: Watch(**dict(row)) for row in rows}


def lane_of(schema: Schema, crm: str) -> str:
    """The CRM that a person names. Raises click.BadParameter with the installed CRMs."""
    return installed(crm, schema.lanes)
