"""How the definition of the contacts table is changed under load: no application waits for it longer than LOCK_TIMEOUT_MS."""

import asyncio
import time

import asyncpg
import click

from crm_sync.core.words import holders, span
from crm_sync.errors import DatabaseTroubleError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render

LOCK_TIMEOUT_MS = 100  # whoever writes waits behind us for so long
PAUSE_S = 0.5  # between two tries: time for those who waited
PATIENCE_S = 60.0


async def change(database: Database, table: str, statement: str, *arguments: object, alone: bool) -> None:
    """Runs a statement that needs the contacts table for a moment. As often as it takes, for PATIENCE_S at most.

    table: as SQL writes it.
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
            rows = await database.fetch(render("find_holders", {"contacts": table}), alone)
            in_use = holders([dict(row) for row in rows])
            if time.monotonic() > deadline:
                raise DatabaseTroubleError(
                    f"nothing was changed, for the contacts table was not free for a moment in {span(PATIENCE_S)}. {in_use}. "
                    "Try again when that has ended"
                ) from error
        if not told:
            told = True
            click.echo(f"Waiting until the contacts table is free, for {span(PATIENCE_S)} at most. {in_use}.", err=True)
        await asyncio.sleep(PAUSE_S)


async def _try(database: Database, statement: str, *arguments: object) -> None:
    async with database.connection() as connection, connection.transaction():
        # What a person asks for outlives a crash of the database, so its commit waits for the disk.
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; SET LOCAL synchronous_commit = on")
        await connection.fetch(statement, *arguments)
