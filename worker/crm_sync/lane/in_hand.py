"""The ledger of a lane: the contacts it has claimed and not yet finished."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crm_sync.core.outcome import Contact, Finish


class InHand:
    """count: the contacts in hand, without those whose rows the application has locked, which do not hold up new claims."""

    def __init__(self) -> None:
        self.count = 0
        self._sizes: dict[int, int] = {}  # by token, for claims with large contacts: characters
        self._contacts: set[tuple[object, int]] = set()  # (id, token): the first two fields of both Contact and Finish
        self._claiming = 0
        self._since: dict[int, float] = {}  # by token: when it was claimed

    def __bool__(self) -> bool:
        """Whether anything is in hand, locked rows included."""
        return bool(self._contacts)

    def __len__(self) -> int:
        """All contacts in hand."""
        return len(self._contacts)

    @contextmanager
    def claiming(self, token: int) -> Iterator[None]:
        """Around a claim: its token is known before its contacts arrive."""
        self._claiming = token
        self._since[token] = time.monotonic()
        try:
            yield
        finally:
            self._claiming = 0

    @property
    def size(self) -> int:
        """Characters of the large contacts in hand. A claim counts in full until its last contact is finished."""
        return sum(self._sizes.values())

    def weigh(self, token: int, size: int) -> None:
        """The large contacts of this claim, which are in hand, have this many characters."""
        if size:
            self._sizes[token] = size

    def take(self, contacts: Sequence[Contact | Finish]) -> None:
        """These were claimed, or are already finished and only need to be written."""
        self.count += len(contacts)
        self._contacts.update(contact[:2] for contact in contacts)

    def written(self, tried: int, done: Sequence[Finish]) -> None:
        """A statement has written outcomes. tried: those in a statement for the first time. done: those that are finished."""
        self.count -= tried
        self._contacts.difference_update(finish[:2] for finish in done)
        if self._sizes:
            left = {token for _, token in self._contacts}
            self._sizes = {token: size for token, size in self._sizes.items() if token in left}

    def ages(self, most: int) -> dict[int, float]:
        """Seconds since each of the oldest claims with contacts in hand, by token; at most this many claims."""
        now, tokens = time.monotonic(), {token for _, token in self._contacts}
        self._since = {token: since for token, since in self._since.items() if token in tokens or token == self._claiming}
        return {token: now - since for token, since in [*self._since.items()][:most]}

    def has(self, token: int) -> bool:
        """Whether any contact claimed with this token is in hand, or may be soon."""
        return token == self._claiming or any(token == one for _, one in self._contacts)

    def knows(self, contact_id: object, token: int) -> bool:
        """Whether this contact, claimed with this token, is in hand, or may be soon."""
        return token == self._claiming or (contact_id, token) in self._contacts
