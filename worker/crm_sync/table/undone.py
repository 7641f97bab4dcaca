"""What the table's own triggers undo of a write, in words that name the triggers.

A trigger that runs before the row is written may return NULL, so that Postgres leaves the row as it is, or change what is
written. Postgres reports neither, so the statements compare.
"""

from contextlib import suppress

from crm_sync.errors import ConfigurationError, DatabaseTroubleError, RowRefusedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query

MOST_NAMED = 5  # triggers
KEPT = "a trigger of the table keeps the row as it is, because it returns NULL"
# Sent without a claim, a contact could not be finished, and would be sent again at once, without end.
TAKEN_BACK = "a trigger of the table takes the claim back: it changes a column that only workers write"


class Undone:
    """Makes the errors. They are errors of a row, as if the trigger had raised them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def kept(self) -> RowRefusedError:
        """The row was not written."""
        return RowRefusedError(KEPT + await self._suspects())

    async def taken_back(self) -> RowRefusedError:
        """The row was written, but is not claimed."""
        return RowRefusedError(TAKEN_BACK + await self._suspects())

    async def reverted(self, columns: str) -> RowRefusedError:
        """The row was written without these columns of an outcome."""
        return RowRefusedError(f"a trigger of the table changes what a worker writes to {columns}" + await self._suspects())

    async def _suspects(self) -> str:
        """The triggers that can be the cause. Raises nothing."""
        names: list[str] = []
        with suppress(DatabaseTroubleError, ConfigurationError):
            names = [row["name"] for row in await self._database.fetch(query("list_update_triggers"))]
        if not names:
            return ""
        shown = ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
        return f". Look at {'its trigger' if len(names) == 1 else 'its triggers'} {shown}"
