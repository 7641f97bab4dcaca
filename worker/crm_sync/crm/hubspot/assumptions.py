"""What HubSpot may know about a contact that is looked for before it is made, and what it would answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from crm_sync.core.mode import Mode
from crm_sync.core.outcome import Contact
from crm_sync.crm.exchange import Assumption, Said
from crm_sync.crm.hubspot.inputs import value_of
from crm_sync.crm.hubspot.refusals import is_id

_A_RECORD = "1"


def assumptions(contact: Contact, mode: Mode, match: str) -> Sequence[Assumption]:
    if mode is Mode.CREATE:
        return ()
    if contact.remote_id and is_id(contact.remote_id):
        return (
            Assumption(f"if HubSpot has record {contact.remote_id}", [_updated(contact.remote_id)]),
            Assumption(f"if HubSpot has no record {contact.remote_id} any more", [_missing(contact.remote_id)]),
        )
    if mode is Mode.UPDATE and (value := value_of(contact, match)):
        return (
            Assumption(f"if HubSpot has a contact with this {match}", [_updated(_A_RECORD, {match: value})]),
            Assumption(f"if HubSpot has no contact with this {match}", [_missing(value)]),
        )
    return ()


def _updated(record: str, properties: Mapping[str, Any] | None = None) -> Said:
    return Said(200, {"status": "COMPLETE", "results": [{"id": record, "properties": properties or {}}]})


def _missing(key: str) -> Said:
    error = {
        "status": "error",
        "category": "OBJECT_NOT_FOUND",
        "message": "Could not get some CONTACT objects, they may be deleted or not exist.",
        "context": {"ids": [key]},
    }
    return Said(207, {"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [error]})
