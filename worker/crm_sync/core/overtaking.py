"""Which contacts others may have overtaken: of two rows with one address, the one flipped last is to be sent last.

Contacts are claimed in the order of their flips, with exceptions: a share of a backlog's claims goes to fresh flips, a row was
locked by the application when its turn came, a flip was committed late. Then a contact is claimed after others that were flipped
later. The CRM may already have what one of them says of the same person, so it is looked at once it is delivered
(`crm_sync.table.overwritten`).

What other workers send, a lane does not see. But an address is in one request at a time, so what they sent before has ended when
the address is locked for a contact. So it was flipped longer ago than a request takes.
"""

from datetime import datetime, timedelta

from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Contact

SHORTEST_REQUEST = timedelta(milliseconds=10)  # no CRM answers sooner


class Overtaking:
    """Of the claims of one lane, in their order."""

    def __init__(self) -> None:
        self._latest = BEGINNING  # flip of those that were claimed

    def marked(self, contacts: list[Contact]) -> list[Contact]:
        """The contacts of the next claim, late if they may have been overtaken."""
        if not contacts:
            return contacts
        flips = [contact.flipped_at for contact in contacts]
        latest, self._latest = self._latest, max(self._latest, *flips)
        if min(flips) >= latest:
            return contacts
        return [one._replace(late=True) if one.flipped_at < latest else one for one in contacts]


def overtaken_by_others(contact: Contact, locked_at: datetime) -> bool:
    """Whether another worker may have sent a later flip of its address before that was locked for this contact."""
    return locked_at - contact.flipped_at > SHORTEST_REQUEST
