"""The page of a contact that waits for something: it is drawn again when that has happened, and costs almost nothing until then.

A page asks whether its row has changed, which reads a few columns by the key. However many pages ask, that and what is drawn for
them take at most a hundredth of the time of one connection: who asks too early hears that there is nothing new.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from crm_sync.api.models import ContactView
from crm_sync.api.reader import SHARE

PENDING = ("in line", "waiting", "unseen", "in flight")  # verdicts that something comes after by itself


def pending(contact: ContactView) -> list[str]:
    """The CRMs at which something comes."""
    return [at.crm for at in contact.crms if at.verdict in PENDING]


def marked(contact: ContactView) -> str:
    """What has to differ for the page to be drawn again."""
    return ".".join(
        mark(at.status, at.attempts, at.due_at, at.synced_at, at.flipped_at) for at in contact.crms if at.verdict in PENDING
    )


def mark(status: str | None, attempts: int | None, *moments: datetime | None) -> str:
    """Of one row at one CRM."""
    return "~".join((status or "", str(attempts or 0), *("" if one is None else f"{one.timestamp():.6f}" for one in moments)))


class Turns:
    """clock: in seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock()

    def free(self) -> bool:
        """Whether the database may be asked again."""
        return self._clock() >= self._next

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Meanwhile the database is asked."""
        began = self._clock()
        self._next = float("inf")  # one at a time
        try:
            yield
        finally:
            now = self._clock()
            self._next = now + (now - began) / SHARE
