"""Explains a right that the user's role lacks: what it may not do, and who can grant it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from crm_sync.core.waits import USUAL
from crm_sync.errors import ConfigurationError, StatementRefusedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.sqlstates import foreign_function
from crm_sync.postgres.statements import query
from crm_sync.settings import Settings

_ABSENT = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
)


def with_advice(error: ConfigurationError) -> str:
    """Its message; if the server refused a worker's statement, with what a person can do."""
    refusal = error.__cause__
    if not isinstance(error, StatementRefusedError) or isinstance(refusal, asyncpg.InvalidCatalogNameError):
        return str(error)  # it says what to do
    if isinstance(refusal, asyncpg.InsufficientPrivilegeError):
        return f"{error}: let the owner of the table run what `crm-sync grants` prints for the worker's role"
    return f"{error}: `crm-sync check` says what is missing, `crm-sync migrate` restores it"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a command needs from the database.

    lacking: the message if the role may not do it; {role} is that role as SQL writes it, {refusal} the server's message. absent:
    the message if a table, column, function or schema does not exist. None: the server's message.
    """

    lacking: str
    absent: str | None = None


@asynccontextmanager
async def database_for(
    settings: Settings, needs: Needs, *, timeout_s: float = USUAL.statement_timeout_s
) -> AsyncIterator[Database]:
    """One connection. Raises ConfigurationError with the messages of needs."""
    async with (
        Database.of(settings, size=1, timeout_s=timeout_s) as database,
        explained(database, needs),
    ):
        yield database


@asynccontextmanager
async def explained(database: Database, needs: Needs) -> AsyncIterator[None]:
    """Raises ConfigurationError with the messages of needs."""
    try:
        yield
    except StatementRefusedError as error:
        refusal = error.__cause__
        if isinstance(refusal, _ABSENT) and needs.absent is not None and foreign_function(refusal.context) is None:
            raise ConfigurationError(needs.absent) from error
        if not isinstance(refusal, asyncpg.InsufficientPrivilegeError):
            raise
        role = await database.value(query("name_role"))
        raise ConfigurationError(needs.lacking.format(role=role, refusal=refusal)) from error
