"""How long the oldest contact has waited: it keeps growing while a CRM is down, whatever a probe does to the due time."""

from dataclasses import replace

import pytest

from crm_sync.core.waits import USUAL
from crm_sync.errors import OutageError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.reports.status_reading import read_status
from crm_sync.table.schema import read_schema
from tests.harness import ScriptedCrm, running, until
from tests.roles import as_worker
from tests.steps import insert

QUICK = replace(USUAL, tick_s=0.05, first_probe_s=0.05, longest_probe_s=0.1)
HOUR = 3600

# Minutes ago: the flip, the due time, and since when the breaker is not closed (None: it is closed).
WAITING = [
    ("fresh from its flip", 60, 60, None, None, 60),
    ("put back unsent a minute ago", 60, 1, None, None, 60),
    ("put back by a probe", 60, 1, None, 30, 60),
    ("failed itself, and its retry is due", 60, 5, "LOCKED: it is", None, 5),
    ("the same, put back by a probe", 60, 1, "LOCKED: it is", 30, 30),
    ("the same, due before the CRM was down", 60, 40, "LOCKED: it is", 30, 40),
    ("the same, flipped while it was down", 20, 1, "LOCKED: it is", 30, 20),
    ("a flip that no trigger saw", None, 7, None, 30, 7),
]


async def oldest_s(url: str) -> float | None:
    async with Database(as_worker(url), size=1) as database:
        return next(lane.oldest_ready_s for lane in (await read_status(database)).lanes if lane.crm == "brevo")


async def measured_s(app, url) -> float | None:
    """As in the alerts."""
    async with Database(as_worker(url), size=1) as database:
        table = (await read_schema(database)).lanes["brevo"]
        [row] = await database.fetch(render("measure_line", table.variables))
    return await app.fetchval("SELECT extract(EPOCH FROM clock_timestamp() - $1::timestamptz)::float8", row["oldest"])


@pytest.mark.parametrize(
    ("flipped", "due", "error", "shut", "waited"), [case[1:] for case in WAITING], ids=[case[0] for case in WAITING]
)
async def test_a_contact_waits_since(app, url, flipped, due, error, shut, waited):  # noqa: PLR0917
    await stands(app, await insert(app, "Queued"), flipped, due, error)
    if shut is not None:
        await app.execute(
            "UPDATE crm_sync.lanes SET breaker = 'open', openings = 3, breaker_since = now() - make_interval(mins => $1) "
            "WHERE crm = 'brevo'",
            shut,
        )
    assert 0 <= await oldest_s(url) - 60 * waited < 30
    if shut is None:  # alerts do not read the line of a CRM that is down
        assert 0 <= await measured_s(app, url) - 60 * waited < 30


@pytest.mark.parametrize(
    ("delivered", "waited"), [(30, 1), (1, 60), (70, 60)], ids=["sent once more", "flipped again in flight", "flipped since"]
)
async def test_a_contact_that_was_delivered_waits_since(app, url, delivered, waited):
    """One that was flipped again in flight is due when its delivery was written."""
    await stands(app, await insert(app, "Queued"), 60, 1, None)
    await app.execute(
        "UPDATE contacts SET brevo_synced_at = brevo_due_at - make_interval(mins => $1) + interval '1 minute'", delivered
    )
    assert 0 <= await oldest_s(url) - 60 * waited < 30
    assert 0 <= await measured_s(app, url) - 60 * waited < 30


async def test_one_that_waits_for_a_planned_retry_is_not_ready(app, url):
    await stands(app, await insert(app, "Queued"), 60, -5, "LOCKED: it is")
    assert await oldest_s(url) is None
    assert await measured_s(app, url) is None


async def test_one_that_a_probe_put_behind_many_others_is_the_oldest_all_the_same(app, url):
    await app.execute("SET session_replication_role = replica")
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status, brevo_processing_status, brevo_flipped_at, brevo_due_at) "
        "SELECT n || '@x.org', 'Queued', 'Queued', now() - interval '20 minutes', "
        "now() - interval '20 minutes' + n * interval '1 ms' FROM generate_series(1, 1500) AS n"
    )
    await app.execute("INSERT INTO crm_sync.brevo_line (due_at, key) SELECT brevo_due_at, id FROM contacts")
    await app.execute("SET session_replication_role = origin")
    await stands(app, await insert(app, "Queued"), 60, 1, None)
    for asked in (oldest_s(url), measured_s(app, url)):
        assert 0 <= await asked - HOUR < 30


async def test_it_grows_over_probes_that_fail_and_while_one_is_in_flight(app, url):
    crm = ScriptedCrm()

    def down(_contact):
        raise OutageError("CRM_ERROR", "the CRM failed (503)")

    crm.answer = down
    await stands(app, await insert(app, "Queued"), 60, 60, None)
    async with running(url, crm, waits=QUICK):
        await until(app, "breaker <> 'closed' AND openings > 0 FROM crm_sync.lanes WHERE crm = 'brevo'")
        crm.gate.clear()
        ages = []
        for _ in range(3):
            await crm.reached(len(crm.requests) + 1)  # a probe is in flight
            ages.append(await oldest_s(url))
            crm.gate.set()
            await until(app, "bool_and(brevo_claimed_by IS NULL) FROM contacts")
            ages.append(await oldest_s(url))
            crm.gate.clear()
        crm.gate.set()
    assert all(HOUR <= age < HOUR + 60 for age in ages)
    assert ages == sorted(ages)


async def stands(app, contact, flipped: int | None, due: int, error: str | None) -> None:
    """It was flipped, and due, this many minutes ago."""
    await app.execute("SET session_replication_role = replica")
    await app.execute("DELETE FROM crm_sync.brevo_line WHERE key = $1", contact)
    await app.execute(
        "UPDATE contacts SET brevo_flipped_at = clock_timestamp() - make_interval(mins => $2), "
        "brevo_due_at = clock_timestamp() - make_interval(mins => $3), brevo_processing_error = $4, "
        "brevo_attempts = CASE WHEN $4::text IS NULL THEN 0 ELSE 1 END WHERE id = $1",
        contact,
        flipped,
        due,
        error,
    )
    await app.execute(
        "INSERT INTO crm_sync.brevo_line (due_at, key) SELECT brevo_due_at, id FROM contacts WHERE id = $1", contact
    )
    await app.execute("SET session_replication_role = origin")
