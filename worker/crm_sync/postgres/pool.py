"""Connections to Postgres, and its errors in our words."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from crm_sync.core.text import clean
from crm_sync.core.waits import USUAL
from crm_sync.errors import (
    ConfigurationError,
    DatabaseTroubleError,
    RowRefusedError,
    StatementRefusedError,
    TooSlowError,
)
from crm_sync.postgres.pooler import LEADS_THROUGH
from crm_sync.postgres.sqlstates import QUOTES_NO_VALUES, Fault, fault_of
from crm_sync.postgres.statements import set_to

CONNECT_TIMEOUT_S = 10.0
MOVED_TRIES = 10  # of a statement that meets rows on the move
SERVERS_SHARE = 0.9  # of a statement's time, before the server cancels it: so it is known to be undone, not given up in doubt
CANCEL_PATIENCE_S = 2.0  # until a statement that is cancelled has ended
IDLE_S = 60.0  # before an idle connection is closed: firewalls forget them after some minutes, without a word

# asyncpg 0.32 asks these of nobody when a connection is terminated between preparing a statement and running it.
_OF_A_CLOSED_CONNECTION = ("bind_execute", "prepare", "query")

# How values are written as text.
STYLES = {
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
}

# What a database or role sets for its applications, and what a worker rests on: the isolation of its claims, that its idle
# connections stay, and how a person's expressions write and read dates and numbers.
PINNED = {
    "default_transaction_isolation": "read committed",
    "idle_session_timeout": "0",
    **STYLES,
}

SESSION_SETTINGS = {
    **PINNED,
    "application_name": "crm-sync",
    # A lost claim or finish after a crash of the database only repeats an upsert.
    "synchronous_commit": "off",
    # Each statement of ours is written for one plan, over one index. It is made once, which spares the server a third of the work
    # for a single contact, and it must not be the plan of the table as it was then, perhaps empty: so no scan of the table.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}


def reason(error: BaseException) -> str:
    """What went wrong, without the values that Postgres quotes in the details."""
    text = error.args[0] if isinstance(error, asyncpg.PostgresError) and error.args else error
    return clean(str(text)) or type(error).__name__


def _kind(error: asyncpg.PostgresError) -> str:
    """What went wrong, where the message itself can quote a row: by its kind, and the constraint or column that names it."""
    constraint, column = getattr(error, "constraint_name", None), getattr(error, "column_name", None)
    where = f", constraint {constraint}" if constraint else f", column {column}" if column else ""
    return f"{type(error).__name__}{where}; Postgres's own log has its words"


def translate(error: Exception) -> Exception:
    """A driver's, server's or network's error in our words; anything else as it is."""
    if isinstance(error, asyncpg.QueryCanceledError):
        return TooSlowError(f"{reason(error)} (SQLSTATE {error.sqlstate})")
    if isinstance(error, asyncpg.PostgresError):
        return _of_the_server(error, getattr(error, "sqlstate", None) or "")
    if isinstance(error, TimeoutError):
        return DatabaseTroubleError("the database did not answer in time")
    if isinstance(error, (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        return DatabaseTroubleError(reason(error))
    if isinstance(error, AttributeError) and error.obj is None and error.name in _OF_A_CLOSED_CONNECTION:
        return DatabaseTroubleError("the connection was closed between two messages of one statement")
    return error


def _of_the_server(error: asyncpg.PostgresError, state: str) -> Exception:
    match fault_of(state, str(error)):
        case Fault.POOLER:
            return ConfigurationError(f"{LEADS_THROUGH} ({reason(error)}, SQLSTATE {state})")
        case Fault.ROW:
            return RowRefusedError(f"{reason(error) if state.startswith(QUOTES_NO_VALUES) else _kind(error)} (SQLSTATE {state})")
        case Fault.PERSON:
            return StatementRefusedError(f"the database refused a statement: {reason(error)} (SQLSTATE {state})")
    return DatabaseTroubleError(f"{reason(error)} (SQLSTATE {state})")


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    try:
        yield
    except Exception as error:
        ours = translate(error)
        if ours is error:
            raise
        raise ours from error


async def connect(url: str, settings: dict[str, str], timeout_s: float = USUAL.statement_timeout_s) -> asyncpg.Connection:
    """A connection outside the pool. timeout_s: of one statement. Raises ConfigurationError or DatabaseTroubleError."""
    try:
        async with translated():
            return await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, command_timeout=timeout_s, server_settings=settings)
    except RowRefusedError as error:
        raise ConfigurationError(f"the database refused a setting of the connection: {error}") from error


class Database:
    """The pool. One statement is one transaction, and leaves nothing behind on its connection."""

    def __init__(self, url: str, *, size: int, behind_pooler: bool = False, timeout_s: float = USUAL.statement_timeout_s) -> None:
        """behind_pooler: a transaction pooler refuses settings of a session, and forgets its prepared statements.

        timeout_s: of one statement. A connection that alone went silent is noticed after it.
        """
        self.patience_s = timeout_s * SERVERS_SHARE
        self._behind_pooler = behind_pooler
        self._arguments: dict[str, Any] = {
            "dsn": url,
            "min_size": 0,
            "max_size": size,
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": timeout_s,
            "max_inactive_connection_lifetime": IDLE_S,
            "reset": _nothing_to_reset,
        }
        if behind_pooler:
            self._arguments["statement_cache_size"] = 0
        else:
            # A statement that nobody waits for any more ends in the server too, and a little earlier.
            self._arguments["server_settings"] = {**SESSION_SETTINGS, "statement_timeout": _milliseconds(self.patience_s)}
        self._pool: asyncpg.Pool | None = None

    async def __aenter__(self) -> "Database":
        await self.renew()
        return self

    async def renew(self) -> None:
        """Breaks off every connection, also those in use. Statements under way raise DatabaseTroubleError."""
        former, self._pool = self._pool, await asyncpg.create_pool(**self._arguments)
        if former is not None:
            former.terminate()

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            # Not close(): that waits for statements a dead network never answers.
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        if self._pool is None:
            raise RuntimeError("the pool is not open")
        async with self._acquired(self._pool) as connection:
            try:
                async with translated():
                    yield connection
            except (RowRefusedError, TooSlowError):
                raise
            except (DatabaseTroubleError, asyncio.CancelledError) as error:
                if self._behind_pooler and isinstance(error.__cause__, TimeoutError):
                    await self._have_cancelled(self._pool, connection)
                # It may lead to what is a standby now, or be dead without the driver knowing it.
                with suppress(asyncpg.InterfaceError):  # the pool knows already
                    connection.terminate()
                raise

    @staticmethod
    async def _have_cancelled(pool: asyncpg.Pool, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        """A statement that took too long holds its locks until it ends. The driver has asked the server to cancel it, and gets
        time for that. Without a pooler the server has a limit of its own, and whoever is silent then is away.
        """
        with suppress(TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await pool.release(connection, timeout=CANCEL_PATIENCE_S)

    @asynccontextmanager
    async def _acquired(self, pool: asyncpg.Pool) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        async with translated():
            connection = await pool.acquire(timeout=CONNECT_TIMEOUT_S)
        try:
            yield connection
        finally:
            async with translated():
                await pool.release(connection)

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Raises ConfigurationError or DatabaseTroubleError: RowRefusedError, TooSlowError, or another."""
        async with self.connection() as connection:
            for _ in range(MOVED_TRIES - 1):
                # A row that it was about to lock has just moved to another partition. Nothing was done: it finds it there.
                with suppress(asyncpg.SerializationError):
                    return await connection.fetch(statement, *arguments)
            return await connection.fetch(statement, *arguments)

    async def fetch_within(self, patience_s: float, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Behind a pooler too, the server cancels it after so many seconds. Raises as fetch does."""
        async with self.connection() as connection, connection.transaction():
            await connection.execute(set_to({"statement_timeout": _milliseconds(patience_s)}, local=True))
            return await connection.fetch(statement, *arguments)

    async def value(self, statement: str, *arguments: object) -> Any:
        """The first column of the first row, None if there is none. Raises as fetch does."""
        rows = await self.fetch(statement, *arguments)
        return rows[0][0] if rows else None


def _milliseconds(seconds: float) -> str:
    """As Postgres takes a timeout; 0 would be none."""
    return f"{max(1, round(seconds * 1000))}ms"


async def _nothing_to_reset(_connection: asyncpg.Connection) -> None:
    """Spares a round trip per statement: no statement of ours leaves state behind on its connection."""
