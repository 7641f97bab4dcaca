"""What is sent: for each CRM a list of `CRM field = SQL expression over the contacts row`, from a TOML file.

    [brevo]
    email = "lower(email)"
    FIRSTNAME = "split_part(name, ' ', 1)"

`email` is the address a contact is known by; by default, the column that the table was adopted with. A section replaces the
defaults of its CRM. Further options of a field are in `crm_sync.table.field_options`.
"""

import re
import tomllib
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncpg

from crm_sync.core.consent import Together, over_fields
from crm_sync.core.remote_schema import SentField
from crm_sync.core.values import PLAIN, Apart, Form, Forms, Kind, member_writer, writer
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.sqlstates import Fault, fault_of
from crm_sync.postgres.statements import query, quote, render
from crm_sync.postgres.translation import reason
from crm_sync.table.adopted_table import AdoptedTable, LaneTable
from crm_sync.table.clearing import column_of, record_column_of
from crm_sync.table.field_options import CLEAR, IF_EMPTY, KEEP, FieldOptions, read_field, require_possible
from crm_sync.table.kinds import Type
from crm_sync.table.schema import Schema

NOTHING = "NULL::text"
_AT_TIME_ZONE = "say which one is meant: (...) AT TIME ZONE 'Europe/Berlin'"
# Variables of a claim that matches nothing: no worker, no contacts, not a probe.
_CLAIM_NOTHING: tuple[object, ...] = (0, 0, datetime(1, 1, 1, tzinfo=UTC), [], 0, None, False)
_READ_NOTHING: tuple[object, ...] = ([], 0)
_OURS = (Fault.PERSON, Fault.ROW)
_WORD = re.compile(r"\w+")
_LOOKED_UP = (asyncpg.UndefinedFunctionError, asyncpg.UndefinedObjectError, asyncpg.UndefinedTableError)
_PATH = "Qualify what is not Postgres's own with its schema, or name the schema in MAPPING_SEARCH_PATH"
_PARAMETER = "it has a parameter, such as $1, for which there is no value"
_ROW = "it is the whole row of a table ({}): name the column that is meant"
_GRANTS = "Let the owner of the table run what `crm-sync grants` prints for the role of the worker"


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """SQL expressions over a row of the contacts table.

    writers: for the fields whose values are not sent as they are read. longest: characters of one value, for fields that are
    texts of unlimited length. notes: what the user should know about a field. emptied: the fields that are emptied in the CRM if
    the row no longer has a value for them. shapes: the shape of each field, to compare with the CRM's schema; not for names that
    are not fields there. apart: the names of which both are sent, and of which one contact must not have the same id in both.
    if_empty: the fields that are sent only where the CRM has no value. opt_outs: for the names that may opt contacts in again, a
    function that keeps the part of a value that opts out. together: makes the fields of a row that is sent for
    several; without it, they are its own.
    """

    email: str
    fields: Mapping[str, str]
    writers: Mapping[str, Form] = field(default_factory=dict)
    longest: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    emptied: Collection[str] = ()
    shapes: Sequence[SentField] = ()
    apart: Sequence[Apart] = ()
    if_empty: frozenset[str] = frozenset()
    opt_outs: Mapping[str, Form] = field(default_factory=dict)
    together: Together | None = None


def read_file(path: Path | None) -> dict[str, dict[str, Any]]:
    """The sections of the file. Raises ConfigurationError that says what is wrong."""
    if path is None:
        return {}
    try:
        # Editors on Windows may write a byte order mark, which TOML does not allow.
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"MAPPING_FILE: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"MAPPING_FILE: {path} is not UTF-8: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"MAPPING_FILE: {path} is not valid TOML: {error}") from error
    for name, section in content.items():
        if not isinstance(section, dict):
            raise ConfigurationError(f"MAPPING_FILE: {name} is outside a section such as [brevo]")
    return content


def defaults(fields: Mapping[str, str], table: AdoptedTable) -> dict[str, str]:
    """The default fields whose column the table has."""
    return {
        "email": quote(table.email),
        **{field: quote(column) for field, column in fields.items() if column in table.types},
    }


