"""Whether a delivery may make a record, may change one, or both."""

from enum import StrEnum

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Contact, Outcome, Verdict


class Mode(StrEnum):
    """upsert: both. update: what the CRM does not have is left alone. create: what it has is."""

    UPSERT = "upsert"
    UPDATE = "update"
    CREATE = "create"


def not_there(crm: str) -> Outcome:
    return Outcome.rejected(Code.NOT_THERE, f"{crm} has no such contact, and {crm.upper()}_MODE=update creates none")


def already_there(crm: str, contact: Contact, remote_id: str | None) -> Outcome:
    """Its id is kept: also where the record is our own, and the answer to its making was lost. Its fields are as they were."""
    words = f"{crm} has the contact already, and {crm.upper()}_MODE=create leaves it as it is"
    return Outcome.delivered(remote_id, Code.ALREADY_THERE, words, frozenset(contact.fields))


def is_written(outcome: Outcome) -> bool:
    """Whether there is a record that has what was sent: not where one was there already, which is left as it is."""
    return outcome.verdict is Verdict.DELIVERED and outcome.code != Code.ALREADY_THERE
