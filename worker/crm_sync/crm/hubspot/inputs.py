"""What is sent for each contact of a batch, and which of them go by which key."""

from collections import Counter
from collections.abc import Collection, Sequence

from crm_sync.core.identity import fold
from crm_sync.core.outcome import Contact
from crm_sync.crm.hubspot.refusals import is_id
from crm_sync.crm.values import HUBSPOT

EMAIL = "email"


def address_of(contact: Contact) -> str:
    """As it is sent; an empty text if it has none."""
    return (contact.email or "").strip().lower()


def value_of(contact: Contact, match: str) -> str:
    """What the property of HUBSPOT_MATCH identifies it by; an empty text if it has no value of it."""
    value = None if match == EMAIL else contact.fields.get(match)
    return "" if value is None else str(value).strip()


def known_by_id(contacts: Sequence[Contact]) -> list[int]:
    """The places of those that are updated by their record id.

    Not those that share one: it can have one primary address only, and each would put its own in place of the other's. By
    address each reaches the record that has it. Those that share one with contacts that are not here come without its id
    (`crm_sync.table.shared_records`).
    """
    shared = Counter(contact.remote_id for contact in contacts)
    return [
        place
        for place, contact in enumerate(contacts)
        if contact.remote_id and is_id(contact.remote_id) and (shared[contact.remote_id] == 1 or _goes_first(contact, contacts))
    ]


def _goes_first(contact: Contact, contacts: Sequence[Contact]) -> bool:
    """Of several with its record id. Those without an address put none in place of another, but twice in a request a record is
    refused.
    """
    holders = [one for one in contacts if one.remote_id == contact.remote_id]
    addressed = [one for one in holders if address_of(one)]
    return len(addressed) < 2 and contact is (addressed or holders)[0]


def distinct(contacts: Sequence[Contact], match: str, settled: Collection[int]) -> list[int]:
    """The places of those that have a value of their own of this property, and are not settled. Of several with one value the
    first, or the first with an address: twice in a request HubSpot refuses it, and they are one contact.
    """
    places: dict[str, int] = {}
    for place, contact in enumerate(contacts):
        if place not in settled and (value := fold(value_of(contact, match))):
            first = places.setdefault(value, place)
            if first != place and address_of(contact) and not address_of(contacts[first]):
                places[value] = place
    return [*places.values()]


def properties(contact: Contact, *, emptied: bool) -> dict[str, str]:
    """All are texts already, as HubSpot's OpenAPI wants them. What is empty here stays as it is there, the address too, but for
    what is emptied: an empty text clears a property, and null is ignored. [HubSpot, contacts guide]
    """
    cleared = dict.fromkeys(contact.emptied, "") if emptied else {}
    sent = {**HUBSPOT.fields_of(contact.filled), **cleared, EMAIL: address_of(contact)}
    if not sent[EMAIL]:
        del sent[EMAIL]
    return sent


def properties_of_found(contact: Contact) -> dict[str, str]:
    """Of a contact that is found otherwise than by the id in its row: of such a record it is not known what is in it, unless that
    is what the first delivery left.
    """
    return properties(contact, emptied=not contact.remote_id)
