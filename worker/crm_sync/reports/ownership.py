"""Which sessions hold locks of crm-sync without being workers, which contacts are in flight without a worker, and which rights
the owners of trigger functions lack.
"""

from collections.abc import Iterable

from crm_sync.core.text import clean
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.table.adopted_table import LaneTable

_LOST = (
    "in flight with no living worker: a running worker puts them back in line when it looks through the whole table, and a "
    "starting worker does so immediately"
)
_WITHOUT_RIGHTS = (
    "writes of the application fail, or are seen only when a worker looks through the whole table: the trigger functions run as"
)


async def stranger_notes(database: Database) -> list[str]:
    """A sentence for each session. Raises as Database.fetch does."""
    notes = []
    for row in await database.fetch(query("list_strangers")):
        who = f"role {row['role']}, {row['application_name'] or 'no application_name'}, {row['address'] or 'on the server'}"
        notes.append(
            f"a session that is not a worker holds a lock of crm-sync: pid {row['pid']} ({clean(who)}). It has no effect; "
            f"`SELECT pg_terminate_backend({row['pid']})` ends it"
        )
    return notes


async def lost_notes(database: Database, tables: Iterable[LaneTable]) -> list[tuple[str, str]]:
    """(CRM, a sentence) for each that has some. Raises as Database.fetch does."""
    counts = [(table.crm, await database.value(render("count_lost_claims", table.variables))) for table in tables]
    return [(crm, f"{lost:,} {_LOST}") for crm, lost in counts if lost]


async def definer_notes(database: Database) -> list[tuple[str, str]]:
    """(CRM, a sentence) for each whose triggers fail. Raises as Database.fetch does."""
    return [
        (row["crm"], f"{_WITHOUT_RIGHTS} {row['role']}, which lacks rights: {'; '.join(row['lacking'])}")
        for row in await database.fetch(query("list_lacking_definers"))
    ]
