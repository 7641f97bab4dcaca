"""Finds which of several contacts, refused together by status alone, are to blame. No I/O: it says which to send next.

Refused contacts are sent again in parts, concurrently, and so is each part that is refused: in three parts, or in four once
several were refused. So most innocent contacts are served in the first rounds. In a small group, each is sent alone except the
last: if all others are served, the last is to blame.

A contact is proven to be the culprit by another that is served after it was refused. So a few are kept until the end, from both
ends of the batch: if a firewall objects to a few neighbours, they cannot include all of these.

After a round in which nothing was served, every contact may be refused. Then witnesses are sent, alone and one after another:
first some of those kept, then others, each as far from the culprits as possible. The first that is served lets the search go on.
How many are enough to end it is decided in `crm_sync.lane.status_refusals`.

In a batch of n, each culprit costs at most 2 log2(n) further requests, rounded up. No other contact waits for more than
log3(n) + 1 rounds, rounded up, because of one culprit, or log3(n) + 4 because of any number of them; in a batch of 100, never for
more than five or eight. Each witness is one round more.
"""

from collections.abc import Sequence
from typing import NamedTuple

from crm_sync.core.outcome import Contact

FEW = 5  # are sent one by one
MANY = 16  # from this many on, two more are kept
PROOF = 2  # of those kept, this many are left for the end


class Group(NamedTuple):
    """Contacts that were refused together. sure: some are to blame; otherwise it may have been one that was taken out."""

    contacts: Sequence[Contact]
    refused_at: float
    sure: bool = True

    def without(self, contact: Contact, *, refused: bool) -> "Group":
        """refused: that contact, alone."""
        others = [one for one in self.contacts if one.id != contact.id]
        changed = len(others) < len(self.contacts)
        return self._replace(contacts=others, sure=self.sure and not refused) if changed else self


class Found(NamedTuple):
    """refused_at: when it was last refused. alone: in a request of its own; otherwise it was left over from a refused group."""

    contact: Contact
    refused_at: float
    alone: bool


class Search:
    """found: the culprits. Times are by the caller's clock."""

    def __init__(self, contacts: Sequence[Contact], now: float) -> None:
        """contacts: at least two, refused together."""
        few = len(contacts) < FEW
        ends = 2 if len(contacts) >= MANY else 1
        self.found: list[Found] = []
        self._places = {contact.id: place for place, contact in enumerate(contacts)}
        self._refused_at = now
        self._groups = [Group(contacts, now)] if few else []
        self._first = [] if few else _parts(contacts[ends:-ends], 3)
        self._few: list[Group] = []  # groups whose contacts are being sent one by one, except for the last
        self._last: list[Contact] = []  # last contacts of small groups in which another was refused
        self._kept = [] if few else [contacts[place] for place in (0, -1, 1, -2)[: 2 * ends]]  # from the very ends first
        self._several = False  # whether several groups were refused, so that several contacts are to blame
        self.stopped = False

    @property
    def left(self) -> list[Contact]:
        """The contacts that are still undecided, once some were sent."""
        self._close_few()
        return [*self._suspected, *self._last, *self._kept]

    @property
    def _suspected(self) -> list[Contact]:
        return [contact for group in self._groups for contact in group.contacts]

    def next(self) -> list[Sequence[Contact]]:
        """The groups to send now, concurrently; none at the end."""
        self._close_few()
        if self.stopped:
            return []
        asks = self._all()
        if not asks:
            self._close_few()  # a contact that is left of a group on its own is to blame, and is not sent
        return asks or self._rest()

    def heard(self, refused: Sequence[Contact], now: float) -> None:
        """Of the groups that were sent together, these were refused."""
        if len(refused) == 1:
            self.found.append(Found(refused[0], now, alone=True))
        elif refused:
            self._groups.append(Group(refused, now))

    def witness(self) -> Contact | None:
        """One to send alone, as far from the culprits as there is. None at the end, where those kept are sent anyway."""
        if not self._groups or not self._kept:
            return None
        return max(self._kept[PROOF:] or self._suspected, key=self._distance)

    def witnessed(self, contact: Contact, refused_at: float | None) -> None:
        """It was sent alone. refused_at: None if it was served."""
        if refused_at is not None:
            self.found.append(Found(contact, refused_at, alone=True))
        groups = [group.without(contact, refused=refused_at is not None) for group in self._groups]
        self._groups = [group for group in groups if group.contacts]
        self._kept = [one for one in self._kept if one.id != contact.id]

    def stop(self) -> None:
        """The CRM must not be called: nothing more is sent."""
        self.stopped = True

    def _all(self) -> list[Sequence[Contact]]:
        if not self._groups and not self._first:
            return []
        self._several |= len(self._groups) > 1
        asks = [*self._first, *(part for group in self._groups for part in self._split(group)), *([one] for one in self._last)]
        self._first, self._groups, self._last = [], [], []
        return asks

    def _rest(self) -> list[Sequence[Contact]]:
        """The contacts left over or kept, with those farthest from the culprits at the end."""
        kept = sorted(self._kept, key=self._distance)
        if len(self.found) > 1:
            # Those near the culprits may be to blame too, so they are not sent together with the rest.
            near = [*self._last, *kept[:-PROOF]]
            self._last, self._kept = [], kept[-PROOF:]
            if near:
                return [[contact] for contact in near]
        rest = [*self._last, *kept]
        self._last, self._kept = [], []
        if len(rest) > 1 and not self.found:
            return self._split(Group(rest, self._refused_at))  # all others were served
        return [rest] if rest else []

    def _distance(self, contact: Contact) -> int:
        """To the nearest culprit found."""
        return min((abs(self._places[contact.id] - self._places[found.contact.id]) for found in self.found), default=0)

    def _split(self, group: Group) -> list[Sequence[Contact]]:
        if len(group.contacts) > FEW:
            return _parts(group.contacts, 4 if self._several else 3)
        if not group.sure:
            return [[contact] for contact in group.contacts]
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
