"""What Mautic may find when it is searched for a contact's address, and what it would answer."""

from collections.abc import Sequence

from crm_sync.core.outcome import Contact
from crm_sync.crm.exchange import Assumption, Said
from crm_sync.crm.mautic.matching import address, is_holdable, record_id

ANOTHER_ADDRESS = "another.address@example.com"
SAY = 4711  # a made-up id, if the row has none


def assumptions(contact: Contact, reserved: Sequence[str] = ()) -> Sequence[Assumption]:
    """reserved: the fields that are sent only where Mautic has no value."""
    if not is_holdable(contact):
        return ()
    mine = record_id(contact.remote_id)
    record = mine or SAY

    def found(email: str, *filled: str) -> Said:
        values = {"email": email, **dict.fromkeys(filled, "another value")}
        return Said(200, {"total": "1", "contacts": {str(record): {"id": record, "fields": {"all": values}}}})

    nobody = Said(200, {"total": "0", "contacts": {}})
    named = f"record {record}" if mine else f"a record, {record} say,"
    filled = Assumption(
        f"if {named} of Mautic has this address and a value of {', '.join(reserved)}", [found(address(contact), *reserved)]
    )
    return (
        Assumption(f"if {named} of Mautic has this address", [found(address(contact))]),
        *((filled,) if reserved else ()),
        # Where it matters what the record has, it is looked at by its id then.
        Assumption("if no record of Mautic has this address", [nobody, *([found(ANOTHER_ADDRESS)] if mine and reserved else [])]),
    )
