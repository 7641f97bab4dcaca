"""Which of the sent values Mautic did not store, according to the record in its answer.

It reports success even if it dropped a field: an unknown one (names are case-sensitive), and on POST and PATCH a value that is 0,
false, or between -1 and 1 [mautic/mautic#15030; CustomFieldsApiControllerTrait]. Its answer shows this, because it has all fields
of the record as they are now, including empty ones [CustomFieldEntityTrait, getProfileFields].

Only clear cases are reported, because Mautic trims, rounds and rewrites values in its own ways: an unknown field, one that is
empty although a value was sent, and a number that is still different after 0 was sent.
"""

from collections.abc import Mapping
from typing import Any

from crm_sync.core.outcome import is_empty

# Not fields: members of a contact that the API takes in addition, and fields that Mautic stores elsewhere or in its own way.
OTHER_MEMBERS = frozenset(
    {
        *("id", "email", "owner", "stage", "tags", "utmTags", "doNotContact", "ipAddress", "lastActive", "overwriteWithBlank"),
        *("isPublished", "dateIdentified", "dateAdded", "createdByUser", "points", "company", "companies", "segments"),
    }
)

# Fields that Mautic changes by itself: points by what a contact does, and when it was last seen. [mautic/mautic: Lead,
# adjustPoints; LeadModel, setLastActive]
COUNTED = frozenset({"points", "last_active"})


def held_by(record: Mapping[str, Any], name: str) -> Any:
    """What the record of a search has of a field, or of another member of a contact, such as its owner."""
    stored = _stored(record) or {}
    return stored[name] if name in stored else record.get(name)


def not_stored(sent: Mapping[str, Any], record: Mapping[str, Any]) -> str | None:
    """In words for people, without values; None if there is nothing to say, or the answer does not show the fields."""
    stored = _stored(record)
    if stored is None:
        return None
    names = [name for name in sent if name not in OTHER_MEMBERS]
    unknown = [_with_hint(name, stored) for name in names if name not in stored]
    lost = [name for name in names if name in stored and _is_dropped(sent[name], stored[name])]
    zeros = [name for name in lost if is_zero(sent[name])]
    others = [name for name in lost if name not in zeros]
    said = {
        f"Mautic has no field {', '.join(unknown)}: create it there, or correct the mapping": unknown,
        f"Mautic did not store {', '.join(zeros)}: it takes 0 and false for empty": zeros,
        f"Mautic did not store {', '.join(others)}": others,
    }
    return "; ".join(words for words, concerned in said.items() if concerned) or None


def dropped(sent: Mapping[str, Any], record: Mapping[str, Any]) -> frozenset[str]:
    """The names of the same fields."""
    stored = _stored(record)
    if stored is None:
        return frozenset()
    names = [name for name in sent if name not in OTHER_MEMBERS]
    return frozenset(name for name in names if name not in stored or _is_dropped(sent[name], stored[name]))


def not_blanked(sent: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """The fields that were to be emptied but were not."""
    stored = _stored(record) or {}
    return [name for name, value in sent.items() if value is None and not is_empty(stored.get(name))]


def _stored(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """All fields of the record as they are now; None if the answer does not show them."""
    groups = record.get("fields")
    stored = groups.get("all") if isinstance(groups, dict) else None
    return stored if isinstance(stored, dict) and "email" in stored else None


def _with_hint(name: str, stored: Mapping[str, Any]) -> str:
    other = next((known for known in stored if known.lower() == name.lower()), None)
    return f"{name} (but {other})" if other else name


def _is_dropped(value: Any, stored: Any) -> bool:
    if is_empty(value):
        return False
    if is_empty(stored):
        return True
    kept = _number(stored)
    # A difference of up to 1 may be rounding.
    return is_zero(value) and kept is not None and abs(kept - (_number(value) or 0)) >= 1


def is_zero(value: Any) -> bool:
    """What Mautic takes for empty: any number whose integer part is 0."""
    number = _number(value)
    return number is not None and abs(number) < 1


def _number(value: Any) -> float | None:
    """1 or 0 for a boolean."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
