"""Connections to Postgres, and its errors in our words."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from crm_sync.core.text import clean
from crm_sync.core.waits import USUAL
from crm_sync.errors import ConfigurationError, DatabaseTroubleError, RowRefusedError

CONNECT_TIMEOUT_S = 10.0
MOVED_TRIES = 10  # of a statement that meets rows on the move
IDLE_S = 60.0  # before an idle connection is closed: firewalls forget them after some minutes, without a word

# Classes of SQLSTATE that only a person can put right: undefined or forbidden (42), no such database or schema (3D, 3F).
# All others pass: restarts, limits, locks, standbys, plans gone stale, passwords.
_FOR_A_PERSON = ("3D", "3F", "42")

# What a transaction pooler makes of prepared statements (gone, or there already), and of the settings of a session.
_OF_A_POOLER = ("26000", "42P05")
_PROTOCOL = "08P01"

# Classes that are a row's own: several where one was to be (21), data (22), constraints (23), views (44), sizes (54), what a
# function of the application (38, 39) or a trigger says (P0). But for sizes, their messages quote values.
_OF_A_ROW = ("21", "22", "23", "38", "39", "44", "54", "P0")
_SIZES = "54"

# asyncpg 0.32 asks these of nobody when a connection is terminated between preparing a statement and running it.
_OF_A_CLOSED_CONNECTION = ("bind_execute", "prepare", "query")

SESSION_SETTINGS = {
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
    if state in _OF_A_POOLER or (state == _PROTOCOL and "startup parameter" in str(error)):
        return ConfigurationError(
            "DATABASE_URL (or LISTEN_DATABASE_URL) leads through a transaction pooler: set DATABASE_BEHIND_POOLER=true, "
            f"and LISTEN_DATABASE_URL to a direct connection to the same database ({reason(error)}, SQLSTATE {state})"
        )
    if state.startswith(_OF_A_ROW):
        return RowRefusedError(f"{reason(error) if state.startswith(_SIZES) else _kind(error)} (SQLSTATE {state})")
    if state.startswith(_FOR_A_PERSON):
        return ConfigurationError(f"the database refused a statement: {reason(error)} (SQLSTATE {state})")
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
            # A statement that nobody waits for any more ends in the server too.
            self._arguments["server_settings"] = {**SESSION_SETTINGS, "statement_timeout": f"{timeout_s:.0f}s"}
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
            except RowRefusedError:
                raise
            except (DatabaseTroubleError, asyncio.CancelledError):
                # It may lead to what is a standby now, or be dead without the driver knowing it.
                with suppress(asyncpg.InterfaceError):  # the pool knows already
                    connection.terminate()
                raise

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
        """Raises ConfigurationError or DatabaseTroubleError."""
        async with self.connection() as connection:
            for _ in range(MOVED_TRIES - 1):
                # A row that it was about to lock has just moved to another partition. Nothing was done: it finds it there.
                with suppress(asyncpg.SerializationError):
                    return await connection.fetch(statement, *arguments)
            return await connection.fetch(statement, *arguments)

    async def value(self, statement: str, *arguments: object) -> Any:
        """The first column of the first row, None if there is none. Raises as fetch does."""
        rows = await self.fetch(statement, *arguments)
        return rows[0][0] if rows else None


async def _nothing_to_reset(_connection: asyncpg.Connection) -> None:
    """Spares a round trip per statement: no statement of ours leaves state behind on its connection."""
