"""How commands change the definition of the contacts table under load: see `crm_sync.postgres.lock_patience`."""

import asyncio
import time

import click

from crm_sync.errors import DatabaseTroubleError
from crm_sync.postgres.backoff import chance
from crm_sync.postgres.brief_transaction import brief_transaction, lock_refused
from crm_sync.postgres.lock_patience import LockPatience
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render


async def change(database: Database, table: str, statement: str, *arguments: object, alone: bool, patience_s: float) -> None:
    """Runs a statement of sql/queries that needs to lock the contacts table for a moment. Tries as often as necessary, for
    patience_s at most.

    table: as SQL writes it. alone: the lock also blocks readers; otherwise only writers. Raises DatabaseTroubleError that names
    the holders of the table, and as Database.fetch does.
    """
    refusal = "nothing was changed: {why}. Try again afterwards"
    patience = LockPatience("the contacts table", patience_s, now=time.monotonic(), refusal=refusal)
    while True:
        try:
            async with brief_transaction(database) as connection:
                await connection.fetch(query(statement), *arguments)
        except DatabaseTroubleError as error:
            if not lock_refused(error):
                raise
            rows = [dict(row) for row in await database.fetch(render("find_holders", {"contacts_name": table}), alone)]
            pause = patience.refused(error, rows, now=time.monotonic(), chance=chance())
        else:
            return
        if pause.told is not None:
            click.echo(pause.told, err=True)
        await asyncio.sleep(pause.pause_s)
