"""How the definition of the contacts table is changed under load by commands: asked for as `crm_sync.core.lock_patience` says."""

import asyncio
import time

import click

from crm_sync.core.lock_patience import LOCK_TIMEOUT_MS, REFUSED, LockPatience
from crm_sync.core.waits import USUAL
from crm_sync.errors import DatabaseTroubleError
from crm_sync.postgres.backoff import chance
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render, set_to

PATIENCE_S = USUAL.table_patience_s


async def change(database: Database, table: str, statement: str, *arguments: object, alone: bool) -> None:
    """Runs a statement of sql/queries that needs the contacts table for a moment. As often as it takes, for PATIENCE_S at most.

    table: as SQL writes it.
    alone: nobody may even read the table in that moment; else nobody may write.
    Raises DatabaseTroubleError with who holds the table, and as Database.fetch does.
    """
    refusal = "nothing was changed, for {why}. Try again when that has ended"
    patience = LockPatience("the contacts table", PATIENCE_S, now=time.monotonic(), refusal=refusal)
    while True:
        try:
            return await _try(database, query(statement), *arguments)
        except DatabaseTroubleError as error:
            if getattr(error.__cause__, "sqlstate", None) not in REFUSED:
                raise
            rows = [dict(row) for row in await database.fetch(render("find_holders", {"contacts": table}), alone)]
            pause = patience.refused(error, rows, now=time.monotonic(), chance=chance())
        if pause.told is not None:
            click.echo(pause.told, err=True)
        await asyncio.sleep(pause.pause_s)


async def _try(database: Database, statement: str, *arguments: object) -> None:
    async with database.connection() as connection, connection.transaction():
        # What a person asks for outlives a crash of the database, so its commit waits for the disk.
        await connection.execute(set_to({"lock_timeout": LOCK_TIMEOUT_MS, "synchronous_commit": "on"}, local=True))
        await connection.fetch(statement, *arguments)
