"""A right that a person's role lacks, explained: what it may not do, and who grants it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from crm_sync.core.waits import USUAL
from crm_sync.errors import ConfigurationError, StatementRefusedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.settings import Settings

_ABSENT = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
)


def with_advice(error: ConfigurationError) -> str:
    """Its message; where the server has refused a statement of a worker, with what a person can do."""
    refusal = error.__cause__
    if not isinstance(error, StatementRefusedError):
        return str(error)
    if isinstance(refusal, asyncpg.InsufficientPrivilegeError):
        return f"{error}: let the owner of the table run what `crm-sync grants` prints for the worker's role"
    return f"{error}: `crm-sync check` says what is missing, `crm-sync migrate` restores it"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a command needs of the database.

    lacking: what a person is told whose role may not do it; {role} is that role as SQL writes it, {refusal} the server's words.
    absent: what the person is told if a table, column, function or schema is not there. None: as the server says it.
    """

    lacking: str
    absent: str | None = None


@asynccontextmanager
async def database_for(
    settings: Settings, needs: Needs, *, timeout_s: float = USUAL.statement_timeout_s
) -> AsyncIterator[Database]:
    """One connection. Raises ConfigurationError in the words of needs."""
    async with (
        Database.of(settings, size=1, timeout_s=timeout_s) as database,
        explained(database, needs),
    ):
        yield database


@asynccontextmanager
async def explained(database: Database, needs: Needs) -> AsyncIterator[None]:
    """Raises ConfigurationError in the words of needs."""
    try:
        yield
    except StatementRefusedError as error:
        refusal = error.__cause__
        if isinstance(refusal, _ABSENT) and needs.absent is not None:
            raise ConfigurationError(needs.absent) from error
        if not isinstance(refusal, asyncpg.InsufficientPrivilegeError):
            raise
        role = await database.value(query("name_role"))
        raise ConfigurationError(needs.lacking.format(role=role, refusal=refusal)) from error
