"""The contacts table as the queue of one CRM: claim, finish, look.

A row can be poison to a statement that has a hundred: the mapping divides by what is zero there, a constraint or a trigger of
the application lets nobody write to it. It is found, told of, and holds nobody up.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple

import asyncpg
import structlog

from worker import events
from worker.core.codes import Code
from worker.core.outcome import Contact, Finish, Kind
from worker.database import Database
from worker.errors import RowRefusedError
from worker.sql import quote, render

BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
# Of each CRM, after its name; beside them the id in the CRM, whose column is named for each.
OWN_COLUMNS = (
    "sync_status",
    "processing_status",
    "processing_error",
    "attempts",
    "due_at",
    "claimed_by",
    "synced_at",
    "flipped_at",
)
FULL_LOOK_S = 5.0  # a contact behind the cursor waits no longer, however busy the lane
AVOID_S = 60.0  # before a row is touched again that the table lets nobody write to

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LaneTable:
    """What the schema says of one CRM. id: second key of its advisory locks."""

    id: int
    crm: str
    variables: Mapping[str, str]

    @classmethod
    def describe(cls, lane: Mapping[str, Any], types: Mapping[str, str], key: str) -> "LaneTable":
        """lane: a row of list_lanes.sql; types: of the table's columns; key: its primary key."""
        crm = lane["crm"]
        return cls(
            lane["id"],
            crm,
            {
                **{column: quote(f"{crm}_{column}") for column in OWN_COLUMNS},
                "crm": crm,
                "contacts": "contacts",
                "id": quote(key),
                "id_type": types[key],
                "remote_id": quote(lane["remote_id_column"]),
                "sync_type": types[f"{crm}_sync_status"],
                "processing_type": types[f"{crm}_processing_status"],
                "other_retries": lane["other_retries"],
            },
        )


class Claimed(NamedTuple):
    """unreadable: claimed too, but the mapping failed for them; with the reason of each."""

    contacts: list[Contact]
    unreadable: list[tuple[Contact, str]]


class Finished(NamedTuple):
    """written: as they were written. refused: the table lets nobody write to their rows. The others were not to be finished."""

    written: Sequence[Finish]
    refused: Sequence[Finish]
    due_again: bool


