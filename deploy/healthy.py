"""The container's health check: exits 0 while the worker on this host has its session with the database, otherwise 1.

It only queries the list of workers, so it does not get slower with a larger table.
"""

import asyncio
import socket
import sys

from crm_sync.environment import read
from crm_sync.errors import CrmSyncError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.settings import Settings

PATIENCE_S = 5.0


async def healthy() -> bool:
    """Raises CrmSyncError if the database cannot be queried."""
    async with Database.of(read(Settings), size=1, timeout_s=PATIENCE_S) as database:
        workers = await database.fetch(query("list_workers"))
    return any(worker["alive"] and worker["host"] == socket.gethostname() for worker in workers)


def main() -> int:
    try:
        if asyncio.run(healthy()):
            return 0
        print("the worker of this host has no session with the database")
    except CrmSyncError as error:
        print(error)
    return 1


if __name__ == "__main__":
    sys.exit(main())
