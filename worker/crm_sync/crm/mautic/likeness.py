"""Whether the value that Mautic holds for a field is the one that was sent, by the field's type.

[mautic/mautic: LeadField, CustomFieldEntityTrait]
"""

from collections.abc import Callable, Mapping
from typing import Any

from crm_sync.core.documents import plain_text
from crm_sync.core.likeness import (
    same_day,
    same_link,
    same_moment,
    same_number,
    same_options,
    same_phone,
    same_plain,
    same_text,
    same_time,
    same_truth,
)
from crm_sync.core.remote_schema import RemoteField
from crm_sync.crm.members import CONTACTABLE

MEMBERS = frozenset({"doNotContact", "tags"})  # that Mautic shows with a contact
SEPARATOR = "|"  # between the options of a multi-select field

_BY_TYPE: Mapping[str, Callable[[Any, Any], bool]] = {
    "boolean": same_truth,
    "date": same_day,
    "datetime": same_moment,
    "time": same_time,
    "multiselect": lambda sent, held: same_options(sent, held, SEPARATOR),
    "tel": same_phone,
    "url": same_link,
}


def same(field: RemoteField | None, sent: Any, held: Any) -> bool | None:
    """None for a document, which no field stores unchanged."""
    kind = "" if field is None else field.type
    if isinstance(sent, dict) or (isinstance(sent, list) and not (kind == "multiselect" and all(map(_is_option, sent)))):
        return None
    if kind == "number":
        return _same_rounded(sent, held, _decimals(field))
    return same_plain(sent, held) or _BY_TYPE.get(kind, same_text)(sent, held)


def same_member(member: str, sent: Any, held: Any) -> bool:
    """For consent and tags: whether the contact is as it was to become."""
    shown = [one for one in held if isinstance(one, dict)] if isinstance(held, list) else []
    if member == "tags":
        there = {_text(one.get("tag")) for one in shown}
        return all((_text(tag[1:]) not in there) if tag.startswith("-") else _text(tag) in there for tag in sent)
    closed = {_text(one.get("channel")) for one in shown if one.get("reason") not in (CONTACTABLE, str(CONTACTABLE))}
    return all((_text(one["channel"]) in closed) is (one["reason"] != CONTACTABLE) for one in sent)


def _text(value: Any) -> str:
    return plain_text(value).strip().casefold()


def _is_option(part: Any) -> bool:
    return isinstance(part, str | int | float) and not isinstance(part, bool)


def _decimals(field: RemoteField | None) -> int | None:
    """To which Mautic rounds a number; None if it does not say."""
    properties = None if field is None else field.shown.get("properties")
    scale = properties.get("scale") if isinstance(properties, dict) else None
    return int(scale) if isinstance(scale, int | str) and str(scale).isdecimal() else None


def _same_rounded(sent: Any, held: Any, decimals: int | None) -> bool:
    """It rounds up, down or to the nearest, depending on the field's setting."""
    if same_number(sent, held) or decimals is None:
        return same_number(sent, held)
    try:
        return abs(float(sent) - float(held)) < 10.0**-decimals
    except (TypeError, ValueError):
        return False