class Contacts:
    """One CRM's view of the table. Every method raises as Database.fetch does, but RowRefusedError only where it says so."""

    def __init__(self, database: Database, table: LaneTable, email: str, fields: Mapping[str, str]) -> None:
        """email and fields: SQL expressions over a row; fields by the CRM's own names."""
        self._database = database
        self._log = log.bind(crm=table.crm)
        self._names = tuple(fields)
        variables = {**table.variables, "mapped": ",\n    ".join([email, *fields.values()])}
        unread = {**variables, "mapped": "NULL::text"}
        self._claim = render("claim_contacts", variables)
        self._claim_unread = render("claim_contacts", unread)
        self._read = render("read_contacts", variables)
        self._read_one = {
            name: render("read_contacts", {**variables, "mapped": expression})
            for name, expression in {"email": email, **fields}.items()
        }
        self._finish = render("finish_contacts", variables)
        self._next_due = render("find_next_due", variables)
        self._still_claimed = render("find_still_claimed", variables)
        self._orphans = render("find_orphans", variables)
        self._strays = render("line_up_strays", variables)
        self._pages = render("count_pages", variables)
        self._cursor = BEGINNING
        self._full_look_at = 0.0
        self._avoided: dict[Any, float] = {}  # rows that the table refuses, by id: until when

    @property
    def avoiding(self) -> bool:
        """Whether a row is left alone because the table refuses it."""
        return bool(self._avoided)

    # Claim.

    async def claim(self, limit: int, token: int) -> Claimed:
        """At most so many ready contacts, in the order they became due."""
        try:
            rows = await self._next(self._claim, limit, token)
        except RowRefusedError:
            return await self._claim_with_care(limit, token)
        return Claimed([self._contact(row, token) for row in rows], [])

    async def next_due_s(self) -> float | None:
        """Seconds until the earliest contact is due, zero or less if one is ready, None if none waits."""
        first = await self._first()
        return None if first is None else first[0]

    async def _next(self, statement: str, limit: int, token: int) -> list[asyncpg.Record]:
        """Raises RowRefusedError."""
        now = time.monotonic()
        if now >= self._full_look_at:
            self._cursor = BEGINNING
        if self._cursor == BEGINNING:
            self._full_look_at = now + FULL_LOOK_S
        rows = await self._database.fetch(statement, limit, token, self._cursor, self._avoid())
        if not rows and self._cursor != BEGINNING:
            # What the application had locked, or committed late, lies behind the cursor.
            rows = await self._database.fetch(statement, limit, token, BEGINNING, self._avoid())
        self._cursor = max(map(itemgetter(1), rows), default=BEGINNING)
        return rows

    async def _claim_with_care(self, limit: int, token: int) -> Claimed:
        """First claims, then reads. Where a claim alone is refused, fewer at a time, until it is the first in line."""
        while True:
            self._cursor = BEGINNING
            try:
                rows = await self._next(self._claim_unread, limit, token)
            except RowRefusedError as error:
                if limit == 1:
                    first = await self._first()
                    if first is not None:
                        self._refuse(first[1], error)
                    return Claimed([], [])
                limit //= 2
            else:
                return await self._read_claimed([self._contact(row, token) for row in rows], token)

    async def _read_claimed(self, contacts: Sequence[Contact], token: int) -> Claimed:
        """What is sent of them. Halved where the mapping fails, until those that it fails for stand alone."""
        try:
            rows = await self._database.fetch(self._read, [contact.id for contact in contacts], token)
        except RowRefusedError as error:
            if len(contacts) == 1:
                return Claimed([], [(contacts[0], await self._why_unreadable(contacts[0], error))])
            middle = len(contacts) // 2
            halves = [await self._read_claimed(half, token) for half in (contacts[:middle], contacts[middle:])]
            return Claimed([one for half in halves for one in half.contacts], [one for half in halves for one in half.unreadable])
        # Who is missing was deleted since.
        values = {row[0]: row[1:] for row in rows}
        return Claimed([self._filled(one, values[one.id]) for one in contacts if one.id in values], [])

    async def _why_unreadable(self, contact: Contact, error: RowRefusedError) -> str:
        for name, statement in self._read_one.items():
            try:
                await self._database.fetch(statement, [contact.id], contact.token)
            except RowRefusedError as of_this:
                return f"{name}: {of_this}"
        return str(error)

    def _contact(self, row: asyncpg.Record, token: int) -> Contact:
        """Without fields where none were read."""
        return Contact(row[0], token, row[2], row[3], row[5], row[4], dict(zip(self._names, row[6:], strict=False)))

    def _filled(self, contact: Contact, values: Sequence[Any]) -> Contact:
        return contact._replace(email=values[0], fields=dict(zip(self._names, values[1:], strict=True)))

    async def _first(self) -> asyncpg.Record | None:
        """(seconds until it is due, its id)"""
        rows = await self._database.fetch(self._next_due, self._avoid())
        return rows[0] if rows else None

    # Finish.

    async def finish(self, finishes: Sequence[Finish]) -> Finished:
        """Ends claims. A row that refuses what is to be written is in Error with that reason, if it takes that."""
        try:
            # The columns of a Finish are the statement's parameters.
            rows = await self._database.fetch(self._finish, *zip(*finishes, strict=True))
        except RowRefusedError as error:
            return await self._finish_with_care(finishes, error)
        if len(rows) == len(finishes):
            written = finishes
        else:
            ids = {row[0] for row in rows}
            written = [finish for finish in finishes if finish.id in ids]
        if self._avoided:
            for row in rows:
                self._avoided.pop(row[0], None)
        return Finished(written, [], any(row[1] is not None for row in rows))

    async def _finish_with_care(self, finishes: Sequence[Finish], error: RowRefusedError) -> Finished:
        if len(finishes) == 1:
            finish = finishes[0]
            if finish.code == Code.ROW_REFUSED:
                self._refuse(finish.id, error)
                return Finished([], [finish], False)
            parts = [await self.finish([Finish(finish.id, finish.token, Kind.REJECTED, f"{Code.ROW_REFUSED}: {error}")])]
        else:
            middle = len(finishes) // 2
            parts = [await self.finish(half) for half in (finishes[:middle], finishes[middle:])]
        return Finished(
            [one for part in parts for one in part.written],
            [one for part in parts for one in part.refused],
            any(part.due_again for part in parts),
        )

    # Rows that the table refuses.

    def _refuse(self, contact_id: object, error: RowRefusedError) -> None:
        """The row can tell nobody, so the log does; again when it is tried again."""
        if contact_id not in self._avoid():
            self._avoided[contact_id] = time.monotonic() + AVOID_S
            self._log.error(events.CONTACT_REFUSED, contact=str(contact_id), reason=str(error))

    def _avoid(self) -> list[Any]:
        if self._avoided:
            now = time.monotonic()
            self._avoided = {contact: until for contact, until in self._avoided.items() if until > now}
        return list(self._avoided)

    # Look.

    async def still_claimed(self, finishes: Sequence[Finish]) -> set[Any]:
        """Which of them are claimed as they were: their rows are locked by the application."""
        ids = [finish.id for finish in finishes]
        rows = await self._database.fetch(self._still_claimed, ids, [finish.token for finish in finishes])
        return {row[0] for row in rows}

    async def orphans(self, workers: Sequence[int]) -> list[tuple[Any, int, int]]:
        """(id, token, attempts) of the contacts that these workers have in flight."""
        return [tuple(row) for row in await self._database.fetch(self._orphans, list(workers))]

    async def pages(self) -> int:
        """Length of the table in pages."""
        return int(await self._database.value(self._pages))

    async def line_up_strays(self, first_page: int, end_page: int) -> int:
        """How many contacts in this stretch of the table were repaired. Raises RowRefusedError."""
        return int(await self._database.value(self._strays, first_page, end_page))
