"""Times in our columns that no driver can read, or that never come: written by hand, by a restore, or with the triggers off."""

from dataclasses import replace

import pytest

from crm_sync.core.waits import USUAL
from tests.faults.promise import LINE_UP, RecordingCrm, assert_promise_kept
from tests.harness import ALL_COMPLETE, running, until
from tests.process import ended, environment, process
from tests.steps import insert
from tests.tiers import one_quick

LONG_AGO = ("-infinity", "4713-01-01 00:00:00+00 BC", "0001-01-01 00:00:00+00", "0044-03-15 00:00:00+00 BC")
NEVER = ("infinity", "294276-12-31 23:59:59+00", "10000-01-01 00:00:00+00")


async def due(app, moment, where="TRUE"):
    """As with the triggers off."""
    await app.execute(
        f"SET session_replication_role = replica; "
        f"UPDATE contacts SET brevo_due_at = '{moment}', brevo_flipped_at = '{moment}' WHERE {where}; "
        f"DELETE FROM crm_sync.brevo_line WHERE key IN (SELECT id FROM contacts WHERE {where}); "
        f"INSERT INTO crm_sync.brevo_line (due_at, key) SELECT brevo_due_at, id FROM contacts WHERE {where}; "
        f"RESET session_replication_role"
    )


@pytest.mark.parametrize("moment", LONG_AGO)
async def test_a_backlog_that_was_due_then_is_delivered_at_the_first_attempt(app, url, moment):
    await app.execute(LINE_UP, "a", 60)
    await due(app, moment)
    crm = RecordingCrm(batch_limit=5, concurrency=2)
    async with running(url, crm, waits=replace(USUAL, tick_s=3600.0, fresh_look_s=0.0)):
        await until(app, ALL_COMPLETE)
    assert len(crm.log) == 60
    assert await app.fetchval("SELECT array_agg(DISTINCT brevo_attempts) FROM contacts") == [1]
    await assert_promise_kept(app, crm)


@pytest.mark.parametrize("moment", NEVER)
async def test_one_that_is_never_due_holds_up_no_other(app, url, moment):
    await app.execute(LINE_UP, "never", 1)
    await due(app, moment)
    crm = RecordingCrm()
    async with running(url, crm, waits=replace(USUAL, tick_s=0.1)):
        await insert(app, "Queued", "a@example.com")
        await until(app, "brevo_sync_status = 'Complete' FROM contacts WHERE email = 'a@example.com'")
        await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued' WHERE email LIKE 'never%'")
        await until(app, ALL_COMPLETE)


COMMANDS = [
    ("status",),
    ("status", "--json"),
    ("failed",),
    ("why", "--email", "a1@example.com"),
    ("why", "--email", "a2@example.com"),
]


@pytest.mark.parametrize("moment", one_quick(["-infinity", *LONG_AGO[1:], *NEVER]))
async def test_commands_tell_of_it_without_a_traceback(app, url, brevo, moment):
    await app.execute(LINE_UP, "a", 3)
    await due(app, moment)
    await app.execute(
        f"SET session_replication_role = replica; "
        f"UPDATE contacts SET brevo_synced_at = '{moment}', last_retry_at = '{moment}', last_failed_crm = 'brevo'; "
        "UPDATE contacts SET brevo_sync_status = 'Error', brevo_processing_status = 'Error', brevo_due_at = NULL, "
        "brevo_processing_error = 'A: b' WHERE email LIKE 'a2%'; RESET session_replication_role"
    )
    for command in COMMANDS:
        async with process(environment(url, brevo, owner=True), *command) as asked:
            code, _, err = await ended(asked)
        assert code in (0, 1), err
        assert "Traceback" not in err
