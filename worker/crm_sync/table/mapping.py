"""What is sent: for each CRM a list of `CRM field = SQL expression over the contacts row`, from a TOML file.

    [brevo]
    email = "lower(email)"
    FIRSTNAME = "split_part(name, ' ', 1)"

`email` is the address a contact is known by; by default, the column that the table was adopted with. A section replaces the
defaults of its CRM. Further options of a field are in `crm_sync.table.field_options`.
"""

import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from crm_sync.core.consent import Together, over_fields
from crm_sync.core.remote_schema import SentField
from crm_sync.core.values import PLAIN, Apart, Form, Forms, Kind, member_writer, writer
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import quote
from crm_sync.table.adopted_table import AdoptedTable, LaneTable
from crm_sync.table.clearing import column_of, record_column_of
from crm_sync.table.expression_check import WHOLE_ROW, ExpressionCheck, wrong
from crm_sync.table.field_options import CLEAR, IF_EMPTY, KEEP, FieldOptions, read_field, require_possible
from crm_sync.table.kinds import Type
from crm_sync.table.schema import Schema

_AT_TIME_ZONE = "say which one is meant: (...) AT TIME ZONE 'Europe/Berlin'"


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """SQL expressions over a row of the contacts table.

    writers: for the fields whose values are not sent as they are read. longest: characters of one value, for fields that are
    texts of unlimited length. notes: what the user should know about a field. emptied: the fields that are emptied in the CRM if
    the row no longer has a value for them. shapes: the shape of each field, to compare with the CRM's schema; not for names that
    are not fields there. apart: the names of which both are sent, and of which one contact must not have the same id in both.
    if_empty: the fields that are sent only where the CRM has no value. opt_outs: for the names that may opt contacts in again, a
    function that keeps the part of a value that opts out. joins: the names that put contacts on lists. together: makes the fields
    of a row that is sent for several; without it, they are its own.
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
    joins: Collection[str] = ()
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
    check = ExpressionCheck(database, lane, claims=claims)
    types = await check.types(expressions)
    _require_fit(lane, types, forms)
    fields = {name: types[name].bounded(expression, forms.longest) for name, expression in expressions.items() if name != "email"}
    email = f"({expressions['email']})::text"
    await check.prove(expressions, [email, *fields.values()])
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
    joins = [name for name, known in members.items() if forms.members[known].joins]
    return replace(
        FieldMapping(email, fields, writers, longest, notes, shapes=shapes, apart=apart),
        opt_outs=opt_outs,
        joins=joins,
        together=together,
    )


def _require_fit(lane: LaneTable, types: Mapping[str, Type], forms: Forms) -> None:
    """Raises ConfigurationError that names the first expression whose type the CRM does not take."""
    for name, its in types.items():
        if its.is_record:
            raise wrong(lane, name, f"it is a {its.name}, not one value")
        if its.is_row:
            raise wrong(lane, name, WHOLE_ROW.format(its.name))
        if its.shape.kind is Kind.LOCAL_MOMENT and not forms.takes_local_moments and name != "email":
            raise _unfit(lane, name, f"{its.name} does not name a moment: {_AT_TIME_ZONE}")
        if (known := forms.member(name)) is not None:
            member = forms.members[known]
            if its.shape.kind not in (member.lists if its.shape.is_list else member.takes):
                raise _unfit(lane, name, f"it must be {member.wants}, and is {its.name}: cast it, or name another column")


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
