"""The contacts table as the queue of one CRM: claim, finish, look."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from worker.core.outcome import Contact, Finish
from worker.database import Database
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


class Contacts:
    """One CRM's view of the table. Every method is one statement and raises as Database.fetch does."""

    def __init__(self, database: Database, table: LaneTable, email: str, fields: Mapping[str, str]) -> None:
        """email and fields: SQL expressions over a row; fields by the CRM's own names."""
        self._database = database
        self._names = tuple(fields)
        variables = {**table.variables, "mapped": ",\n    ".join([email, *fields.values()])}
        self._claim = render("claim_contacts", variables)
        self._finish = render("finish_contacts", variables)
        self._next_due = render("find_next_due", variables)
        self._still_claimed = render("find_still_claimed", variables)
        self._orphans = render("find_orphans", variables)
        self._strays = render("line_up_strays", variables)
        self._pages = render("count_pages", variables)
        self._cursor = BEGINNING
        self._full_look_at = 0.0

    async def claim(self, limit: int, token: int) -> list[Contact]:
        """At most so many ready contacts, in the order they became due."""
        now = time.monotonic()
        if now >= self._full_look_at:
            self._cursor = BEGINNING
        if self._cursor == BEGINNING:
            self._full_look_at = now + FULL_LOOK_S
        rows = await self._database.fetch(self._claim, limit, token, self._cursor)
        if not rows and self._cursor != BEGINNING:
            # What the application had locked, or committed late, lies behind the cursor.
            rows = await self._database.fetch(self._claim, limit, token, BEGINNING)
        self._cursor = max(map(itemgetter(1), rows), default=BEGINNING)
        names = self._names
        return [Contact(row[0], token, row[2], row[3], row[5], row[4], dict(zip(names, row[6:], strict=True))) for row in rows]

    async def next_due_s(self) -> float | None:
        """Seconds until the earliest contact is due, zero or less if one is ready, None if none waits."""
        due_in_s: float | None = await self._database.value(self._next_due)
        return due_in_s

    async def finish(self, finishes: Sequence[Finish]) -> dict[Any, float | None]:
        """Ends claims. By contact: seconds until it is due again, or None. Contacts not in it were not finished."""
        # The columns of a Finish are the statement's parameters.
        rows = await self._database.fetch(self._finish, *zip(*finishes, strict=True))
        return {row[0]: row[1] for row in rows}

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
        """How many contacts in this stretch of the table were repaired."""
        return int(await self._database.value(self._strays, first_page, end_page))
