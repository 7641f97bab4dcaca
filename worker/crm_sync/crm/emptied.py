"""Fields that were to be cleared in a CRM, but still have a value there."""

from collections.abc import Collection

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Contact, Outcome, Verdict
from crm_sync.crm.client import Entry


def not_emptied(contact: Contact, entry: Entry) -> Entry:
    """For a contact that was matched by its address, so that nothing was cleared. If the match is the record that the row names,
    its fields still have their values.
    """
    if not contact.emptied or not contact.remote_id or not isinstance(entry, Outcome) or entry.verdict is not Verdict.DELIVERED:
        return entry
    return entry._replace(left=entry.left | {*contact.emptied}) if entry.remote_id == contact.remote_id else entry


def still_there(outcome: Outcome, crm: str, names: Collection[str]) -> Outcome:
    """For a contact that was delivered, while the CRM shows that these fields still have a value."""
    if not names:
        return outcome
    said = f"{crm} did not clear {', '.join(sorted(names))}"
    reason = said if outcome.reason is None else f"{outcome.reason}; {said}"
    return outcome._replace(code=outcome.code or Code.FIELD_NOT_SENT, reason=reason, left=outcome.left | {*names})
