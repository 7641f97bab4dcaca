"""Thousands of rows that the table refuses to have written, ahead of those that it accepts: what they cost others."""

import asyncio
from contextlib import suppress

from crm_sync.sandbox.process import settings
from tests.faults.promise import Stopwatch
from tests.faults.real_crms import sandboxes
from tests.faults.real_worker import MOST_KB, peak_kb, working
from tests.harness import until
from tests.process import environment
from tests.steps import insert
from tests.tiers import slow

LINE_UP = (
    "INSERT INTO contacts (email, first_name, brevo_sync_status) "
    "SELECT $1 || n || '@example.com', $1, 'Queued' FROM generate_series(1, $2::integer) AS n"
)
# As if it had been added to the table while they waited.
REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'company is missing'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON contacts
FOR EACH ROW WHEN (OLD.first_name = 'refused' AND NEW.brevo_sync_status = 'Processing') EXECUTE FUNCTION refuse();
"""


async def flip_elsewhere(app, waits: list[float]) -> None:
    """In the other lane, one after another."""
    while True:
        contact = await insert(app, "New", f"elsewhere{len(waits)}@example.com")
        stopwatch = Stopwatch()
        await app.execute("UPDATE contacts SET hubspot_sync_status = 'Queued' WHERE id = $1", contact)
        await until(app, "hubspot_sync_status = 'Complete' FROM contacts WHERE id = $1", contact)
        waits.append(stopwatch.tell("a flip of the other lane"))


@slow
async def test_they_starve_nobody_keep_no_other_lane_and_take_no_memory(app, other_app, url, brevo):
    await app.execute(LINE_UP, "refused", 2000)
    await app.execute(REFUSE)
    await app.execute(LINE_UP, "good", 1000)
    waits: list[float] = []
    async with sandboxes("hubspot") as there:
        env = environment(url, brevo) | settings("hubspot", there["hubspot"].url)
        async with working(env) as worker:
            await worker.opened()
            elsewhere = asyncio.create_task(flip_elsewhere(other_app, waits))
            await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts WHERE first_name = 'good'")
            elsewhere.cancel()
            with suppress(asyncio.CancelledError):
                await elsewhere
            peak = peak_kb(worker.running.pid)
    print(f"{len(waits)} flips of the other lane, {max(waits, default=0):.2f} s at most; {peak / 1024:.0f} MiB at most")
    assert waits, "the other lane goes on meanwhile"
    assert peak < MOST_KB
    assert len(brevo.contacts) == 1000
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Queued'") == 2000
