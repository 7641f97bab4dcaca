"""What Brevo may know about a contact that is looked up by id, and what it would answer.

[Brevo's OpenAPI, "Get a contact's details"]
"""

from collections.abc import Sequence

from crm_sync.core.identity import fold
from crm_sync.core.outcome import Contact
from crm_sync.crm.exchange import Assumption, Said

ANOTHER_ADDRESS = "another.address@example.com"


MISSING = Said(404, {"code": "document_not_found", "message": "Contact does not exist"})
SAY = 4711  # an id that is made up, where the row has none


def assumptions(contact: Contact, reserved: Sequence[str] = (), *, by_ext_id: bool = False) -> Sequence[Assumption]:
    """reserved: the attributes that are sent only where Brevo has no value. by_ext_id: it is looked for by that, too."""

    def there(address: str, *filled: str) -> Said:
        attributes = {**{name.upper(): "what was sent" for name in contact.emptied}, **dict.fromkeys(filled, "another value")}
        record = contact.remote_id or SAY
        return Said(200, {"id": record, "email": address, "emailBlacklisted": False, "attributes": attributes})

    address, names = fold(contact.email or ""), ", ".join(reserved)
    if not contact.remote_id:
        if not reserved or by_ext_id:
            return ()
        return (
            Assumption(f"if Brevo has a contact with this address, {SAY} say, and no value of {names}", [there(address)]),
            Assumption(f"if Brevo has such a contact, and a value of {names}", [there(address, *reserved)]),
            Assumption("if Brevo has no contact with this address", [MISSING]),
        )
    record = f"contact {contact.remote_id}"
    filled = [Assumption(f"if Brevo has {record}, with this address and a value of {names}", [there(address, *reserved)])]
    return (
        Assumption(f"if Brevo has {record}, with this address", [there(address)]),
        *(filled if reserved else ()),
        Assumption(f"if Brevo has {record}, with another address", [there(ANOTHER_ADDRESS)]),
        Assumption(f"if Brevo has no {record} any more", [MISSING, MISSING] if reserved and not by_ext_id else [MISSING]),
    )
