"""What Mautic may find when it is searched for a contact's address, and what it would answer."""

from collections.abc import Sequence

from crm_sync.core.outcome import Contact
from crm_sync.crm.exchange import Assumption, Said
from crm_sync.crm.mautic.matching import address, is_holdable, record_id

SAY = 4711  # a made-up id, if the row has none


def assumptions(contact: Contact) -> Sequence[Assumption]:
    if not is_holdable(contact):
        return ()
    mine = record_id(contact.remote_id)
    record = mine or SAY
    found = {"id": record, "fields": {"all": {"email": address(contact)}}}
    nobody = Said(200, {"total": "0", "contacts": {}})
    named = f"record {record}" if mine else f"a record, {record} say,"
    return (
        Assumption(f"if {named} of Mautic has this address", [Said(200, {"total": "1", "contacts": {str(record): found}})]),
        Assumption("if no record of Mautic has this address", [nobody]),
    )
