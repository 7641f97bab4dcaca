"""The page of a contact that waits for something: it is drawn again when that has happened, and costs almost nothing until then.

A page asks whether its row has changed, which reads a few columns by the key. However many pages ask, that and what is drawn for
them take at most a hundredth of the time of one connection: one that asks too early is told that there is nothing new.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from crm_sync.api.contact_models import ContactAt, ContactView
from crm_sync.api.reader import SHARE
from crm_sync.table.one_contact import Match

PENDING = ("in line", "waiting", "unseen", "in flight")  # verdicts that something comes after by itself
COLUMNS = ("attempts", "due_at", "synced_at", "flipped_at")  # what has happened changes one of these, or the status

SAVED_S = 0.5  # after a quiet while, a dozen pages can be drawn at once
GONE_S = 30.0  # a page that has not asked for longer is closed
LENT_S = 0.05  # what one answer may take of what is not saved yet: all wait five seconds for that


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


@dataclass(slots=True)
class _Page:
    """debt_s: of the database's time. asked: when it last did."""

    asked: float
    debt_s: float = 0.0


class Turns:
    """All pages together are answered for SHARE of the time of one connection; of what is not used, SAVED_S are saved.

    What a page takes is its debt too. Debts are paid off at SHARE of the time, in equal parts, and a page is answered while its
    debt is less than what is saved. So as long as there is enough, all are answered, and then those that have taken least. All
    wait for LENT_S of a slow one at most, and that one for the rest.

    clock: in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()
        self._saved_s = SAVED_S
        self._pages: dict[str, _Page] = {}
        self._is_taken = False

    @contextmanager
    def turn(self, name: str) -> Iterator[bool]:
        """Whether the database may be asked for this page, one at a time, inside."""
        self._earn()
        page = self._pages.setdefault(name, _Page(self._at))
        page.asked = began = self._at
        if self._is_taken or page.debt_s >= self._saved_s:
            yield False
            return
        self._is_taken = True
        try:
            yield True
        finally:
            self._is_taken = False
            self._earn()
            took = self._at - began
            self._saved_s = max(-LENT_S, self._saved_s - took)
            self._pages.setdefault(name, _Page(self._at)).debt_s += took

    def _earn(self) -> None:
        now = self._clock()
        earned, self._at = SHARE * (now - self._at), now
        self._saved_s = min(SAVED_S, self._saved_s + earned)
        part = earned / max(1, len(self._pages))
        for page in self._pages.values():
            page.debt_s = max(0.0, page.debt_s - part)
        self._pages = {name: page for name, page in self._pages.items() if page.debt_s or now - page.asked < GONE_S}
