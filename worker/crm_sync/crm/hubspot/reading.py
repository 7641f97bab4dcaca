"""Looks contacts up in HubSpot: for deletions and `crm-sync match`, and for `crm-sync compare`."""

from collections.abc import Sequence

from crm_sync.core.identity import fold
from crm_sync.core.outcome import Contact
from crm_sync.crm.client import Found, Held, Record
from crm_sync.crm.hubspot.api import ContactsApi
from crm_sync.crm.hubspot.refusals import is_id


async def find(api: ContactsApi, emails: Sequence[str]) -> Sequence[Found]:
    """By primary address only: who has it among others may be somebody else."""
    found = await api.records([email.lower() for email in emails], ["email"], idProperty="email")
    ids = {result.email: result.id for result in found}
    return [ids.get(fold(email)) for email in emails]


async def read(api: ContactsApi, contacts: Sequence[Contact], names: Sequence[str]) -> Sequence[Held]:
    """Two requests at most. A record that was merged is found by its address, as a delivery finds it."""
    asked = [*dict.fromkeys([*(name for name in names if name != "email"), "email", "hs_additional_emails"])]
    ids = [contact.remote_id if is_id(contact.remote_id or "") else None for contact in contacts]
    by_id = {record.id: record for record in await api.records(filter(None, ids), asked)}
    addresses = [(contact.email or "").strip().lower() for contact in contacts]
    lost = [address for record, address in zip(ids, addresses, strict=True) if record not in by_id and address]
    found = await api.records(lost, asked, idProperty="email")
    by_address = {email: record for record in found for email in record.emails}
    held = [by_id.get(record or "") or by_address.get(fold(address)) for record, address in zip(ids, addresses, strict=True)]
    return [record and Record(frozenset(record.emails), record.properties) for record in held]
