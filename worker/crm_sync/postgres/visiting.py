"""The pool for a person's request: read-only, or with the rights of another role."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

import asyncpg

from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import quote
from crm_sync.postgres.transactions import transaction

_role: ContextVar[str | None] = ContextVar("role", default=None)


@contextmanager
def rights_of(role: str | None) -> Iterator[None]:
    """Inside, statements of a Visiting run with the rights of this role, of which its own must be a member. None: its own."""
    token = _role.set(role)
    try:
        yield
    finally:
        _role.reset(token)


def role_in_force() -> str | None:
    """The role of the innermost rights_of."""
    return _role.get()


class Visiting(Database):
    """Also works behind a transaction pooler: the setting ends with the transaction."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        async with super().connection() as connection:
            role = _role.get()
            if role is None:
                yield connection
                return
            async with transaction(connection):
                await connection.execute(f"SET LOCAL ROLE {quote(role)}")
                yield connection


class ReadOnly(Visiting):
    """Nothing can write, not even a function called by the mapping."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        async with Database.connection(self) as connection, transaction(connection, readonly=True):
            if (role := _role.get()) is not None:
                await connection.execute(f"SET LOCAL ROLE {quote(role)}")
            yield connection
