"""The contact attributes of a Brevo account, from `GET /contacts/attributes` [Brevo's OpenAPI, "List all attributes"].

Brevo silently ignores a value of the wrong type [its documentation, "Create a contact"]. So a type that can never fit is reported
before anything is sent, and a value that does not fit is left out and reported in the row (`fitted`).
"""

import re
from collections.abc import Mapping
from datetime import date
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


def fitted(field: RemoteField | None, value: Any) -> Any:
    """The form in which Brevo accepts this value; None if it ignores it. field: None if it is unknown.

    An option of a category is named by its number: Brevo was reported to ignore its label, and documents the number as its id
    [sendinblue/APIv3-python-library #65; "List all attributes"]. What becomes of choices of which it lacks one is not documented.
    """
    match None if field is None else field.type:
        case "text":
            fits = isinstance(value, str)
        case "float":
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            fits = isinstance(value, bool)
        case "date":
            fits = isinstance(value, str) and _is_date(value)
        case "multiple-choice":
            fits = isinstance(value, list) and (not field or not field.options or set(value) <= set(field.options))
        case "category":
            return _option(field, value)
        case _:
            fits = True
    return value if fits else None


def misfit(field: RemoteField, value: Any) -> str:
    """Why Brevo would ignore this value, in words for people."""
    if field.options is not None and (field.type == CATEGORY or isinstance(value, list)):
        return "it is none of the options that Brevo has for it" if field.type == CATEGORY else "Brevo lacks one of these options"
    return f"Brevo has it as {field.type}"


def _is_date(text: str) -> bool:
    """A day and nothing else: whether Brevo would cut a time off is not documented."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return _DATE.fullmatch(text) is not None


def _option(field: RemoteField | None, value: Any) -> Any:
    """The number of an option that is named by its label or its number; None if it is none."""
    listed = field.shown.get("enumeration") if field else None
    if not isinstance(listed, list):
        return value
    numbers = [(one.get("label"), one.get("value")) for one in listed if isinstance(one, dict)]
    named = [number for label, number in numbers if label == value] or [
        number for _, number in numbers if not isinstance(value, bool) and str(number) == str(value)
    ]
    return named[0] if named else None


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
