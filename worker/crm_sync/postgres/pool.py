"""Connections to Postgres, and the translation of its errors."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Self

import asyncpg

from crm_sync.core.text import clean
from crm_sync.core.waits import USUAL
from crm_sync.errors import (
    ConfigurationError,
    DatabaseTroubleError,
    ForbiddenError,
    LockedError,
    RowRefusedError,
    StatementRefusedError,
    TooSlowError,
)
from crm_sync.measurements import Statement, measure
from crm_sync.postgres.driver_arguments import CONNECT_TIMEOUT_S, SETTING, asyncpg_arguments
from crm_sync.postgres.pooler import LEADS_THROUGH
from crm_sync.postgres.session_settings import OF_POOL, PINNED, SINCE_17, search_path
from crm_sync.postgres.sqlstates import QUOTES_NO_VALUES, Fault, fault_of
from crm_sync.postgres.statements import name_of, query, set_to
from crm_sync.postgres.transactions import transaction
from crm_sync.settings import Settings

MOVED_TRIES = 10  # tries of a statement whose rows move between partitions
SERVERS_SHARE = 0.9  # of a statement's timeout: then the server cancels it, so that it is known to be undone
CANCEL_PATIENCE_S = 2.0  # until a cancelled statement has ended
IDLE_S = 60.0  # before an idle connection is closed: firewalls drop them silently after some minutes
WRITABLE = "what writes needs the primary in DATABASE_URL, and default_transaction_read_only off"

_WORD = re.compile(r"[A-Z][a-z]*")  # in the name of a class


def reason(error: BaseException) -> str:
    """What went wrong, without the values that Postgres quotes in the details."""
    text = error.args[0] if isinstance(error, asyncpg.PostgresError) and error.args else error
    return clean(str(text)) or type(error).__name__


def _kind(error: asyncpg.PostgresError) -> str:
    """What went wrong, if the message itself can quote a row: its kind, and the constraint or column in question."""
    constraint, column = getattr(error, "constraint_name", None), getattr(error, "column_name", None)
    where = f", constraint {constraint}" if constraint else f", column {column}" if column else ""
    return f"{_named(type(error))}{where}; Postgres's own log has the message"


def _named(kind: type[asyncpg.PostgresError]) -> str:
    """Postgres's name of the condition, after which the driver's classes are called: division by zero."""
    if kind is asyncpg.RaiseError:
        return "a function or trigger refused it"
    return _WORD.sub(lambda word: f" {word[0].lower()}", kind.__name__.removesuffix("Error")).strip()


def translate(error: Exception) -> Exception:
    """The error of a driver, server or network as one of ours; anything else is returned unchanged."""
    if isinstance(error, asyncpg.QueryCanceledError | asyncpg.LockNotAvailableError):
        kind = TooSlowError if isinstance(error, asyncpg.QueryCanceledError) else LockedError
        return kind(f"{reason(error)} (SQLSTATE {error.sqlstate})")
    if isinstance(error, asyncpg.PostgresError):
        return _of_the_server(error, getattr(error, "sqlstate", None) or "")
    if isinstance(error, TimeoutError):
        return DatabaseTroubleError("the database did not answer in time")
    if isinstance(error, (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        is_asked_wrongly = isinstance(error, asyncpg.exceptions.ClientConfigurationError)
        return ConfigurationError(f"{SETTING}: {reason(error)}") if is_asked_wrongly else DatabaseTroubleError(reason(error))
    if isinstance(error, AttributeError) and error.obj is None and _is_of_the_driver(error):
        return DatabaseTroubleError("the connection was closed between two messages of one statement")
    return error


def _is_of_the_driver(error: Exception) -> bool:
    """asyncpg 0.32 drops its protocol when a connection is terminated, and then uses None in the statement in flight."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and str(last.tb_frame.f_globals.get("__name__", "")).startswith("asyncpg.")


def _of_the_server(error: asyncpg.PostgresError, state: str) -> Exception:
    match fault_of(state, str(error)):
        case Fault.POOLER:
            return ConfigurationError(f"{LEADS_THROUGH} ({reason(error)}, SQLSTATE {state})")
        case Fault.ROW:
            return RowRefusedError(f"{reason(error) if state.startswith(QUOTES_NO_VALUES) else _kind(error)} (SQLSTATE {state})")
        case Fault.PERSON:
            kind = ForbiddenError if isinstance(error, asyncpg.InsufficientPrivilegeError) else StatementRefusedError
            return kind(f"the database refused a statement: {reason(error)} (SQLSTATE {state})")
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        # Not "the database is": a preview reads in such a transaction by itself.
        return DatabaseTroubleError(f"{reason(error)} (SQLSTATE {state}): {WRITABLE}")
    return DatabaseTroubleError(f"{reason(error)} (SQLSTATE {state})")


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """The driver's errors in our words. A task that is cancelled ends, whatever came of its statement at the same time."""
    try:
        yield
    except Exception as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise asyncio.CancelledError from error
        ours = translate(error)
        if ours is error:
            raise
        raise ours from error


