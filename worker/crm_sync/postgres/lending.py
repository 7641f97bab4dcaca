"""The connections of a pool, lent for one statement or transaction each.

The connection that was used last is kept at hand for the next statement. Giving it to the driver's pool and asking for it again
costs more than the driver does to send a quick statement, and a lane sends all of its statements one after another.
"""

import asyncio
from contextlib import suppress

import asyncpg

from crm_sync.errors import ConfigurationError, DatabaseTroubleError, LockedError, RowRefusedError, TooSlowError
from crm_sync.postgres.driver_arguments import CONNECT_TIMEOUT_S
from crm_sync.postgres.translation import in_our_words, raise_in_our_words

AT_HAND_S = 20.0  # then it is given to the pool, which closes idle connections
MOST_IN_A_ROW = 1000  # loans; then it goes to the pool once, which replaces one that has run 50,000 statements
CANCEL_PATIENCE_S = 2.0  # until a cancelled statement has ended

_OF_THE_STATEMENT = (LockedError, RowRefusedError, TooSlowError)  # they say nothing about the connection


class Lending:
    """behind_pooler: as for `crm_sync.postgres.pool.Database`."""

    def __init__(self, pool: asyncpg.Pool, *, behind_pooler: bool) -> None:
        self._pool = pool
        self._behind_pooler = behind_pooler
        self._at_hand: asyncpg.pool.PoolConnectionProxy | None = None
        self._too_long: asyncio.TimerHandle | None = None
        self._returning: asyncio.Task[None] | None = None
        self._waiting = 0
        self._lent = 0

    def connection(self) -> "Loan":
        """A context manager. Raises ConfigurationError or DatabaseTroubleError."""
        return Loan(self)

    async def take(self) -> asyncpg.pool.PoolConnectionProxy:
        """Raises what `connection` raises."""
        if (connection := self._take_at_hand()) is not None:
            if _is_open(connection):
                return connection
            await self._return_idle(connection)
        self._waiting += 1
        try:
            connection = await self._pool.acquire(timeout=CONNECT_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 (raised in our words)
            raise_in_our_words(error)
        finally:
            self._waiting -= 1
        return connection

    async def give_back(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        """Raises what `connection` raises."""
        self._lent += 1
        keep = self._at_hand is None and not self._waiting and self._lent % MOST_IN_A_ROW != 0
        if keep and _is_open(connection):
            self._at_hand = connection
            self._too_long = asyncio.get_running_loop().call_later(AT_HAND_S, self._let_go)
        else:
            await self._return(connection)

    async def give_back_after(self, connection: asyncpg.pool.PoolConnectionProxy, error: BaseException) -> None:
        """The same after an error, which it raises in our words. The pool resets the connection."""
        try:
            ours = in_our_words(error) if isinstance(error, Exception) else error
            if isinstance(ours, DatabaseTroubleError | asyncio.CancelledError) and not isinstance(ours, _OF_THE_STATEMENT):
                await self._end(connection, is_late=isinstance(error, TimeoutError))
        finally:
            await self._return(connection)
        if ours is not error:
            raise ours from error

    def terminate(self) -> None:
        """Closes every connection, including those that are lent."""
        self._take_at_hand()
        self._pool.terminate()

    def _take_at_hand(self) -> asyncpg.pool.PoolConnectionProxy | None:
        connection, self._at_hand = self._at_hand, None
        if self._too_long is not None:
            self._too_long.cancel()
            self._too_long = None
        return connection

    def _let_go(self) -> None:
        if (connection := self._take_at_hand()) is not None:
            self._returning = asyncio.create_task(self._return_idle(connection))

    async def _return_idle(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        """One that may have broken at hand. No statement minds."""
        with suppress(DatabaseTroubleError, ConfigurationError):
            await self._return(connection)

    async def _return(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        try:
            await self._pool.release(connection)
        except Exception as error:  # noqa: BLE001 (raised in our words)
            raise_in_our_words(error)

    async def _end(self, connection: asyncpg.pool.PoolConnectionProxy, *, is_late: bool) -> None:
        """The connection may lead to a server that is a standby now, or be dead without the driver knowing."""
        if self._behind_pooler and is_late:
            await self._have_cancelled(connection)
        with suppress(asyncpg.InterfaceError):  # the pool knows already
            connection.terminate()

    async def _have_cancelled(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        """A statement that took too long holds its locks until it ends. The driver has asked the server to cancel it, which may
        take a moment. Without a pooler the server has its own limit, so a server that is still silent is unreachable.
        """
        with suppress(TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await self._pool.release(connection, timeout=CANCEL_PATIENCE_S)


class Loan:
    """No generator: a few of them cost each statement more than the driver does."""

    __slots__ = ("_connection", "_lending")

    def __init__(self, lending: Lending) -> None:
        self._lending = lending

    async def __aenter__(self) -> asyncpg.pool.PoolConnectionProxy:
        self._connection = await self._lending.take()
        return self._connection

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            await self._lending.give_back(self._connection)
        else:
            await self._lending.give_back_after(self._connection, error)


def _is_open(connection: asyncpg.pool.PoolConnectionProxy) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken it back when it broke
        return False
