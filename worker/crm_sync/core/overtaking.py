"""Which contacts others may have overtaken: of two rows with one address, the one flipped last is to be sent last.

Contacts are claimed in the order of their flips, with exceptions: a share of a backlog's claims goes to fresh flips, a row was
locked by the application when its turn came, a flip was committed late. Then a contact is claimed after others that were flipped
later. The CRM may already have what one of them says of the same person, so it is looked at once it is delivered
(`crm_sync.table.overwritten`).

What other workers send, a lane does not see. But an address is in one request at a time, so what they sent before has ended when
the address is locked for a contact. So that contact was flipped longer ago than a request takes. What workers have sent that have
ended is noted in the database: the newest flip of each lane (`crm_sync.table.newest_sent`).
"""

from datetime import datetime, timedelta

from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Contact

LEAST_AHEAD, MOST_AHEAD = timedelta(seconds=1), timedelta(days=1)
NOTE_S = 1.0  # seconds
SHORTEST_REQUEST = timedelta(milliseconds=5)  # with the claim before it: no CRM answers sooner, not even on the same machine


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


class Ahead:
    """When the newest flip that was sent is to be noted, and as what. A later time is noted, so that the next flips need no note:
    the more of them are sent within NOTE_S, the later. So there is about one note in that time.
    """

    def __init__(self) -> None:
        self._noted = BEGINNING
        self._at = -NOTE_S
        self._by = LEAST_AHEAD

    def until(self, newest: datetime, now: float) -> datetime | None:
        """What is to be noted for this flip; None if that much is noted. now: seconds, by any clock."""
        if newest <= self._noted:
            return None
        self._by = min(self._by * 2, MOST_AHEAD) if now < self._at + NOTE_S else max(self._by / 2, LEAST_AHEAD)
        return newest + self._by

    def noted(self, until: datetime, now: float) -> None:
        """By this worker or another."""
        self._noted, self._at = until, now
