"""What Brevo may know about a contact that is looked up by id, and what it would answer.

[Brevo's OpenAPI, "Get a contact's details"]
"""

from collections.abc import Sequence

from crm_sync.core.identity import fold
from crm_sync.core.outcome import Contact
from crm_sync.crm.exchange import Assumption, Said

ANOTHER_ADDRESS = "another.address@example.com"


def assumptions(contact: Contact) -> Sequence[Assumption]:
    if not contact.remote_id:
        return ()

    def there(address: str) -> Said:
        attributes = {name.upper(): "what was sent" for name in contact.emptied}
        return Said(200, {"id": contact.remote_id, "email": address, "emailBlacklisted": False, "attributes": attributes})

    missing = Said(404, {"code": "document_not_found", "message": "Contact does not exist"})
    return (
        Assumption(f"if Brevo has contact {contact.remote_id}, with this address", [there(fold(contact.email or ""))]),
        Assumption(f"if Brevo has contact {contact.remote_id}, with another address", [there(ANOTHER_ADDRESS)]),
        Assumption(f"if Brevo has no contact {contact.remote_id} any more", [missing]),
    )
