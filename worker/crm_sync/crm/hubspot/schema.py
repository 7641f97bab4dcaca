"""The contact properties of a HubSpot account, from `GET /crm/v3/properties/contacts` [HubSpot's OpenAPI, CRM properties].

All values are sent as texts, so the content of a text is judged per contact; this module checks what holds for all values of a
type.
"""

from collections.abc import Mapping
from typing import Any

from crm_sync.core.remote_schema import ANY, NUMBERS, WRITTEN, RemoteField, RemoteSchema
from crm_sync.core.values import Kind
from crm_sync.crm.answer import Answer

_MAY_BE_ANY = WRITTEN | {Kind.JSON}
_LONG = {Kind.BIG, Kind.NUMERIC}  # milliseconds since 1970 need more than 32 bits

# By property type: the kinds of single values it accepts. An unlisted type is newer than this table: anything may fit.
_TAKES: Mapping[str, frozenset[Kind]] = {
    "number": _MAY_BE_ANY | NUMBERS,
    "date": _MAY_BE_ANY | {Kind.DATE} | _LONG,
    "datetime": _MAY_BE_ANY | {Kind.MOMENT} | _LONG,
    "bool": _MAY_BE_ANY | {Kind.BOOLEAN},
    "enumeration": ANY - {Kind.MOMENT, Kind.LOCAL_MOMENT},
}
# Options are joined by semicolons, which is not a valid value of other types.
_LISTS: Mapping[str, frozenset[Kind]] = {"number": frozenset(), "date": frozenset(), "datetime": frozenset(), "bool": frozenset()}


def schema(answer: Answer) -> RemoteSchema | None:
    """None if the answer is not what HubSpot documents."""
    values = answer.get("results") if answer.status == 200 else None
    if not isinstance(values, list):
        return None
    fields = [_field(value) for value in values if isinstance(value, dict) and isinstance(value.get("name"), str)]
    return RemoteSchema("HubSpot", "property", {field.name: field for field in fields}, beside=frozenset({"email"}))


def _field(members: Mapping[str, Any]) -> RemoteField:
    kind = str(members.get("type") or "string")
    return RemoteField(
        members["name"],
        kind,
        _TAKES.get(kind, ANY),
        _LISTS.get(kind, ANY),
        _options(members, kind),
        "is read-only" if _is_read_only(members) else None,
        members,
    )


def _options(members: Mapping[str, Any], kind: str) -> tuple[str, ...] | None:
    """None also if HubSpot keeps them elsewhere, as for owners."""
    if kind == "bool":
        return ("true", "false")
    options = members.get("options")
    if kind != "enumeration" or members.get("externalOptions") is True or not isinstance(options, list):
        return None
    return tuple(str(option["value"]) for option in options if isinstance(option, dict) and "value" in option)


def _is_read_only(members: Mapping[str, Any]) -> bool:
    metadata = members.get("modificationMetadata")
    return isinstance(metadata, dict) and metadata.get("readOnlyValue") is True
