"""Finds which of several contacts, refused together by status alone, are to blame. No I/O: it says which to send next.

Refused contacts are sent again in parts, concurrently, and so is each part that is refused. So most innocent contacts are served
in the first rounds. In a small group, each is sent alone except the last: if all others are served, the last is to blame.

A contact is proven to be the culprit by another that is served after it was refused. So two are kept until the end, one from each
end of the batch: if a firewall objects to a few neighbours, they cannot include both.

In a batch of n, one culprit costs at most 2 log2(n) further requests, rounded up, and no other contact waits for more than
log3(n) + 1 rounds, rounded up. With five neighbouring culprits in a hundred, none waits for more than eight.

While nothing is served, every contact may be refused. Then only one part is followed, one request at a time, and only so far.
"""

from collections.abc import Sequence
from typing import NamedTuple

from crm_sync.core.outcome import Contact

FEW = 5  # are sent one by one
MOST_IN_A_ROW = 12  # refusals after something was served: five neighbours that a firewall objects to cause fewer


class Group(NamedTuple):
    """Some of these are to blame, or every contact is refused. refused_at: when that was last seen."""

    contacts: Sequence[Contact]
    refused_at: float


class Found(NamedTuple):
    """refused_at: when it was last refused. alone: in a request of its own; otherwise it was left over from a refused group."""

    contact: Contact
    refused_at: float
    alone: bool


class Search:
    """found: the culprits, or one contact if every one is refused. Times are by the caller's clock."""

    def __init__(self, contacts: Sequence[Contact], now: float) -> None:
        """contacts: at least two, refused together."""
        few = len(contacts) < FEW
        self.found: list[Found] = []
        self._places = {contact.id: place for place, contact in enumerate(contacts)}
        self._refused_at = now
        self._groups = [Group(contacts, now)] if few else []
        self._unknown = [] if few else _parts(contacts[1:-1], 3)
        self._few: list[Group] = []  # groups whose contacts are being sent one by one, except for the last
        self._last: list[Contact] = []  # last contacts of small groups in which another was refused
        self._kept = [] if few else [contacts[0], contacts[-1]]
        self._most_at_first = len(contacts).bit_length()  # refusals until something is served
        self._in_a_row = 0  # consecutive refusals
        self._started = False
        self._served = False  # whether anything was, since the refusal
        self._several = False  # whether several groups were refused, so that several contacts are to blame
        self._ending = False
        self.stopped = False  # the CRM must not be called

    @property
    def left(self) -> list[Contact]:
        """The contacts that are still undecided."""
        groups = [group.contacts for group in self._groups]
        return [contact for contacts in (*groups, *self._unknown, self._last, self._kept) for contact in contacts]

    def next(self, *, served: bool) -> list[Sequence[Contact]]:
        """The groups to send now, concurrently; none at the end. served: whether any was served since the last ones began."""
        self._close_few()
        if served:
            self._served, self._in_a_row = True, 0
        if self.stopped or self._in_a_row >= (MOST_IN_A_ROW if self._served else self._most_at_first):
            return []
        asks = self._all() if self._served or not self._started else self._one()
        self._started = True
        return asks or self._rest()

    def heard(self, refused: Sequence[Contact], now: float) -> None:
        """Of the groups that were sent together, these were refused."""
        if refused:
            self._in_a_row += 1
        if len(refused) == 1:
            self.found.append(Found(refused[0], now, alone=True))
        elif refused:
            self._groups.append(Group(refused, now))

    def stop(self) -> None:
        """The CRM must not be called: nothing more is sent."""
        self.stopped = True

    def _all(self) -> list[Sequence[Contact]]:
        self._several |= len(self._groups) > 1
        asks = [*self._unknown, *(part for group in self._groups for part in self._split(group))]
        self._unknown, self._groups = [], []
        return asks

    def _one(self) -> list[Sequence[Contact]]:
        if self._groups:
            self._groups.sort(key=lambda group: len(group.contacts), reverse=True)
            contacts = self._groups.pop().contacts
            first, *others = _parts(contacts, 3) if len(contacts) > FEW else [[contact] for contact in contacts]
            self._unknown += others
            return [first]
        self._unknown.sort(key=len, reverse=True)
        return [self._unknown.pop()] if self._unknown else []

    def _rest(self) -> list[Sequence[Contact]]:
        """The contacts left over or kept, with those farthest from the culprits at the end."""
        kept = sorted(self._kept, key=self._distance)
        if len(self.found) > 1 and len(kept) > 1:
            # Their neighbours may be to blame too, so they are not sent together with the rest.
            near = [*self._last, *(contact for contact in kept[:1] if self._distance(contact) <= FEW)]
            self._last, self._kept = [], [contact for contact in kept if contact not in near]
            if near:
                return [[contact] for contact in near]
        rest = [*self._last, *kept]
        self._last, self._kept, self._ending = [], [], True
        if len(rest) > 1 and not self.found:
            return self._split(Group(rest, self._refused_at))  # all others were served
        return [rest] if rest else []

    def _distance(self, contact: Contact) -> int:
        """To the nearest culprit found."""
        return min((abs(self._places[contact.id] - self._places[found.contact.id]) for found in self.found), default=0)

    def _split(self, group: Group) -> list[Sequence[Contact]]:
        if len(group.contacts) > FEW and not self._ending:
            return _parts(group.contacts, 2 if self._several else 3)
        self._few.append(group)
        return [[contact] for contact in group.contacts[:-1]]

    def _close_few(self) -> None:
        found = {found.contact.id for found in self.found}
        for group in self._few:
            *others, last = group.contacts
            if self.stopped or any(contact.id in found for contact in others):
                self._last.append(last)
            else:
                self.found.append(Found(last, group.refused_at, alone=False))
        self._few = []


def _parts(contacts: Sequence[Contact], count: int) -> list[Sequence[Contact]]:
    """This many parts of about equal size; only the last may have a single contact."""
    size = max(2, -(-len(contacts) // count))
    return [contacts[place : place + size] for place in range(0, len(contacts), size)]
