"""Contacts that a trigger of the table flips whenever a worker writes them, in words."""

from collections.abc import Iterable

from crm_sync.core.codes import Code
from crm_sync.core.text import clean
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.adopted_table import LaneTable

MOST_COUNTED = 1_000


async def looping_notes(database: Database, lanes: Iterable[LaneTable]) -> list[tuple[str, str]]:
    """(CRM, note) for each with such contacts. Raises as Database.fetch does."""
    notes = []
    for lane in lanes:
        [found] = await database.fetch(render("find_looping", lane.variables), MOST_COUNTED, Code.TRIGGER_LOOP)
        if found["contacts"]:
            notes.append((lane.crm, f"{_contacts(found['contacts'])} sent again and again: {clean(found['reason'])}"))
    return notes


def _contacts(count: int) -> str:
    if count == 1:
        return "a contact is"
    return f"{count:,}{' or more' if count >= MOST_COUNTED else ''} contacts are"
