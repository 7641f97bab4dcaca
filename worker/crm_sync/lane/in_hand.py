"""The ledger of a lane: the contacts that it has claimed, and whose outcomes are not written yet."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crm_sync.core.outcome import Contact, Finish


class InHand:
    """count: the contacts in hand, less those whose rows the application has locked. They hold up no new claim."""

    def __init__(self) -> None:
        self.count = 0
        self._sizes: dict[int, int] = {}  # by token, of claims with large contacts: characters
        self._contacts: set[tuple[object, int]] = set()  # (id, token), as a Contact and a Finish begin
        self._claiming = 0
        self._since: dict[int, float] = {}  # by token: when it was claimed

    def __bool__(self) -> bool:
        """Whether anything is in hand, locked rows included."""
        return bool(self._contacts)

    def __len__(self) -> int:
        """All of them."""
        return len(self._contacts)

    @contextmanager
    def claiming(self, token: int) -> Iterator[None]:
        """Around a claim: what it brings is known before it is here."""
        self._claiming = token
        self._since[token] = time.monotonic()
        try:
            yield
        finally:
            self._claiming = 0

    @property
    def size(self) -> int:
        """Characters of the large contacts in hand, each counted until the last one of its claim is out of it."""
        return sum(self._sizes.values())

    def weigh(self, token: int, size: int) -> None:
        """Of the contacts of this claim, which are in hand, the large ones have this many characters."""
        if size:
            self._sizes[token] = size

    def take(self, contacts: Sequence[Contact | Finish]) -> None:
        """They were claimed, or are finished already and only to be written."""
        self.count += len(contacts)
        self._contacts.update(contact[:2] for contact in contacts)

    def written(self, tried: int, done: Sequence[Finish]) -> None:
        """A statement has written outcomes. tried: those that were in it for the first time; done: those that are out of hand."""
        self.count -= tried
        self._contacts.difference_update(finish[:2] for finish in done)
        if self._sizes:
            left = {token for _, token in self._contacts}
            self._sizes = {token: size for token, size in self._sizes.items() if token in left}

    def ages(self, most: int) -> dict[int, float]:
        """Seconds since the oldest claims were made of which contacts are in hand, by token: of this many claims at most."""
        now, tokens = time.monotonic(), {token for _, token in self._contacts}
        self._since = {token: since for token, since in self._since.items() if token in tokens or token == self._claiming}
        return {token: now - since for token, since in [*self._since.items()][:most]}

    def has(self, token: int) -> bool:
        """Whether any contact claimed with this token is in hand, or may be in a moment."""
        return token == self._claiming or any(token == one for _, one in self._contacts)

    def knows(self, contact_id: object, token: int) -> bool:
        """Whether this contact, claimed with this token, is in hand, or may be in a moment."""
        return token == self._claiming or (contact_id, token) in self._contacts
