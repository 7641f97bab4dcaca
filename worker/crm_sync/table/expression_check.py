"""Checks what a user's expressions are, and that a CRM's contacts can be claimed with them: Postgres itself says so."""

import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from crm_sync.core.moments import BEGINNING
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.sqlstates import Fault, fault_of
from crm_sync.postgres.statements import ON, query, render
from crm_sync.postgres.translation import reason
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.kinds import Type

WHOLE_ROW = "it is the whole row of a table ({}): name the column that is meant"
_NOTHING = "NULL::text"
# Variables of a claim that matches nothing: no worker, no contacts, not a probe.
_CLAIM_NOTHING: tuple[object, ...] = (0, 0, BEGINNING, [], False, 0, None)
_READ_NOTHING: tuple[object, ...] = ([], 0)
_OURS = (Fault.PERSON, Fault.ROW)
_WORD = re.compile(r"\w+")
_LOOKED_UP = (asyncpg.UndefinedFunctionError, asyncpg.UndefinedObjectError, asyncpg.UndefinedTableError)
_PATH = "Qualify what is not Postgres's own with its schema, or name the schema in MAPPING_SEARCH_PATH"
_PARAMETER = "it has a parameter, such as $1, for which there is no value"
_GRANTS = "Let the owner of the table run what `crm-sync grants` prints for the role of the worker"


class _UnreadableTypeError(Exception):
    """The driver has no object for it: a composite type with a member that it can read only as text."""


class _RefusedError(Exception):
    """Postgres's objection to it."""


@dataclass(frozen=True, slots=True)
class ExpressionCheck:
    """What Postgres says about expressions in the claim of one CRM. If it refuses several, each is tried alone."""

    database: Database
    lane: LaneTable
    claims: bool = True

    async def types(self, expressions: Mapping[str, str]) -> dict[str, Type]:
        """The type of each. Raises ConfigurationError that names the first one that is not a single value, or has parameters."""
        try:
            oids = await self._returned(expressions.values())
        except _RefusedError as error:
            raise await self._blamed(expressions, str(error)) from error
        rows = await self.database.fetch(query("describe_types"), list(set(oids)))
        described = {row["given"]: Type.describe(dict(row)) for row in rows}
        return {name: described[oid] for name, oid in zip(expressions, oids, strict=True)}

    async def prove(self, expressions: Mapping[str, str], mapped: Sequence[str]) -> None:
        """Checks that the claim, and the statements that read claimed contacts, can be planned and may be run. Raises
        ConfigurationError.

        mapped: the columns made from the expressions.
        """
        try:
            if self.claims:
                await self._planned("claim_contacts", mapped, *_CLAIM_NOTHING)
            await self._planned("read_contacts", mapped, *_READ_NOTHING)
        except _RefusedError as error:
            raise await self._blamed(expressions, str(error)) from error

    async def _blamed(self, expressions: Mapping[str, str], said: str) -> ConfigurationError:
        """Which of them is the cause. said: the error for all of them."""
        if await self._fault(_NOTHING) is None:
            for name, expression in expressions.items():
                if (fault := await self._fault(expression)) is not None:
                    return wrong(self.lane, name, fault)
        return ConfigurationError(f"mapping of {self.lane.crm}: its contacts cannot be claimed: {said}")

    async def _fault(self, expression: str) -> str | None:
        """What is wrong with one expression."""
        try:
            await self._returned([expression])
            await self._planned("try_mapping", [f"({expression})"])
            await self._planned("read_contacts", [f"({expression})"], *_READ_NOTHING)
        except _RefusedError as error:
            if isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError) and (named := await self._unread(expression)):
                return f"the role may not read {named} of {self.lane.variables['contacts_name']}. {_GRANTS}"
            return str(error)
        return None

    async def _unread(self, expression: str) -> str:
        """The columns in it that the role may not read, because Postgres names only the table. Empty if they
        are not the reason.
        """
        rows = await self.database.fetch(query("list_unreadable_columns"), self.lane.variables["contacts_name"])
        words = set(_WORD.findall(expression.lower()))
        return ", ".join(row["name"] for row in rows if row["name"].lower() in words)

    async def _returned(self, expressions: Collection[str]) -> list[int]:
        """The oids of their types, one for each. Raises _RefusedError."""
        mapped = ",\n    ".join(f"({expression})" for expression in expressions)
        try:
            async with self._asking() as connection:
                statement = await connection.prepare(render("try_mapping", {**self.lane.variables, "mapped": mapped}))
                parameters, columns = statement.get_parameters(), statement.get_attributes()
        except _UnreadableTypeError:
            return [await self._found(expression) for expression in expressions]
        if parameters:
            raise _RefusedError(_PARAMETER)
        if len(columns) != len(expressions):
            raise _RefusedError("it is more than one expression")
        return [column.type.oid for column in columns]

    async def _found(self, expression: str) -> int:
        """The oid of its type, which the driver need not know. Raises _RefusedError."""
        if await self._is_whole_row(expression):
            raise _RefusedError(WHOLE_ROW.format(self.lane.variables["contacts_name"]))
        async with self._asking() as connection:
            statement = await connection.prepare(render("find_type", {**self.lane.variables, "mapped": f"({expression})"}))
            if statement.get_parameters():
                raise _RefusedError(_PARAMETER)
            oid: int = await statement.fetchval()
        return oid

    async def _is_whole_row(self, expression: str) -> bool:
        """Of the contacts table, which the role need not be able to read as a whole."""
        alike = f"(CASE WHEN false THEN ({expression}) ELSE NULL::{self.lane.variables['contacts_name']} END) IS NULL"
        try:
            async with self._asking() as connection:
                await connection.prepare(render("try_mapping", {**self.lane.variables, "mapped": alike}))
        except _RefusedError:
            return False
        return True

    async def _planned(self, name: str, mapped: Sequence[str], *arguments: object) -> None:
        """Raises _RefusedError."""
        statement = render(name, {**self.lane.variables, "mapped": ",\n    ".join(mapped), "fully": ON})
        async with self._asking() as connection:
            await connection.fetch(render("explain_statement", {"statement": statement}), *arguments)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        """A separate connection, because inside a transaction nothing could be asked after a refusal. Raises _RefusedError, and
        _UnreadableTypeError.
        """
        async with self.database.connection() as connection:
            try:
                yield connection
            except asyncpg.UnsupportedClientFeatureError as error:
                raise _UnreadableTypeError from error
            except asyncpg.PostgresError as error:
                if isinstance(error, asyncpg.FeatureNotSupportedError) or fault_of(error.sqlstate, str(error)) in _OURS:
                    raise _RefusedError(_said(error)) from error
                raise


def wrong(lane: LaneTable, name: str, why: str) -> ConfigurationError:
    contacts = lane.variables["contacts_name"]
    return ConfigurationError(
        f"mapping of {lane.crm}.{name}: {why}. It must be one SQL expression, for one value, over the columns of {contacts}"
    )


def _said(error: asyncpg.PostgresError) -> str:
    advice = ""
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        advice = f". {_GRANTS}"
    elif isinstance(error, _LOOKED_UP):
        advice = f". {_PATH}"
    return f"{reason(error)}{advice}"
