"""The contacts of one CRM that are compared with its records: page by page, or a sample, and what would be sent of them.

A statement reads a page of keys and no more, whatever of it is to be compared.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Contact
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import OFF, ON, render
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.clearing import Clearing
from crm_sync.table.mapped_reader import mapped_reader
from crm_sync.table.mapping import FieldMapping
from crm_sync.table.short_flips import Flipped, ShortFlips
from crm_sync.table.unclaimed import read_unclaimed

DELIVERED, IN_LINE, SHARED = "delivered", "in line", "shared"
FEWEST_PAGES, MOST_PAGES = 32, 20_000  # of the table that one statement reads for a sample


class Row(NamedTuple):
    """A row of list_for_comparing.sql. version: another where it was delivered or flipped since."""

    id: Any
    key: str
    remote_id: str | None
    error: str | None
    state: str
    version: str
    read_at: datetime

    @property
    def code(self) -> str | None:
        return None if self.error is None else self.error.partition(":")[0]


class Comparing:
    """Of one CRM. Every method raises as Database.fetch does."""

    def __init__(self, database: Database, table: LaneTable, mapping: FieldMapping, clearing: Clearing | None = None) -> None:
        """clearing: which fields are emptied; none without it."""
        clearing = clearing or Clearing(table.crm)
        self.crm = table.crm
        self._database = database
        variables = table.variables
        shapes = {"begins": OFF, "goes_on": OFF, "named": OFF}
        self._first = render("list_for_comparing", {**variables, **shapes, "begins": ON})
        self._next = render("list_for_comparing", {**variables, **shapes, "goes_on": ON})
        self._named = render("list_for_comparing", {**variables, **shapes, "named": ON})
        self._sample = render("sample_delivered", variables)
        self._count_pages = render("count_pages", variables)
        self._flip = render("flip_drifted", variables)
        self._reader = mapped_reader(database, table, mapping, clearing)

    async def page(self, after: str | None, most: int) -> list[Row]:
        """The next contacts after this key, whatever their state."""
        return await self._rows(self._first if after is None else self._next, after, None, most)

    async def named(self, ids: Sequence[Any]) -> list[Row]:
        """These contacts as they are now. Any that are missing were deleted."""
        return await self._rows(self._named, None, ids, len(ids))

    async def sample(self, most: int) -> list[Any]:
        """The keys of delivered contacts, at most this many, from pages picked at random. Fewer where few are delivered."""
        whole = max(1, int(await self._database.value(self._count_pages)))
        pages = max(FEWEST_PAGES, most)
        while True:
            pages = min(pages, MOST_PAGES, whole)
            rows = await self._database.fetch(self._sample, 100.0 * pages / whole, most)
            if len(rows) >= most or pages in (MOST_PAGES, whole):
                return [row["id"] for row in rows]
            pages *= 8

    async def contacts(self, rows: Iterable[Row]) -> dict[Any, Contact]:
        """What would be sent for them, by id. Contacts that were deleted, or whose mapping fails, are left out."""
        return await read_unclaimed(self._reader, ((row.id, row.remote_id) for row in rows))

    async def may_flip(self) -> None:
        """Raises ConfigurationError if the role has no right to."""
        await ShortFlips(self._database, self._flip, BEGINNING).may()

    async def flip(self, rows: Sequence[Row]) -> Flipped:
        """The rows of one page that have not changed since they were read."""
        progress = Flipped()
        if rows:
            flips = ShortFlips(self._database, self._flip, min(row.read_at for row in rows))
            await flips.flip([row.id for row in rows], progress)
            await flips.flip_locked(progress)
        return progress

    async def _rows(self, statement: str, *arguments: Any) -> list[Row]:
        return [Row(**dict(row)) for row in await self._database.fetch(statement, *arguments)]


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
