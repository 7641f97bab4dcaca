"""Which columns are watched, and who may change that."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import click

from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.settings import Settings
from crm_sync.table.schema import Schema

_NOT_INSTALLED = (asyncpg.UndefinedFunctionError, asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)


@dataclass(frozen=True, slots=True)
class Watch:
    """A row of list_watches.sql: the columns that are watched for one CRM. enabled: the trigger fires."""

    crm: str
    columns: list[str]
    trigger: str
    enabled: bool


@asynccontextmanager
async def database_of_the_owner(settings: Settings) -> AsyncIterator[Database]:
    """For the commands that change a watch. A right that is missing is a ConfigurationError that says whose it is."""
    async with Database(settings.database_url, size=1, behind_pooler=settings.database_behind_pooler) as database:
        try:
            yield database
        except ConfigurationError as error:
            if isinstance(error.__cause__, _NOT_INSTALLED):
                raise ConfigurationError("this database has no crm_sync.watch yet: run `crm-sync migrate`") from error
            if not isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError):
                raise
            role = await database.value("SELECT quote_ident(current_user)")
            raise ConfigurationError(
                f"the role {role} of DATABASE_URL may not change what is watched, for that is a trigger of the contacts table. "
                "Run this with the DATABASE_URL of the role that ran `crm-sync migrate`, which owns the table"
            ) from error


async def read_watches(database: Database, schema: Schema) -> dict[str, Watch]:
    """By CRM; those that have one. Raises as Database.fetch does."""
    rows = await database.fetch(render("list_watches", {"contacts": schema.table.name}))
    return {row["crm"]: Watch(**dict(row)) for row in rows}


def lane_of(schema: Schema, crm: str) -> str:
    """The CRM that a person names. Raises click.BadParameter with those that there are."""
    name = crm.strip().lower()
    if name not in schema.lanes:
        raise click.BadParameter(
            f"{crm} is not installed on the contacts table; these are: {', '.join(schema.lanes) or 'none'}", param_hint="CRM"
        )
    return name
