"""What Mautic may find when it is searched for a contact, by its address or its key, and what it would answer."""

from collections.abc import Sequence

from crm_sync.core.outcome import Contact
from crm_sync.crm.exchange import Assumption, Said
from crm_sync.crm.mautic.matching import holds, holds_key, parts, record_id

ANOTHER_ADDRESS, ANOTHER_VALUE = "another.address@example.com", "another value"
SAY = 4711  # a made-up id, if the row has none


def assumptions(contact: Contact, identity: str, reserved: Sequence[str] = ()) -> Sequence[Assumption]:
    """identity: of the contact. reserved: the fields that are sent only where Mautic has no value."""
    if not holds(identity) and not holds_key(identity):
        return ()
    mine = record_id(contact.remote_id)
    record = mine or SAY
    known_by = parts(identity)
    field, value = known_by or ("email", identity)
    what, another = ("this address", ANOTHER_ADDRESS) if known_by is None else (f"its {field}", ANOTHER_VALUE)

    def found(value: str, *filled: str) -> Said:
        values = {"email": None, field: value, **dict.fromkeys(filled, "another value")}
        return Said(200, {"total": "1", "contacts": {str(record): {"id": record, "fields": {"all": values}}}})

    if field == "id":
        # It is not searched for, but looked at by its id where it matters what the record has.
        names = ", ".join(reserved)
        kept = Assumption(f"if record {record} of Mautic has a value of {names}", [found(value, *reserved)])
        return (kept, Assumption(f"if record {record} of Mautic has no value of {names}", [found(value)])) if reserved else ()
    nobody = Said(200, {"total": "0", "contacts": {}})
    named = f"record {record}" if mine else f"a record, {record} say,"
    filled = Assumption(f"if {named} of Mautic has {what} and a value of {', '.join(reserved)}", [found(value, *reserved)])
    return (
        Assumption(f"if {named} of Mautic has {what}", [found(value)]),
        *((filled,) if reserved else ()),
        # Where it matters what the record has, it is looked at by its id then.
        Assumption(f"if no record of Mautic has {what}", [nobody, *([found(another)] if mine and reserved else [])]),
    )
