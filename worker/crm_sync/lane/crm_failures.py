"""Failures of the CRM as this worker meets them: several in a row open the breaker, which all workers share.

The contacts that were in the requests are accused: a probe with another one tells more.
"""

from collections.abc import Collection, Sequence

from crm_sync.core.breaker import FAILURES
from crm_sync.core.outcome import Contact
from crm_sync.core.text import clean
from crm_sync.errors import LaneError, RefusedError
from crm_sync.limits.breaker import LaneBreaker

MOST_ACCUSED = 500


class CrmFailures:
    """Methods that wait raise as Database.fetch does."""

    def __init__(self, breaker: LaneBreaker) -> None:
        self._breaker = breaker
        self._in_a_row = 0
        self._accused: dict[object, None] = {}  # in the order of their latest accusation

    @property
    def accused(self) -> Collection[object]:
        """The contacts, by id, for which the lane was held recently."""
        return self._accused

    def end(self) -> None:
        """The CRM has answered."""
        self._in_a_row = 0

    async def add(self, error: LaneError, contacts: Sequence[Contact]) -> None:
        """A transient failure must be seen several times in a row."""
        refused = isinstance(error, RefusedError)
        probe = self._breaker.is_probe(contacts[0].token)
        self._in_a_row += 1
        self._accuse(contacts)
        if refused or probe or self._in_a_row >= FAILURES:
            self._in_a_row = 0
            await self._breaker.failed(error.code, reason_of(error, contacts), refused=refused, probe=probe)

    async def refuse(self, contact: Contact, code: str, reason: str, *, refused: bool) -> None:
        """Every contact is refused, as this one was last. refused: that is certain, and will not pass soon."""
        self._accuse([contact])
        await self._breaker.failed(code, reason, refused=refused, probe=self._breaker.is_probe(contact.token))

    def _accuse(self, contacts: Sequence[Contact]) -> None:
        for contact in contacts:
            self._accused.pop(contact.id, None)
            self._accused[contact.id] = None
        while len(self._accused) > MOST_ACCUSED:
            del self._accused[next(iter(self._accused))]


def reason_of(error: LaneError, contacts: Sequence[Contact]) -> str:
    """For the log: without anything that a CRM quotes from these contacts, even from its own record."""
    return clean(error.reason, hide=[value for contact in contacts for value in (contact.email, *contact.fields.values())])
