"""Whether the value that Brevo holds for an attribute is the one that was sent, by the attribute's type."""

from collections.abc import Callable, Mapping
from typing import Any

from crm_sync.core.likeness import (
    same_day,
    same_number,
    same_options,
    same_phone,
    same_plain,
    same_text,
    same_truth,
)
from crm_sync.core.remote_schema import RemoteField
from crm_sync.crm.brevo.lists import JOINED, LEFT
from crm_sync.crm.brevo.schema import CATEGORY, CHOICES, fitted

# Stored as digits, with the country code first. [Brevo, "accepted number formats"]
PHONES = frozenset({"SMS", "WHATSAPP", "LANDLINE_NUMBER"})

_BY_TYPE: Mapping[str, Callable[[Any, Any], bool]] = {
    "text": same_text,
    "float": same_number,
    "boolean": same_truth,
    "date": same_day,
    CHOICES: same_options,
}


def same(field: RemoteField | None, name: str, sent: Any, held: Any) -> bool | None:
    """None for a value that Brevo would ignore, and that is therefore not sent."""
    if fitted(field, sent) is None:
        return None
    if name in PHONES:
        return same_phone(sent, held)
    if field is not None and field.type == CATEGORY:
        return same_text(sent, held) or same_text(_number(field, sent), _number(field, held))
    return same_plain(sent, held) or _BY_TYPE.get("" if field is None else field.type, same_plain)(sent, held)


def same_member(member: str, sent: Any, held: Any) -> bool:
    """For consent and lists: whether the contact is as it was to become. held: for lists, those that it is on."""
    if member not in (JOINED, LEFT):
        return same_truth(sent, held)
    on = {one for one in held if isinstance(one, int)} if isinstance(held, list) else set()
    return on.isdisjoint(sent) if member == LEFT else on.issuperset(sent)


def _number(field: RemoteField, value: Any) -> Any:
    """For an option named by its label, either the label or the number."""
    options = field.shown.get("enumeration")
    for one in options if isinstance(options, list) else ():
        if isinstance(one, dict) and one.get("label") == value:
            return one.get("value")
    return value
