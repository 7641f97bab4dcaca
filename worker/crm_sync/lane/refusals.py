"""What causes a refusal by status alone: one contact, or the CRM, which refuses every contact.

Such a refusal is a page from a firewall that objects to a contact's content, from a proxy, or from whatever answers at a wrong
address. A contact is to blame if it was refused alone (or is left over from a refused request after the others were cleared, see
`crm_sync.lane.search`), others were served by the same kind of request since, and it is refused alone again. So a firewall that
blocks everything for a while does not make a contact look guilty. Every contact is refused if different ones are, one after
another, and no request of that kind succeeds in between.

Until one of the two is known there is doubt, and requests go out one at a time: a CRM that refuses every contact sees a few dozen
requests, not hundreds, and the first one that is served ends the doubt.
"""

import math
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from crm_sync.core.breaker import FAILURES
from crm_sync.core.operation import Operation
from crm_sync.core.outcome import Contact

ROUNDS = 6  # refusals alone in a row: five neighbours that a firewall objects to are not enough
MOST = 10_000


@dataclass(slots=True)
class Doubt:
    """Single refusals of one kind of request, with no success of that kind in between. Times are by the caller's clock."""

    since: float
    last: float = -math.inf
    rounds: int = 0
    contacts: Counter[Hashable] = field(default_factory=Counter)
    told: bool = False

    @property
    def everybody(self) -> bool:
        """Whether it is time to say so. A single contact refused often enough also counts, in case there is no other."""
        return self.rounds >= ROUNDS or max(self.contacts.values(), default=0) >= FAILURES

    @property
    def is_certain(self) -> bool:
        """Whether different contacts were refused."""
        return len(self.contacts) >= FAILURES

    @property
    def caution(self) -> str:
        """What to add to the reason while it is not certain."""
        if self.is_certain:
            return ""
        if len(self.contacts) == 1:
            return ". Seen with one contact only, with no other to compare: perhaps it alone is refused"
        return f". Seen with {len(self.contacts)} contacts only: perhaps they alone are refused"


class Refusals:
    """What one worker knows about one lane."""

    def __init__(self) -> None:
        self._doubts: dict[Operation, Doubt] = {}
        self._first: dict[Hashable, dict[Operation, float]] = {}  # by contact: when it was first refused alone
        self.last = -math.inf  # time of the latest refusal that proves nothing yet

    def __bool__(self) -> bool:
        """Whether any contact was refused alone."""
        return bool(self._first)

    def suspects(self, contact: Contact) -> bool:
        """Whether it was refused alone, so that it should be sent alone again."""
        return _flip(contact) in self._first

    def proven(self, contact: Contact, operation: Operation) -> bool:
        """For a contact just refused alone: whether others were served since it was first refused alone."""
        return operation.began > self._first.get(_flip(contact), {}).get(operation, math.inf)

    def remember(self, contact: Contact, operation: Operation, refused_at: float) -> None:
        """It was refused then: alone, or together with others that were served without it."""
        flip = _flip(contact)
        if len(self._first) >= MOST and flip not in self._first:
            self._first.clear()
        self._first.setdefault(flip, {}).setdefault(operation, refused_at)

    def add(self, contact: Contact, operation: Operation, began: float, now: float) -> Doubt:
        """It was refused alone, by a request that began then, and nothing proves that it is to blame."""
        doubt = self._doubts.get(operation)
        if doubt is None or operation.served_at > doubt.last:
            if len(self._doubts) >= MOST:
                self._doubts.clear()
            doubt = self._doubts[operation] = Doubt(since=now)
        # Requests in flight at the same time count as one piece of evidence.
        if began > doubt.last:
            doubt.rounds += 1
            doubt.last = now
        doubt.contacts[_flip(contact)] += 1
        self.remember(contact, operation, now)
        self.last = now
        return doubt

    def close(self, doubt: Doubt) -> None:
        """The lane is held because of it. If several contacts were refused, that says nothing against any one of them."""
        if doubt.is_certain:
            for flip in doubt.contacts:
                self._first.pop(flip, None)
        self.last = -math.inf

    def settled(self, contact: Contact) -> None:
        """There is a verdict on the contact."""
        self._first.pop(_flip(contact), None)


def _flip(contact: Contact) -> Hashable:
    """Findings about a contact hold for one flip: after another flip its content may be different."""
    return contact.id, contact.flipped_at
