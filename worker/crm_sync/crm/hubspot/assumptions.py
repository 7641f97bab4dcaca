"""What HubSpot may know about a contact that is updated by id, and what it would answer."""

from collections.abc import Sequence

from crm_sync.core.outcome import Contact
from crm_sync.crm.exchange import Assumption, Said
from crm_sync.crm.hubspot.refusals import is_id


def assumptions(contact: Contact) -> Sequence[Assumption]:
    if not contact.remote_id or not is_id(contact.remote_id):
        return ()
    there = Said(200, {"status": "COMPLETE", "results": [{"id": contact.remote_id, "properties": {}}]})
    error = {
        "status": "error",
        "category": "OBJECT_NOT_FOUND",
        "message": "Could not get some CONTACT objects, they may be deleted or not exist.",
        "context": {"ids": [contact.remote_id]},
    }
    missing = Said(207, {"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [error]})
    return (
        Assumption(f"if HubSpot has record {contact.remote_id}", [there]),
        Assumption(f"if HubSpot has no record {contact.remote_id} any more", [missing]),
    )