async def prepare_for(
    database: Database,
    crm: str,
    sections: Mapping[str, Mapping[str, Any]],
    default_fields: Mapping[str, str],
    schema: Schema,
    *,
    forms: Forms = PLAIN,
    claims: bool = True,
    empty: str = KEEP,
    required: Mapping[str, str] = MappingProxyType({}),
) -> FieldMapping:
    """What is sent to a CRM: its section of the file, or else the defaults. empty: for fields without an `empty` of their own.
    required: fields that it must have, each with the setting that names it.

    Raises as prepare does, and ConfigurationError if a field is to be cleared but clearing is off, if an option asks for
    something the client cannot do, and if a field occurs twice or is missing.
    """
    asked = _asked(crm, sections, default_fields, schema.table)
    require_possible(crm, asked, forms, empty, required)
    subscribing = {name for name, one in asked.items() if one.subscribe}
    every = expressions_for(crm, sections, default_fields, schema.table)
    mapping = await prepare(database, schema.lanes[crm], every, forms, subscribing=subscribing, claims=claims)
    if_empty = [name for name in mapping.fields if asked[name].set == IF_EMPTY]
    # The address is never emptied, and what belongs to others once they have filled it only where the field itself says so.
    emptied = [
        name
        for name in mapping.fields
        if (asked[name].empty or (KEEP if name in if_empty else empty)) == CLEAR and not _stays(name, forms)
    ]
    if emptied and not {column_of(crm), record_column_of(crm)} <= schema.table.types.keys():
        raise ConfigurationError(
            f"mapping of {crm}.{emptied[0]}: it cannot be cleared, because clearing is off for {crm}: as the owner of "
            f"{schema.table.name}, run `crm-sync clearing {crm} on`"
        )
    notes = [
        *mapping.notes,
        *_listed("sent only where the CRM has no value", if_empty),
        *_listed("opted in at each delivery of a row that says so", [name for name in mapping.fields if name in subscribing]),
    ]
    return replace(mapping, emptied=emptied, if_empty=frozenset(if_empty), notes=notes)


def _listed(note: str, names: Sequence[str]) -> list[str]:
    return [f"{note}: {', '.join(names)}"] if names else []


def expressions_for(
    crm: str, sections: Mapping[str, Mapping[str, Any]], default_fields: Mapping[str, str], table: AdoptedTable
) -> dict[str, str]:
    """The same as written, without type information. Raises ConfigurationError that names anything that is not an expression."""
    asked = _asked(crm, sections, default_fields, table)
    return {"email": quote(table.email), **{name: one.sql for name, one in asked.items()}}


def _asked(
    crm: str, sections: Mapping[str, Mapping[str, Any]], default_fields: Mapping[str, str], table: AdoptedTable
) -> dict[str, FieldOptions]:
    section = sections.get(crm) or defaults(default_fields, table)
    return {name: read_field(crm, name, value) for name, value in section.items()}


def _stays(name: str, forms: Forms) -> bool:
    """Neither the address nor consent, lists and tags are ever cleared."""
    return name.lower() == "email" or forms.member(name) is not None


async def prepare(
    database: Database,
    lane: LaneTable,
    expressions: Mapping[str, str],
    forms: Forms,
    *,
    subscribing: Collection[str] = (),
    claims: bool = True,
) -> FieldMapping:
    """Makes Postgres parse and plan the claim with these expressions, as the role that will run it.

    forms: how the CRM takes values. subscribing: the names that may opt contacts in again. claims: the role is a worker's; a role
    that only reads cannot claim.

    Raises ConfigurationError that names the CRM and the first wrong expression.
    """
    door = _Door(database, lane, claims=claims)
    types = await door.types(expressions)
    for name, its in types.items():
        if its.is_record:
            raise _wrong(lane, name, f"it is a {its.name}, not one value")
        if its.is_row:
            raise _wrong(lane, name, _ROW.format(its.name))
        if its.shape.kind is Kind.LOCAL_MOMENT and not forms.takes_local_moments and name != "email":
            raise _unfit(lane, name, f"{its.name} does not name a moment: {_AT_TIME_ZONE}")
        if (known := forms.member(name)) is not None:
            member = forms.members[known]
            if its.shape.kind not in (member.lists if its.shape.is_list else member.takes):
                raise _unfit(lane, name, f"it must be {member.wants}, and is {its.name}: cast it, or name another column")
    fields = {name: types[name].bounded(expression, forms.longest) for name, expression in expressions.items() if name != "email"}
    email = f"({expressions['email']})::text"
    await door.prove(expressions, [email, *fields.values()])
    found = {name: _writer_of(name, types[name], forms, subscribe=name in subscribing) for name in fields}
    spelled = {known: name for name in fields if (known := forms.member(name)) is not None}
    notes = [note for name in fields if (note := _note(name, types[name], forms))] + _needs(fields, forms)
    writers = {name: form for name, form in found.items() if form is not None}
    longest = {name: forms.longest for name in fields if types[name].is_text}
    apart = [
        Apart(spelled[pair.joins], spelled[pair.leaves], pair.noun)
        for pair in forms.apart
        if pair.joins in spelled and pair.leaves in spelled
    ]
    shapes = [
        SentField(name, types[name].name, types[name].shape, types[name].labels) for name in fields if forms.member(name) is None
    ]
    members = {name: known for name in fields if (known := forms.member(name)) is not None}
    together = over_fields(members, forms.together) if members and forms.together else None
    opt_outs = {name: form for name, known in members.items() if name in subscribing and (form := forms.members[known].opt_outs)}
    return FieldMapping(email, fields, writers, longest, notes, shapes=shapes, apart=apart, opt_outs=opt_outs, together=together)


