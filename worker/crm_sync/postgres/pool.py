"""Connections to Postgres."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Self

import asyncpg

from crm_sync.core.waits import USUAL
from crm_sync.errors import ConfigurationError, DatabaseTroubleError, RowRefusedError
from crm_sync.measurements import Statement, measure
from crm_sync.postgres.driver_arguments import CONNECT_TIMEOUT_S, asyncpg_arguments
from crm_sync.postgres.lending import Lending
from crm_sync.postgres.session_settings import OF_POOL, PINNED, SINCE_17, search_path
from crm_sync.postgres.statements import name_of, query, set_to
from crm_sync.postgres.transactions import transaction
from crm_sync.postgres.translation import translated
from crm_sync.settings import Settings

MOVED_TRIES = 10  # tries of a statement whose rows move between partitions
SERVERS_SHARE = 0.9  # of a statement's timeout: then the server cancels it, so that it is known to be undone
IDLE_S = 60.0  # before an idle connection is closed: firewalls drop them silently after some minutes


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
        self._lending: Lending | None = None
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
        pool = await asyncpg.create_pool(**self._arguments)
        former, self._lending = self._lending, Lending(pool, behind_pooler=self.behind_pooler)
        if former is not None:
            former.terminate()

    async def __aexit__(self, *_: object) -> None:
        if self._lending is not None:
            # Not close(): that waits for statements that a dead network never answers.
            self._lending.terminate()

    def connection(self) -> AbstractAsyncContextManager[asyncpg.pool.PoolConnectionProxy]:
        """A connection for one statement or transaction. Raises ConfigurationError or DatabaseTroubleError."""
        if self._lending is None:
            raise RuntimeError("the pool is not open")
        return self._lending.connection()

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
        began = time.monotonic()
        async with self.connection() as connection:
            rows = await _despite_moves(lambda: connection.fetch(statement, *arguments))
        _measure(statement, began)
        return rows

    async def fetch_together(
        self, statement: str, *arguments: object, then: Callable[[Sequence[asyncpg.Record]], tuple[str, Sequence[object]] | None]
    ) -> list[asyncpg.Record]:
        """In one transaction with a second statement. then: that one and its arguments, for the rows of the first; None for none.

        Raises as fetch does.
        """

        async def run(connection: asyncpg.pool.PoolConnectionProxy) -> list[asyncpg.Record]:
            async with transaction(connection):
                rows = await connection.fetch(statement, *arguments)
                if second := then(rows):
                    await connection.fetch(second[0], *second[1])
                return rows

        return await self._fetch_by(run, statement)

    async def fetch_within(self, patience_s: float, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """The server cancels it after this many seconds, also behind a pooler. Raises as fetch does."""

        async def run(connection: asyncpg.pool.PoolConnectionProxy) -> list[asyncpg.Record]:
            async with transaction(connection):
                await connection.execute(set_to({"statement_timeout": _milliseconds(patience_s)}, local=True))
                # Our timeout is only for a silent server: what the server cancels raises TooSlowError.
                own_s = max(self._timeout_s, patience_s / SERVERS_SHARE)
                return await connection.fetch(statement, *arguments, timeout=own_s)

        return await self._fetch_by(run, statement)

    async def _fetch_by(
        self, run: Callable[[asyncpg.pool.PoolConnectionProxy], Awaitable[list[asyncpg.Record]]], statement: str
    ) -> list[asyncpg.Record]:
        """run: fetches the rows of this statement."""
        began = time.monotonic()
        async with self.connection() as connection:
            rows = await _despite_moves(lambda: run(connection))
        _measure(statement, began)
        return rows

    async def fetch_briefly(self, patience_s: float, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Like fetch_within, but costs no more than fetch: a slow statement is cancelled through a second connection.

        For statements that almost never take that long. Behind a pooler, where sessions cannot be identified, it is the same as
        fetch_within.
        """
        if self.behind_pooler:
            return await self.fetch_within(patience_s, statement, *arguments)
        began = time.monotonic()
        async with self.connection() as connection:
            cancelling: list[asyncio.Task[None]] = []
            pid = connection.get_server_pid()
            timer = asyncio.get_running_loop().call_later(
                patience_s, lambda: cancelling.append(asyncio.create_task(self._cancel(pid)))
            )
            try:
                rows = await _despite_moves(lambda: connection.fetch(statement, *arguments))
            finally:
                timer.cancel()
                if cancelling:
                    # Wait until the cancel is done, before anything else runs on the connection: it would be cancelled instead.
                    await asyncio.wait(cancelling)
        _measure(statement, began)
        return rows

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


def _measure(statement: str, began: float) -> None:
    """A successful one, including the wait for a connection."""
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
