"""Whether values of a contact may be in a CRM that has not said so.

By the requests that its delivery made (`crm_sync.crm.trail`): one that was refused as a whole, or that found no connection,
stored nothing, one that was not answered may have been stored. A client that speaks otherwise than by our HTTP shell leaves no
trail: then by what it says.
"""

from crm_sync.core.outcome import Contact, Outcome, Unsent, Verdict
from crm_sync.crm.client import Entry
from crm_sync.crm.trail import Trail
from crm_sync.errors import BatchRefusedError, CrmSyncError, OutageError


def may_be_stored(contact: Contact, entry: Entry, trail: Trail | None) -> bool:
    """entry: what was said of it, and not that it was delivered. Of one that was rejected it is known. trail: None if the client
    leaves none.
    """
    match entry:
        case Unsent() | Outcome(verdict=Verdict.REJECTED):
            return False
        case _ if trail is not None:
            return trail.may_have_written(contact)
        case BatchRefusedError(retried=retried):
            return retried
        case _:
            return isinstance(entry, Outcome | OutageError)


def may_be_stored_in_spite_of(error: BaseException, contact: Contact, trail: Trail | None) -> bool:
    """A delivery ended with an error that says nothing about contacts: it was cancelled, or the database is away. trail: as in
    may_be_stored.
    """
    return not isinstance(error, CrmSyncError) if trail is None else trail.may_have_written(contact)
