"""Looks contacts up in HubSpot: for deletions and `crm-sync match`, and for `crm-sync compare`."""

from collections.abc import Sequence

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.crm.client import Found, Held, Record
from crm_sync.crm.hubspot.api import ContactsApi
from crm_sync.crm.hubspot.batch import Result
from crm_sync.crm.hubspot.inputs import EMAIL, address_of, value_of
from crm_sync.crm.hubspot.refusals import is_id


async def find(api: ContactsApi, emails: Sequence[str]) -> Sequence[Found]:
    """By primary address only: who has it among others may be somebody else."""
    found = await api.records([email.lower() for email in emails], [EMAIL], idProperty=EMAIL)
    ids = {result.email: result.id for result in found}
    return [ids.get(fold(email)) for email in emails]


async def locate(api: ContactsApi, contacts: Sequence[Contact], match: str) -> Sequence[Found]:
    """By the property match, and those whose value HubSpot does not have by primary address. A request each, at most.

    A delivery takes nothing from a record with another value, but fails: the address is taken. So such a record is not theirs.
    """
    values = [value_of(contact, match) for contact in contacts]
    matched = await api.records(filter(None, values), [match], idProperty=match)
    by_value = {str(record.properties.get(match)): record.id for record in matched}
    addresses = ["" if value in by_value else address_of(contact) for contact, value in zip(contacts, values, strict=True)]
    found = await api.records(filter(None, addresses), [*dict.fromkeys([EMAIL, match])], idProperty=EMAIL)
    by_address = {record.email: record for record in found}
    return [
        by_value[value] if value in by_value else _unless_others(by_address.get(fold(address)), match, value)
        for address, value in zip(addresses, values, strict=True)
    ]


def _unless_others(record: Result | None, match: str, value: str) -> Found:
    """value: of the contact that was looked for, empty if it has none."""
    if record is None:
        return None
    theirs = "" if match == EMAIL else str(record.properties.get(match) or "").strip()
    if value and theirs and value != theirs:
        return Outcome.rejected(Code.AMBIGUOUS, f"record {record.id} of HubSpot has the address, and another {match}")
    return record.id


async def read(api: ContactsApi, contacts: Sequence[Contact], names: Sequence[str], match: str) -> Sequence[Held]:
    """By id, then as a delivery finds those whose record was deleted or merged: by the property match, and by address. A request
    each, at most.
    """
    asked = [*dict.fromkeys([*(name for name in names if name != EMAIL), EMAIL, "hs_additional_emails"])]
    ids = [contact.remote_id if is_id(contact.remote_id or "") else None for contact in contacts]
    by_id = {record.id: record for record in await api.records(filter(None, ids), asked)}
    held = [by_id.get(record or "") for record in ids]

    values = [value_of(contact, match) for contact in contacts]
    lost = [value for record, value in zip(held, values, strict=True) if record is None and value]
    matched = await api.records(lost, [*asked, match], idProperty=match)
    by_value = {str(record.properties.get(match)): record for record in matched}
    held = [record or by_value.get(value) for record, value in zip(held, values, strict=True)]

    addresses = [address_of(contact) for contact in contacts]
    lost = [address for record, address in zip(held, addresses, strict=True) if record is None and address]
    found = await api.records(lost, asked, idProperty=EMAIL)
    by_address = {email: record for record in found for email in record.emails}
    held = [record or by_address.get(fold(address)) for record, address in zip(held, addresses, strict=True)]
    return [record and Record(frozenset(record.emails), record.properties) for record in held]
