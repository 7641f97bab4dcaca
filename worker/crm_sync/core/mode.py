"""Whether a delivery may create a record, change one, or both."""

from enum import StrEnum

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Contact, Outcome, Verdict


class Mode(StrEnum):
    """upsert: both. update: contacts missing from the CRM are not created. create: existing records are not changed."""

    UPSERT = "upsert"
    UPDATE = "update"
    CREATE = "create"


def not_there(crm: str) -> Outcome:
    return Outcome.rejected(Code.NOT_THERE, f"{crm} has no such contact, and {crm.upper()}_MODE=update creates none")


def already_there(crm: str, contact: Contact, remote_id: str | None) -> Outcome:
    """The record's id is stored, even if the record is our own and the answer to its creation was lost. Its fields were not
    changed.
    """
    words = f"{crm} has the contact already, and {crm.upper()}_MODE=create leaves it as it is"
    return Outcome.delivered(remote_id, Code.ALREADY_THERE, words, frozenset(contact.fields))


def is_written(outcome: Outcome) -> bool:
    """Whether there is a record with what was sent: not if one existed already, which is left unchanged."""
    return outcome.verdict is Verdict.DELIVERED and outcome.code != Code.ALREADY_THERE
