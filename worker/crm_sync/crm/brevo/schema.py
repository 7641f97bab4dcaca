"""The contact attributes of a Brevo account, from `GET /contacts/attributes` [Brevo's OpenAPI, "List all attributes"].

Brevo silently ignores a value of the wrong type [its documentation, "Create a contact"]. So a type that can never fit is reported
before anything is sent, and a value that does not fit is left out and reported in the row (`fits`).
"""

import re
from collections.abc import Mapping
from typing import Any

from crm_sync.core.remote_schema import ANY, NUMBERS, WRITTEN, RemoteField, RemoteSchema
from crm_sync.core.values import Kind
from crm_sync.crm.answer import Answer

# Not attributes, and names that every account has, whether they are listed or not.
BESIDE = frozenset({"EMAIL", "EXT_ID", "SMS", "WHATSAPP", "LANDLINE_NUMBER"})
CATEGORY = "category"
CHOICES = "multiple-choice"

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MAY_BE_ANY = frozenset({Kind.JSON})  # a number in JSON is a number
_TAKES: Mapping[str, frozenset[Kind]] = {
    "text": WRITTEN | _MAY_BE_ANY | {Kind.DATE, Kind.MOMENT},
    "float": NUMBERS | _MAY_BE_ANY,
    "boolean": _MAY_BE_ANY | {Kind.BOOLEAN},
    "date": WRITTEN | {Kind.DATE},
    CHOICES: frozenset(),
    CATEGORY: ANY - {Kind.BOOLEAN},
}
_OBSTACLES = {"calculated": "is calculated by Brevo", "global": "is calculated by Brevo"}


def schema(answer: Answer) -> RemoteSchema | None:
    """None if the answer is not what Brevo documents."""
    values = answer.get("attributes") if answer.status == 200 else None
    if not isinstance(values, list):
        return None
    fields = [_field(value) for value in values if isinstance(value, dict) and isinstance(value.get("name"), str)]
    by_name = {field.name.upper(): field for field in fields}
    return RemoteSchema("Brevo", "attribute", by_name, beside=BESIDE - by_name.keys() | {"EMAIL", "EXT_ID"}, spelled=str.upper)


def fits(field: RemoteField | None, value: Any) -> bool:
    """Whether Brevo accepts this value. field: None if it is unknown."""
    match None if field is None else field.type:
        case "text":
            return isinstance(value, str)
        case "float":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "date":
            return isinstance(value, str) and _DATE.match(value) is not None
        case "multiple-choice":
            return isinstance(value, list)
    return True


def _field(members: Mapping[str, Any]) -> RemoteField:
    category = str(members.get("category") or "")
    kind = CATEGORY if category == CATEGORY else str(members.get("type") or "")
    return RemoteField(
        members["name"],
        kind or "value",
        _TAKES.get(kind, ANY),
        ANY if kind in (CHOICES, "") or kind not in _TAKES else frozenset(),
        _options(members, kind),
        _OBSTACLES.get(category),
        members,
    )


def _options(members: Mapping[str, Any], kind: str) -> tuple[str, ...] | None:
    """A category accepts either the label or the number."""
    if kind == CHOICES and isinstance(choices := members.get("multiCategoryOptions"), list):
        return tuple(map(str, choices))
    if kind == CATEGORY and isinstance(options := members.get("enumeration"), list):
        return tuple(str(one[name]) for one in options if isinstance(one, dict) for name in ("label", "valueStr") if name in one)
    return None
