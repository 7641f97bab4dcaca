"""Tables that look as if they were kept in step, and are not."""

from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query


async def twin_notes(database: Database, contacts: str) -> list[str]:
    """A sentence for each. contacts: the adopted table, as SQL writes it. Raises as Database.fetch does."""
    return [
        f"{row['name']} has columns of crm-sync too, but what is adopted is {contacts}, and flips in no other table are seen. "
        "Where a tool is about to swap one for the other: run `crm-sync adopt` after it"
        for row in await database.fetch(query("list_twins"))
    ]
