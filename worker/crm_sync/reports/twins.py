"""Tables that look as if they were kept in step, but are not."""

from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query


async def twin_notes(database: Database, contacts: str) -> list[str]:
    """A sentence for each. contacts: the adopted table, as SQL writes it. Raises as Database.fetch does."""
    return [_note(row["name"], contacts, is_heir=row["is_heir"]) for row in await database.fetch(query("list_twins"))]


def _note(name: str, contacts: str, *, is_heir: bool) -> str:
    if is_heir:
        return (
            f"{name} inherits from {contacts}, and has none of its triggers: its rows are no contacts for crm-sync, although "
            f"{contacts} shows them. Make it a partition, or move its rows"
        )
    return (
        f"{name} has columns of crm-sync too, but the adopted table is {contacts}, and flips in another table are not seen. If a "
        "tool is about to swap the two: run `crm-sync adopt` afterwards"
    )
