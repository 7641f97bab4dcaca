"""What keeps history from being written. Contacts are delivered anyway, so it is a note, not a fault."""

from crm_sync.core.history import History
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.settings import Settings

_ALL_THE_SAME = "contacts are still delivered, and history lacks them"


async def history_notes(database: Database, settings: Settings) -> list[str]:
    """Raises as Database.fetch does."""
    if settings.history is History.OFF:
        return []
    rows = await database.fetch(query("inspect_history"))
    if not rows:
        return [f"there is no table crm_sync.history: {_ALL_THE_SAME}"]
    notes = []
    if not rows[0]["may_write"]:
        role = rows[0]["role"]
        notes.append(f"the role {role} may not write it: {_ALL_THE_SAME}. Let the owner run what `crm-sync grants {role}` prints")
    if missing := rows[0]["missing_slots"]:
        notes.append(f"{missing} of the 32 slots of crm_sync.history are missing: on their days, {_ALL_THE_SAME}")
    return notes
