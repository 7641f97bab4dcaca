"""What an application does next, decided by its seed alone: the same seed makes the same steps, whatever happens to them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from crm_sync.sandbox.process import CRMS
from tests.chaos.ledger import MARKER, Change, Contact, name

CONTACTS = 150  # that an application maintains, approximately
BULK = 200
LATEST = 8
MOVED = ".moved@example.com"
NOT_QUEUED = ("Skipped", "New", "Selected")
INVALID = ("canary-without-an-at", "", None, "canary@nowhere", "canary..dots@example.com")
# Of a hundred steps.
WEIGHTS = {
    "edit and flip": 36,
    "insert and flip": 12,
    "flip again": 12,
    "withdraw": 8,
    "delete": 6,
    "save a stale row": 6,
    "edit and flip, repeatable read": 5,
    "edit only": 4,
    "roll back": 4,
    "change the address": 3,
    "insert a twin": 3,
    "insert an invalid address": 2,
    "flip unseen by triggers": 1,
    "hold row locks": 1,
    "flip in bulk": 1,
}


@dataclass(frozen=True, slots=True)
class Step:
    """A transaction. held_s: seconds from its last statement to its end."""

    what: str
    changes: Sequence[Change]
    held_s: float = 0.0


class Steps:
    """Of one application, which alone writes its contacts. marker: unique across all applications."""

    def __init__(self, application: int, seed: int) -> None:
        self._application = application
        self._chance = Random(f"{seed}, application {application}")
        self._contacts: list[Contact] = []
        self._made = 0
        self._number = 0

    def next(self) -> Step:
        chance = self._chance
        what = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if len(self._contacts) < CONTACTS // 3:
            what = "insert and flip"
        elif len(self._contacts) > CONTACTS and "insert" in what:
            what = "delete"
        self._number += 1
        marker = {MARKER: f"step {self._application}.{self._number}"}
        held_s = chance.uniform(1, 4) if what == "hold row locks" else chance.uniform(0, 0.05)
        return Step(what, self._changes(what, marker), held_s)

    def _changes(self, what: str, marker: dict[str, str | None]) -> list[Change]:  # noqa: PLR0911 (a case each)
        match what:
            case "insert and flip":
                return [self._insert(marker, f"canary.{self._application}.{self._made}@example.com")]
            case "insert an invalid address":
                return [self._insert(marker, self._chance.choice(INVALID))]
            case "insert a twin":
                return [self._insert_twin(marker)]
            case "delete":
                return [Change(self._contacts.pop(self._chance.randrange(len(self._contacts))), deletes=True)]
            case "flip in bulk":
                words = self._some("Queued")
                return [Change(one, marker, words) for one in self._contacts[:BULK]]
            case "hold row locks":
                chosen = self._chance.sample(self._contacts, 5)
                return [Change(one, marker, self._some("Queued"), new_version=True) for one in chosen]
        return [self._change_of_one(what, marker)]

    def _change_of_one(self, what: str, marker: dict[str, str | None]) -> Change:  # noqa: PLR0911 (a case each)
        contact = self._chance.choice(self._contacts)
        match what:
            case "flip again":
                return Change(self._chance.choice(self._contacts[-LATEST:]), marker, self._some("Queued"), new_version=True)
            case "withdraw":
                return Change(self._latest(), marker, self._some(self._chance.choice(NOT_QUEUED)))
            case "edit only":
                return Change(contact, marker, new_version=True)
            case "save a stale row":
                return Change(self._latest(), marker, dict.fromkeys(CRMS, "Queued"), new_version=True)
            case "flip unseen by triggers":
                return Change(self._latest(), marker, self._some("Queued"), new_version=True)
            case "change the address":
                return self._move(contact, marker)
        # The contact just touched comes last: it is the one to be flipped again or withdrawn while in flight.
        self._contacts.remove(contact)
        self._contacts.append(contact)
        return Change(contact, marker, self._some("Queued"), new_version=True)

    def _latest(self) -> Contact:
        """One that is probably in flight."""
        return self._chance.choice(self._contacts[-LATEST:])

    def _some(self, word: str) -> dict[str, str]:
        return dict.fromkeys(self._chance.sample(CRMS, self._chance.randint(1, len(CRMS))), word)

    def _move(self, contact: Contact, marker: dict[str, str | None]) -> Change:
        """To a new address. Not for rows that share one: they share their record too."""
        if contact.shares or not contact.deliverable:
            return Change(contact, marker, self._some("Queued"), new_version=True)
        self._made += 1
        email = f"canary.{self._application}.{self._made}{MOVED}"
        return Change(contact, {**marker, "email": email}, dict.fromkeys(CRMS, "Queued"), new_version=True)

    def _insert(self, marker: dict[str, str | None], email: str | None) -> Change:
        number = self._application * 1_000_000 + self._made
        self._made += 1
        contact = Contact(number, uuid.UUID(int=self._chance.getrandbits(128), version=4), {}, version=0)
        self._contacts.append(contact)
        contact.columns = {"email": email, "first_name": name(number, 1), "last_name": "Canary"}
        return Change(contact, {**marker, "email": email, "last_name": "Canary"}, self._some("Queued"), new_version=True)

    def _insert_twin(self, marker: dict[str, str | None]) -> Change:
        """The address of another row, spelt differently.

        Not one that it has moved to: if the twin were delivered first, there would be two records, and the move would be refused
        permanently.
        """
        other = self._chance.choice(self._contacts)
        if not other.deliverable or MOVED in other.address:
            return self._insert(marker, f"canary.{self._application}.{self._made}@example.com")
        address = other.address
        spelling = self._chance.choice([address.upper(), address.title(), f" {address}", f"{address} ", address])
        change = self._insert(marker, spelling)
        other.shares = change.contact.shares = True
        return change
