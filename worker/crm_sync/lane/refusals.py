"""Who is to blame for a refusal by status alone: one contact, or the CRM, which refuses everybody.

Such a refusal is a page: of a firewall that minds what a contact says, of a proxy, or of whatever answers at a wrong address. A
contact is to blame if it was refused alone (or is what was left of a refused request whose others were told apart, see
`crm_sync.lane.search`), others are served by the same kind of request since, and it is refused alone again. A firewall that shuts
out everybody for a while makes no contact look so. Everybody is refused if different contacts are, one after the other, and none
of that kind is served in between.

Until either is known there is doubt, and requests go out one at a time: a CRM that refuses everybody sees a few dozen, not
hundreds, and the first that is served ends the doubt.
"""

import math
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from crm_sync.core.breaker import FAILURES
from crm_sync.core.operation import Operation
from crm_sync.core.outcome import Contact

ROUNDS = 6  # refusals alone in a row: five neighbours that a firewall minds are not everybody
MOST = 10_000


@dataclass(slots=True)
class Doubt:
    """Refusals alone of one kind of request, with no success of that kind in between. Times by the caller's clock."""

    since: float
    last: float = -math.inf
    rounds: int = 0
    contacts: Counter[Hashable] = field(default_factory=Counter)
    told: bool = False

    @property
    def everybody(self) -> bool:
        """Whether it is time to say so. One contact alone is asked often enough, too, where there is no other."""
        return self.rounds >= ROUNDS or max(self.contacts.values(), default=0) >= FAILURES

    @property
    def is_certain(self) -> bool:
        """Whether different contacts were refused."""
        return len(self.contacts) >= FAILURES

    @property
    def caution(self) -> str:
        """What is to be added to what was said, where it is not certain."""
        if self.is_certain:
            return ""
        if len(self.contacts) == 1:
            return ". Seen with one contact only, with no other to compare: a firewall may object to what is in it"
        return f". Seen with {len(self.contacts)} contacts only: a firewall may object to what is in them"


class Refusals:
    """What one worker knows of one lane."""

    def __init__(self) -> None:
        self._doubts: dict[Operation, Doubt] = {}
        self._first: dict[Hashable, dict[Operation, float]] = {}  # by contact: when it was refused alone first
        self.last = -math.inf  # when there was a refusal that proves nothing yet

    def suspects(self, contact: Contact) -> bool:
        """Whether it was refused alone, so that it is better asked alone again."""
        return bool(self._first) and _flip(contact) in self._first

    def proven(self, contact: Contact, operation: Operation) -> bool:
        """Of one that has just been refused alone: whether others were served since it was refused alone before."""
        return operation.began > self._first.get(_flip(contact), {}).get(operation, math.inf)

    def remember(self, contact: Contact, operation: Operation, refused_at: float) -> None:
        """It was refused then, with others that were served without it."""
        self._first.setdefault(_flip(contact), {}).setdefault(operation, refused_at)

    def add(self, contact: Contact, operation: Operation, began: float, now: float) -> Doubt:
        """It was refused alone, by a request that began then, and nothing proves that it is to blame."""
        doubt = self._doubts.get(operation)
        if doubt is None or operation.served_at > doubt.last:
            if len(self._first) >= MOST or len(self._doubts) >= MOST:
                self._first.clear()
                self._doubts.clear()
            doubt = self._doubts[operation] = Doubt(since=now)
        # What was in flight at the same time is one piece of evidence.
        if began > doubt.last:
            doubt.rounds += 1
            doubt.last = now
        doubt.contacts[_flip(contact)] += 1
        self._first.setdefault(_flip(contact), {}).setdefault(operation, now)
        self.last = now
        return doubt

    def close(self, doubt: Doubt) -> None:
        """The lane is held for it. Where several were refused, that says nothing against any of them."""
        if doubt.is_certain:
            for flip in doubt.contacts:
                self._first.pop(flip, None)
        self.last = -math.inf

    def settled(self, contact: Contact) -> None:
        """Something was said of it."""
        if self._first:
            self._first.pop(_flip(contact), None)


def _flip(contact: Contact) -> Hashable:
    """What is known of a contact is known of what it said then: after another flip it may say something else."""
    return contact.id, contact.flipped_at
