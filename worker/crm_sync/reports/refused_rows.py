"""Contacts whose rows the table does not let workers write, in words."""

from crm_sync.core.text import clean
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.table.avoided import MOST_REFUSED


async def refused_notes(database: Database) -> list[tuple[str, str]]:
    """(CRM, note), one for each reason that living workers report. Raises as Database.fetch does."""
    return [
        (
            row["crm"],
            f"the contacts table refuses to have {_rows(row['contacts'], row['example'])} written: {clean(row['reason'])}",
        )
        for row in await database.fetch(query("list_refused_rows"))
    ]


def _rows(contacts: int, example: str) -> str:
    if contacts == 1:
        return f"the row of {example}"
    return f"{contacts:,} rows{' or more' if contacts >= MOST_REFUSED else ''}, that of {example} among them,"