def _writer_of(name: str, its: Type, forms: Forms, *, subscribe: bool) -> Form | None:
    known = forms.member(name)
    return writer(its.shape, forms) if known is None else member_writer(its.shape, forms.members[known], subscribe=subscribe)


def _needs(names: Iterable[str], forms: Forms) -> list[str]:
    """The permissions that the CRM's key needs for these names, beyond those for fields."""
    found: dict[str, list[str]] = {}
    for name in names:
        if (known := forms.member(name)) is not None and (needs := forms.members[known].needs):
            found.setdefault(needs, []).append(name)
    return [f"For {', '.join(those)} the key needs {needs}" for needs, those in found.items()]


def _note(name: str, its: Type, forms: Forms) -> str | None:
    """A value that is sent anyway, but may not be what was intended."""
    match its.shape.kind:
        case Kind.OTHER | Kind.INTERVAL:
            return f"{name} is sent as Postgres writes {its.name}: cast it to send another form"
        case Kind.LOCAL_MOMENT if forms.local_moment is not None:
            return f"{name} is sent as it is, a {its.name}, which the CRM takes for UTC: {_AT_TIME_ZONE}"
    return None


def _unfit(lane: LaneTable, name: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"mapping of {lane.crm}.{name}: {why}")


def _wrong(lane: LaneTable, name: str, why: str) -> ConfigurationError:
    contacts = lane.variables["contacts"]
    return ConfigurationError(
        f"mapping of {lane.crm}.{name}: {why}. It must be one SQL expression, for one value, over the columns of {contacts}"
    )


class _UnreadableTypeError(Exception):
    """The driver has no object for it: a composite type with a member that it can read only as text."""


class _RefusedError(Exception):
    """Postgres's objection to it."""


@dataclass(frozen=True, slots=True)
class _Door:
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
        if await self._fault(NOTHING) is None:
            for name, expression in expressions.items():
                if (fault := await self._fault(expression)) is not None:
                    return _wrong(self.lane, name, fault)
        return ConfigurationError(f"mapping of {self.lane.crm}: its contacts cannot be claimed: {said}")

    async def _fault(self, expression: str) -> str | None:
        """What is wrong with one expression."""
        try:
            await self._returned([expression])
            await self._planned("try_mapping", [f"({expression})"])
            await self._planned("read_contacts", [f"({expression})"], *_READ_NOTHING)
        except _RefusedError as error:
            if isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError) and (named := await self._unread(expression)):
                return f"the role may not read {named} of {self.lane.variables['contacts']}. {_GRANTS}"
            return str(error)
        return None

    async def _unread(self, expression: str) -> str:
        """The columns in it that the role may not read, because Postgres names only the table. Empty if they
        are not the reason.
        """
        rows = await self.database.fetch(query("list_unreadable_columns"), self.lane.variables["contacts"])
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
            raise _RefusedError(_ROW.format(self.lane.variables["contacts"]))
        async with self._asking() as connection:
            statement = await connection.prepare(render("find_type", {**self.lane.variables, "mapped": f"({expression})"}))
            if statement.get_parameters():
                raise _RefusedError(_PARAMETER)
            oid: int = await statement.fetchval()
        return oid

    async def _is_whole_row(self, expression: str) -> bool:
        """Of the contacts table, which the role need not be able to read as a whole."""
        alike = f"(CASE WHEN false THEN ({expression}) ELSE NULL::{self.lane.variables['contacts']} END) IS NULL"
        try:
            async with self._asking() as connection:
                await connection.prepare(render("try_mapping", {**self.lane.variables, "mapped": alike}))
        except _RefusedError:
            return False
        return True

    async def _planned(self, name: str, mapped: Sequence[str], *arguments: object) -> None:
        """Raises _RefusedError."""
        statement = render(name, {**self.lane.variables, "mapped": ",\n    ".join(mapped)})
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


def _said(error: asyncpg.PostgresError) -> str:
    advice = ""
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        advice = f". {_GRANTS}"
    elif isinstance(error, _LOOKED_UP):
        advice = f". {_PATH}"
    return f"{reason(error)}{advice}"