async def connect(
    url: str, settings: Mapping[str, str] = PINNED, timeout_s: float = USUAL.statement_timeout_s
) -> asyncpg.Connection:
    """A connection outside the pool. timeout_s: of one statement. Raises ConfigurationError or DatabaseTroubleError."""
    return await _connect(asyncpg_arguments(url), {**settings, **search_path()}, timeout_s)


async def _connect(arguments: dict[str, Any], settings: Mapping[str, str], timeout_s: float) -> asyncpg.Connection:
    arguments = {**arguments, "server_settings": {**arguments["server_settings"], **settings}, "command_timeout": timeout_s}
    try:
        async with translated():
            connection: asyncpg.Connection = await asyncpg.connect(**arguments)
            await _set_further(connection)
            return connection
    except RowRefusedError as error:
        raise ConfigurationError(f"the database refused a setting of the connection: {error}") from error


async def _set_further(connection: asyncpg.Connection) -> None:
    """What is known about a server only after connecting to it. Where it fails, the connection is terminated: the pool would
    close it with a message to the server, and wait for the answer.
    """
    try:
        if connection.get_server_version().major >= 17:
            await connection.execute(set_to(SINCE_17, local=False))
    except BaseException:
        connection.terminate()
        raise


class Database:
    """The pool. One statement is one transaction, and leaves no state behind on its connection."""

    def __init__(
        self,
        url: str,
        *,
        size: int,
        behind_pooler: bool = False,
        timeout_s: float = USUAL.statement_timeout_s,
        mapping_path: tuple[str, ...] = (),
    ) -> None:
        """behind_pooler: a transaction pooler refuses session settings, and loses prepared statements.

        timeout_s: of one statement. A single connection that went silent is noticed after this time. mapping_path: further
        schemas in which names in mapping expressions are looked up. Raises ConfigurationError for an unsupported URL.
        """
        self.patience_s = timeout_s * SERVERS_SHARE
        self.behind_pooler = behind_pooler
        self._timeout_s = timeout_s
        self._of_url = asyncpg_arguments(url, behind_pooler=behind_pooler)
        self._arguments: dict[str, Any] = {
            **self._of_url,
            "min_size": 0,
            "max_size": size,
            "command_timeout": timeout_s,
            "max_inactive_connection_lifetime": IDLE_S,
            "reset": _nothing_to_reset,
        }
        if behind_pooler:
            self._arguments["statement_cache_size"] = 0
        else:
            # A statement that is no longer waited for ends in the server too, slightly earlier.
            self._arguments["server_settings"] = {
                **self._of_url["server_settings"],
                **OF_POOL,
                **search_path(mapping_path),
                "statement_timeout": _milliseconds(self.patience_s),
            }
            self._arguments["init"] = _set_further
        self._pool: asyncpg.Pool | None = None
        self._own_path: str | None = None

    @classmethod
    def of(cls, settings: Settings, *, size: int, timeout_s: float = USUAL.statement_timeout_s) -> Self:
        """A pool for DATABASE_URL. The other arguments are those of the class."""
        return cls(
            settings.database_url,
            size=size,
            behind_pooler=settings.behind_pooler,
            timeout_s=timeout_s,
            mapping_path=settings.mapping_path,
        )

    async def __aenter__(self) -> Self:
        await self.renew()
        return self

    async def renew(self) -> None:
        """Closes every connection, including those in use. Statements in flight raise DatabaseTroubleError."""
        former, self._pool = self._pool, await asyncpg.create_pool(**self._arguments)
        if former is not None:
            former.terminate()

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            # Not close(): that waits for statements that a dead network never answers.
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        if self._pool is None:
            raise RuntimeError("the pool is not open")
        async with self._acquired(self._pool) as connection:
            try:
                async with translated():
                    yield connection
            except (LockedError, RowRefusedError, TooSlowError):
                raise
            except (DatabaseTroubleError, asyncio.CancelledError) as error:
                if self.behind_pooler and isinstance(error.__cause__, TimeoutError):
                    await self._have_cancelled(self._pool, connection)
                # It may lead to a server that is a standby now, or be dead without the driver knowing.
                with suppress(asyncpg.InterfaceError):  # the pool knows already
                    connection.terminate()
                raise

    @staticmethod
    async def _have_cancelled(pool: asyncpg.Pool, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        """A statement that took too long holds its locks until it ends. The driver has asked the server to cancel it, which may
        take a moment. Without a pooler the server has its own limit, so a server that is still silent is unreachable.
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

    async def own_path(self) -> str:
        """The role's or the URL's own search_path, asked for once. Raises as fetch does."""
        if self._own_path is None:
            self._own_path = str((await self.fetch_by_own_path(query("show_path")))[0][0])
        return self._own_path

    async def fetch_by_own_path(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Names are looked up in the role's or the URL's own search_path. Raises as fetch does."""
        if self.behind_pooler:
            return await self.fetch(statement, *arguments)
        connection = await _connect(self._of_url, PINNED, self._timeout_s)
        try:
            async with translated():
                return await connection.fetch(statement, *arguments)
        finally:
            connection.terminate()

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Raises ConfigurationError or DatabaseTroubleError: RowRefusedError, TooSlowError, or another."""
        with _measured(statement):
            async with self.connection() as connection:
                return await _despite_moves(lambda: connection.fetch(statement, *arguments))

    async def fetch_within(self, patience_s: float, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """The server cancels it after this many seconds, also behind a pooler. Raises as fetch does."""

        async def run(connection: asyncpg.pool.PoolConnectionProxy) -> list[asyncpg.Record]:
            async with transaction(connection):
                await connection.execute(set_to({"statement_timeout": _milliseconds(patience_s)}, local=True))
                # Our timeout is only for a silent server: what the server cancels raises TooSlowError.
                own_s = max(self._timeout_s, patience_s / SERVERS_SHARE)
                return await connection.fetch(statement, *arguments, timeout=own_s)

        with _measured(statement):
            async with self.connection() as connection:
                return await _despite_moves(lambda: run(connection))

    async def fetch_briefly(self, patience_s: float, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Like fetch_within, but costs no more than fetch: a slow statement is cancelled through a second connection.

        For statements that almost never take that long. Behind a pooler, where sessions cannot be identified, it is the same as
        fetch_within.
        """
        if self.behind_pooler:
            return await self.fetch_within(patience_s, statement, *arguments)
        with _measured(statement):
            async with self.connection() as connection, self._cancelled_after(patience_s, connection.get_server_pid()):
                return await _despite_moves(lambda: connection.fetch(statement, *arguments))

    @asynccontextmanager
    async def _cancelled_after(self, patience_s: float, pid: int) -> AsyncIterator[None]:
        cancelling: list[asyncio.Task[None]] = []
        timer = asyncio.get_running_loop().call_later(
            patience_s, lambda: cancelling.append(asyncio.create_task(self._cancel(pid)))
        )
        try:
            yield
        finally:
            timer.cancel()
            if cancelling:
                # Wait until the cancel is done, before anything else runs on the connection: it would be cancelled instead.
                await asyncio.wait(cancelling)

    async def _cancel(self, pid: int) -> None:
        """If this fails, the statement ends by the timeout of its connection. Not through the pool, which may be exhausted by
        those waiting for this.
        """
        with suppress(DatabaseTroubleError, ConfigurationError):
            connection = await _connect(self._of_url, {**PINNED, **search_path()}, CONNECT_TIMEOUT_S)
            try:
                async with translated():
                    await connection.fetch(query("cancel_statement"), pid)
            finally:
                connection.terminate()

    async def value(self, statement: str, *arguments: object) -> Any:
        """The first column of the first row, None if there is none. Raises as fetch does."""
        rows = await self.fetch(statement, *arguments)
        return rows[0][0] if rows else None


@contextmanager
def _measured(statement: str) -> Iterator[None]:
    """A successful one, including the wait for a connection."""
    began = time.monotonic()
    yield
    measure(Statement(name_of(statement), time.monotonic() - began))


async def _despite_moves(run: Callable[[], Awaitable[list[asyncpg.Record]]]) -> list[asyncpg.Record]:
    """A row that it was about to lock has just moved to another partition. Nothing was done; the next try finds it there."""
    for _ in range(MOVED_TRIES - 1):
        with suppress(asyncpg.SerializationError):
            return await run()
    return await run()


def _milliseconds(seconds: float) -> str:
    """In the form Postgres wants for a timeout; never 0, which would mean none."""
    return f"{max(1, round(seconds * 1000))}ms"


async def _nothing_to_reset(_connection: asyncpg.Connection) -> None:
    """Saves a round trip per statement: none of our statements leaves state behind on its connection."""
