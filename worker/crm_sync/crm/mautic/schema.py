"""The contact fields of a Mautic installation, from `GET /api/fields/contact` [mautic/mautic: FieldApiController, LeadField].

Mautic silently drops values for fields that do not exist or are not published.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.remote_schema import ANY, DATES, NUMBERS, WRITTEN, RemoteField, RemoteSchema
from crm_sync.core.values import Kind
from crm_sync.crm.answer import Answer
from crm_sync.crm.mautic.storage import OTHER_MEMBERS
from crm_sync.errors import OutageError

FIELDS = "/api/fields/contact"
PAGE_OF_FIELDS = 200

_MAY_BE_ANY = WRITTEN | {Kind.JSON}
_SINGLE = ANY - DATES
_TAKES: Mapping[str, frozenset[Kind]] = {
    "number": _MAY_BE_ANY | NUMBERS | {Kind.BOOLEAN},
    "boolean": _MAY_BE_ANY | NUMBERS | {Kind.BOOLEAN},
    "date": _MAY_BE_ANY | DATES,
    "datetime": _MAY_BE_ANY | DATES,
    "time": _MAY_BE_ANY,
    "email": _MAY_BE_ANY,
    "url": _MAY_BE_ANY,
    "country": _MAY_BE_ANY,
    "region": _MAY_BE_ANY,
    "timezone": _MAY_BE_ANY,
    "locale": _MAY_BE_ANY,
    "select": _SINGLE,
    "multiselect": _SINGLE,
}


def shown(answer: Answer, *, after: bool) -> list[Mapping[str, Any]]:
    """The fields in an answer. after: whether others came before them. Raises OutageError if there are none: every installation
    has some.
    """
    values = answer.get("fields") if answer.status == 200 else None
    # A PHP array in JSON.
    listed = [*values.values()] if isinstance(values, dict) else values
    fields: list[Mapping[str, Any]] = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    if not fields and not after:
        raise OutageError(Code.BROKEN_ANSWER, f"Mautic answered {answer.label} and no fields")
    answer.confirm()
    return fields


def schema(fields: Sequence[Mapping[str, Any]]) -> RemoteSchema:
    """fields: as Mautic returns them."""
    found = [_field(field) for field in fields if isinstance(field.get("alias"), str)]
    return RemoteSchema("Mautic", "field", {field.name: field for field in found}, beside=OTHER_MEMBERS)


def _field(members: Mapping[str, Any]) -> RemoteField:
    kind = str(members.get("type") or "text")
    return RemoteField(
        members["alias"],
        kind,
        _TAKES.get(kind, ANY),
        ANY if kind == "multiselect" else frozenset(),
        _options(members, kind),
        "is not published" if members.get("isPublished") is False else None,
        members,
    )


def _options(members: Mapping[str, Any], kind: str) -> tuple[str, ...] | None:
    """As they are stored. Before Mautic 2 they were one text [LeadField, setProperties]."""
    properties = members.get("properties")
    listed = properties.get("list") if isinstance(properties, dict) else None
    if kind not in ("select", "multiselect"):
        return None
    if isinstance(listed, str):
        return tuple(part.partition("::")[0] for part in listed.split("|"))
    values = [*listed.values()] if isinstance(listed, dict) else listed
    if not isinstance(values, list):
        return None
    return tuple(
        str(one["value"] if isinstance(one, dict) else one) for one in values if not isinstance(one, dict) or "value" in one
    )
