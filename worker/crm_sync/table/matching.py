"""The contacts of one CRM without an id there, page by page, with what they are looked up by; and the progress of that.

The progress is written after the ids of a page: if the process is killed in between, that page is looked up once more.
"""

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from crm_sync.core.outcome import Contact
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import OFF, ON, query, render
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.mapping import FieldMapping
from crm_sync.table.unclaimed import read_unclaimed
from crm_sync.table.unreadable_rows import Reader


@dataclass(slots=True)
class MatchCounts:
    """Counts of contacts. looked_for: looked up in the CRM; the next four are parts of it. left_alone: locked, or flipped
    meanwhile. unaddressed: in addition, with neither a valid address nor a key.
    """

    looked_for: int = 0
    found: int = 0
    unknown: int = 0
    ambiguous: int = 0
    left_alone: int = 0
    unaddressed: int = 0


class Matching:
    """For one CRM. Every method raises as Database.fetch does."""

    def __init__(self, database: Database, table: LaneTable, mapping: FieldMapping, matched_by: Collection[str] = ()) -> None:
        """matched_by: the fields that contacts are looked up by besides their addresses, in any case."""
        self.crm = table.crm
        self.counts = MatchCounts()
        self._database = database
        self._after: str | None = None
        variables = table.variables
        self._first = render("list_for_matching", {**variables, "begins": ON, "goes_on": OFF})
        self._next = render("list_for_matching", {**variables, "begins": OFF, "goes_on": ON})
        self._write = render("write_matches", variables)
        names = {name.lower() for name in matched_by}
        fields = {name: sql for name, sql in mapping.fields.items() if name.lower() in names}
        self._reader = Reader(
            database,
            variables,
            mapping.email,
            fields,
            writers={name: form for name, form in mapping.writers.items() if name in fields},
            longest={name: most for name, most in mapping.longest.items() if name in fields},
        )

    async def begin(self, *, anew: bool) -> bool:
        """Whether it continues an interrupted run."""
        (row,) = await self._database.fetch(query("begin_matching"), self.crm, anew)
        self._after, *counts = row
        self.counts = MatchCounts(*counts)
        return self._after is not None

    async def page(self, most: int) -> list[Contact] | None:
        """Those of the next batch of this many contacts that are to be looked up; None if there are no more. Those whose mapping
        fails are counted as unaddressed, and left out.
        """
        statement = self._first if self._after is None else self._next
        rows = await self._database.fetch(statement, self._after, most)
        if not rows:
            return None
        self._after = rows[-1]["key"]
        ids = [row["id"] for row in rows if row["is_open"]]
        found = await read_unclaimed(self._reader, ((one, None) for one in ids))
        self.counts.unaddressed += len(ids) - len(found)
        return [*found.values()]

    async def write(self, ids: Sequence[Any], remote_ids: Sequence[str]) -> int:
        """Returns how many have their id now."""
        return len(await self._database.fetch(self._write, ids, remote_ids)) if ids else 0

    async def note(self, *, ended: bool) -> None:
        """Records the progress."""
        await self._database.fetch(query("note_matching"), self.crm, self._after, ended, *astuple(self.counts))
