"""Tables that look as if they were kept in step, but are not."""

from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query


async def twin_notes(database: Database, contacts: str) -> list[str]:
    """A sentence for each. contacts: the adopted table, as SQL writes it. Raises as Database.fetch does."""
    return [
        f"{row['name']} has columns of crm-sync too, but the adopted table is {contacts}, and flips in another table are not "
        f"seen. If a tool is about to swap the two: run `crm-sync adopt` afterwards"
        for row in await database.fetch(query("list_twins"))
    ]
