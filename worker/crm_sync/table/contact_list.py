"""The contacts of one CRM as a person browses them: page by page, each at a bounded cost.

The table belongs to the application, and there may be no index on the state. So a page is read in key order, one stretch of the
table after another, until it is full or its time is over. Then it says how far it got, and the next page continues there.
Failed contacts have an index: if they are few, it finds them all, and so the page, wherever they are in the table.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from crm_sync.errors import TooSlowError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.adopted_table import LaneTable

STRETCH = 20_000  # contacts read by one statement: about 20 ms if they are in memory
FIRST, GROWTH = 4, 5  # multiples of the contacts of a page, and of the previous stretch
COUNT_S = 0.15  # that a count may take
FEW = 10_000  # failed contacts that are all looked at for a page: some 20 ms, or longer if they are all over a disk
PATIENCE_S = 0.2  # before a page is shown although it is not full


@dataclass(frozen=True, slots=True)
class Wanted:
    """states: sync statuses. codes: of failures. None means any.

    failed_within_s: seconds within which they have failed, as far as is known, as in `crm-sync failed --since`; without codes,
    those that were delivered, though with something left out, do not count as failed.
    """

    states: Sequence[str] | None = None
    codes: Sequence[str] | None = None
    failed_within_s: float | None = None

    @property
    def are_failed(self) -> bool:
        """All of them."""
        return self.codes is not None or self.failed_within_s is not None


@dataclass(frozen=True, slots=True)
class Listed:
    """A contact in one CRM. key: the id as text. Columns that other programs write may be NULL."""

    id: Any
    key: str
    email: str | None
    sync_status: str | None
    error: str | None
    remote_id: str | None
    attempts: int | None
    due_at: datetime | None
    claimed_by: int | None
    synced_at: datetime | None
    flipped_at: datetime | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """looked: contacts read for it. following: the id after which the next page begins; following_key: the same as text. None:
    there are no more.
    """

    contacts: Sequence[Listed]
    looked: int
    following: Any | None
    following_key: str | None


class ContactList:
    """For one CRM. Every method raises as Database.fetch does."""

    def __init__(
        self,
        database: Database,
        table: LaneTable,
        *,
        stretch: int = STRETCH,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._stretch = stretch
        self._patience_s = patience_s
        self._clock = clock
        # Two statements, because a single one for both cases would be planned as if it had to read from the start.
        self._first = render("list_contacts", {**table.variables, "beyond": f"$1::{table.variables['sent_key']} IS NULL"})
        beyond = f"{table.variables['id']} {table.variables['is_after']} $1::{table.variables['sent_key']}"
        self._next = render("list_contacts", {**table.variables, "beyond": beyond})
        by_code = "split_part(left({processing_error}, 40), ':', 1) = ANY ($2::text[])".format_map(table.variables)
        self._few = {
            True: render("list_few_failed", {**table.variables, "by_code": by_code}),
            False: render("list_few_failed", {**table.variables, "by_code": "$2::text[] IS NULL"}),
        }
        failed = f"{table.variables['processing_error']} IS NOT NULL AND {by_code}"  # the condition of its partial index
        self._count_any = render("count_wanted_contacts", {**table.variables, "failed": "$2::text[] IS NULL"})
        self._count_failed = render("count_wanted_contacts", {**table.variables, "failed": failed})

    async def page(self, wanted: Wanted, *, after: Any | None = None, limit: int) -> Page:
        """At most limit contacts, after a key. The first stretch is short, which is usually enough.

        A stretch is as long as can be read in time, by what the one before took: contacts in the order of their keys may be all
        over a disk. If one takes too long anyway, the page ends before it.
        """
        if wanted.are_failed and (page := await self._page_of_few(wanted, after, limit)) is not None:
            return page
        found: list[Listed] = []
        looked, after_key, began = 0, None, self._clock()
        stretch = min(self._stretch, FIRST * limit)
        while True:
            room = limit + 1 - len(found)
            statement = self._first if after is None else self._next
            asked = self._clock()
            try:
                rows = await self._database.fetch(
                    statement, after, wanted.states, wanted.codes, stretch, room, wanted.failed_within_s
                )
            except TooSlowError:
                if not looked:
                    raise
                return Page(found, looked, after, after_key)
            took_s = self._clock() - asked
            read = rows[0]["looked"] or 0
            found += _listed(rows)
            looked += read
            if len(found) > limit:
                return Page(found[:limit], looked, found[limit - 1].id, found[limit - 1].key)
            if read < stretch:
                return Page(found, looked, None, None)
            after, after_key = rows[0]["last"], rows[0]["last_key"]
            in_time = int(stretch * self._patience_s / took_s) if took_s else self._stretch
            stretch = max(1, min(self._stretch, GROWTH * stretch, in_time))
            if self._clock() > began + self._patience_s:
                return Page(found, looked, after, after_key)

    async def _page_of_few(self, wanted: Wanted, after: Any | None, limit: int) -> Page | None:
        """None if there are too many failed contacts to look at all of them."""
        statement = self._few[wanted.codes is not None]
        arguments = (after, wanted.codes, wanted.states, wanted.failed_within_s, FEW, limit + 1)
        try:
            rows = await self._database.fetch_within(self._patience_s, statement, *arguments)
        except TooSlowError:
            return None
        looked, found = rows[0]["looked"], _listed(rows)
        if looked >= FEW:
            return None
        if len(found) <= limit:
            return Page(found, looked, None, None)
        return Page(found[:limit], looked, found[limit - 1].id, found[limit - 1].key)

    async def count(self, wanted: Wanted, most: int) -> int:
        """How many there are, up to a limit. Those with a code are found by an index; for others the whole table may be read.
        Raises TooSlowError after COUNT_S.
        """
        statement = self._count_any if wanted.codes is None else self._count_failed
        rows = await self._database.fetch_within(COUNT_S, statement, wanted.states, wanted.codes, most)
        return int(rows[0][0])


def _listed(rows: Sequence[asyncpg.Record]) -> list[Listed]:
    return [Listed(*(row[name] for name in Listed.__slots__)) for row in rows if row["id"] is not None]
