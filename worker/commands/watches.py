"""Which columns are watched, and how that is changed under load: no application waits for it longer than LOCK_TIMEOUT_MS."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import click

from worker.commands.words import span
from worker.database import Database
from worker.errors import ConfigurationError, DatabaseTroubleError
from worker.schema import Schema
from worker.settings import Settings
from worker.sql import render

LOCK_TIMEOUT_MS = 100  # whoever writes waits behind us for so long
PAUSE_S = 0.5  # between two tries: time for those who waited
PATIENCE_S = 60.0

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


async def change(database: Database, schema: Schema, statement: str, *arguments: object, alone: bool) -> None:
    """Runs a statement that needs the contacts table for a moment. As often as it takes, for PATIENCE_S at most.

    alone: nobody may even read the table in that moment; else nobody may write.
    Raises DatabaseTroubleError with who holds the table, and as Database.fetch does.
    """
    deadline = time.monotonic() + PATIENCE_S
    told = False
    while True:
        try:
            return await _try(database, statement, *arguments)
        except DatabaseTroubleError as error:
            if not isinstance(error.__cause__, asyncpg.LockNotAvailableError):
                raise
            holders = await _holders(database, schema, readers=alone)
            if time.monotonic() > deadline:
                raise DatabaseTroubleError(
                    f"nothing was changed, for the contacts table was not free for a moment in {span(PATIENCE_S)}. {holders}. "
                    "Try again when that has ended"
                ) from error
        if not told:
            told = True
            click.echo(f"Waiting until the contacts table is free, for {span(PATIENCE_S)} at most. {holders}.", err=True)
        await asyncio.sleep(PAUSE_S)


async def _try(database: Database, statement: str, *arguments: object) -> None:
    async with database.connection() as connection, connection.transaction():
        # What a person asks for outlives a crash of the database, so its commit waits for the disk.
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; SET LOCAL synchronous_commit = on")
        await connection.fetch(statement, *arguments)


async def _holders(database: Database, schema: Schema, *, readers: bool) -> str:
    """One sentence on whom it waits for, as far as the role may see that."""
    rows = await database.fetch(render("find_holders", {"contacts": schema.table.name}), readers)
    return f"It is in use by {', '.join(map(_holder, rows))}" if rows else "It was in use a moment ago"


def _holder(row: asyncpg.Record) -> str:
    lasted = "" if row["age_s"] is None else f" for {span(row['age_s'])}"
    return f"{row['kind'] or 'a session'} (pid {row['pid']}){lasted}"
