"""A transaction on a connection, which ends at once where its task is cancelled.

The driver's own rolls back by a statement. From a server that has gone silent it waits for that, and says then that the time is
over: the error takes the place of the cancellation, and a worker that is told to stop goes on.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy


@asynccontextmanager
async def transaction(connection: Connection, *, readonly: bool = False) -> AsyncIterator[None]:
    """Raises the driver's errors. Cancelled, it terminates the connection, and the server rolls back."""
    ours = connection.transaction(readonly=readonly)
    try:
        await ours.start()
        try:
            yield
        except asyncio.CancelledError:
            raise
        except BaseException:
            try:
                await ours.rollback()
            except Exception:  # noqa: BLE001 (the first error says why, and the server rolls back what has no connection)
                if not connection.is_closed():
                    connection.terminate()
            raise
        await ours.commit()
    except asyncio.CancelledError:
        connection.terminate()
        raise
