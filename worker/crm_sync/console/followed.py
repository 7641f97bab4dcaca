"""The page of a contact that waits for something: it is drawn again when that has happened, and costs almost nothing until then.

A page asks whether its row has changed, which reads a few columns by the key. However many pages ask, that and what is drawn for
them take at most a hundredth of the time of one connection: who asks too early hears that there is nothing new.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

from crm_sync.api.models import ContactAt, ContactView
from crm_sync.api.reader import SHARE
from crm_sync.table.one_contact import Match

PENDING = ("in line", "waiting", "unseen", "in flight")  # verdicts that something comes after by itself
COLUMNS = ("attempts", "due_at", "synced_at", "flipped_at")  # what has happened changes one of these, or the status


def pending(contact: ContactView) -> list[str]:
    """The CRMs at which something comes."""
    return [at.crm for at in contact.crms if at.verdict in PENDING]


def mark_of_page(contact: ContactView) -> str:
    """What has to differ for the page to be drawn again."""
    return ".".join(_mark(at.status, at) for at in contact.crms if at.verdict in PENDING)


def mark_of_rows(rows: Iterable[Match]) -> str:
    """The same, as its rows are now."""
    return ".".join(_mark(row.sync_status, row) for row in rows)


def _mark(status: str | None, row: ContactAt | Match) -> str:
    return "~".join((status or "", *(_plain(getattr(row, column)) for column in COLUMNS)))


def _plain(value: datetime | int | None) -> str:
    return f"{value.timestamp():.6f}" if isinstance(value, datetime) else str(value or 0)


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
