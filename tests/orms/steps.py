"""Steps shared by the tests of every ORM: a contact goes in flight, and is finished."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from tests.harness import ScriptedCrm, until

STATES = ("New", "Selected", "Queued", "Processing", "Complete", "Error", "Skipped")
COMPLETE = "bool_and(brevo_sync_status = 'Complete' AND brevo_claimed_by IS NULL) FROM contacts"


# What an upsert of a model with the worker's columns writes over a row: NULL, which the object says of each.
ENDS_A_CLAIM = ("brevo_claimed_by", "brevo_due_at")  # as a finish does
SHOWS_ITS_AGE = (*ENDS_A_CLAIM, "brevo_flipped_at")


async def status(app: asyncpg.Connection) -> tuple[str, str | None]:
    """Of the only contact: what is wanted, and what is happening."""
    row = await app.fetchrow("SELECT brevo_sync_status, brevo_processing_status FROM contacts")
    assert row is not None
    return tuple(row)


async def take_off(app: asyncpg.Connection, crm: ScriptedCrm, flip: Callable[[], Awaitable[Any]]) -> None:
    """Flips, and returns with the contact in flight."""
    crm.gate.clear()
    requests = len(crm.requests)
    await flip()
    await crm.reached(requests + 1)
    assert await status(app) == ("Processing", "Processing")


async def land(app: asyncpg.Connection, crm: ScriptedCrm, until_it_is: str = COMPLETE) -> None:
    """The CRM answers; returns when everything is as given."""
    crm.gate.set()
    await until(app, until_it_is)
    assert crm.twice_in_flight == []
