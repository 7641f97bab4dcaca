"""A transaction for a person's request: no application waits behind it for more than a moment, and it survives a crash."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from crm_sync.errors import DatabaseTroubleError
from crm_sync.postgres.lock_patience import LOCK_TIMEOUT_MS, REFUSED
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import set_to
from crm_sync.postgres.transactions import transaction

_SETTINGS: dict[str, str | int] = {
    "lock_timeout": LOCK_TIMEOUT_MS,
    "synchronous_commit": "on",  # its commit waits for the disk
}


@asynccontextmanager
async def brief_transaction(database: Database) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
    """Raises as Database.fetch does; a lock not granted within LOCK_TIMEOUT_MS raises DatabaseTroubleError, see lock_refused."""
    async with database.connection() as connection, transaction(connection):
        await connection.execute(set_to(_SETTINGS, local=True))
        yield connection


def lock_refused(error: DatabaseTroubleError) -> bool:
    """Whether locks held by others were the only obstacle."""
    return getattr(error.__cause__, "sqlstate", None) in REFUSED
