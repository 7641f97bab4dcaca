"""Contacts whose place in line is wrong or missing, because no trigger saw the change: they are lined up again."""

from typing import NamedTuple

from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.adopted_table import LaneTable


class LinedUp(NamedTuple):
    """locked: by the application, and so not repaired."""

    repaired: int
    locked: int


class Strays:
    """Of one CRM. Every method raises as Database.fetch does."""

    def __init__(self, database: Database, table: LaneTable) -> None:
        self._database = database
        self._pages = render("count_pages", table.variables)
        self._line_up = render("line_up_strays", table.variables)
        self._add_missing = render("add_missing_lines", table.variables)

    async def pages(self) -> int:
        """Length of the table in pages."""
        return int(await self._database.value(self._pages))

    async def line_up(self, first_page: int, end_page: int) -> LinedUp:
        """In a stretch of the table. Raises RowRefusedError."""
        strays = LinedUp(*(await self._database.fetch(self._line_up, first_page, end_page))[0])
        # If no trigger saw the repair either, those just repaired are among them.
        added = (await self._database.fetch(self._add_missing, first_page, end_page))[0][0]
        return strays._replace(repaired=max(strays.repaired, added))
