"""Whether the value that HubSpot holds for a property is the one that was sent, by the property's type.

All values are texts there. Options come in the order of the property, and phone numbers are formatted. [HubSpot, CRM properties]
"""

from collections.abc import Callable, Mapping
from typing import Any

from crm_sync.core.likeness import same_day, same_moment, same_number, same_options, same_phone, same_text, same_truth
from crm_sync.core.remote_schema import RemoteField

# Formatted by HubSpot, like a property whose field type is phone number.
PHONES = frozenset({"phone", "mobilephone", "fax"})
PHONE_FIELD = "phonenumber"

_BY_TYPE: Mapping[str, Callable[[Any, Any], bool]] = {
    "number": same_number,
    "date": same_day,
    "datetime": same_moment,
    "bool": same_truth,
    "enumeration": lambda sent, held: same_options(sent, held, ";"),
}


def same(field: RemoteField | None, name: str, sent: Any, held: Any) -> bool:
    if name in PHONES or (field is not None and field.shown.get("fieldType") == PHONE_FIELD):
        return same_phone(sent, held)
    return same_text(sent, held) or _BY_TYPE.get("" if field is None else field.type, same_text)(sent, held)
