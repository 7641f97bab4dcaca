"""A delivery that was cancelled counts as sent only if a request may have left: by its trail, if the client leaves one."""

import asyncio

import pytest

from crm_sync.lane.deletions import Deleter
from crm_sync.lane.survivors import Survivors
from crm_sync.postgres.pool import Database
from crm_sync.table.schema import read_schema
from tests.faults.promise import LINE_UP
from tests.harness import TIMEOUT_S, ScriptedCrm, running
from tests.roles import as_worker

CONTACTS = 4
SENT = "SELECT count(*) FROM crm_sync.history WHERE outcome = 'deferred'"
UNHARMED = "SELECT bool_and(brevo_sync_status = 'Queued' AND brevo_claimed_by IS NULL AND brevo_attempts = 0) FROM contacts"


class Waiting(ScriptedCrm):
    """Each delivery waits before its first request, as for a login. fields: whether it says which fields there are."""

    def __init__(self, *, fields=True):
        super().__init__(concurrency=CONTACTS)
        self.gate.clear()
        self.fields = fields
        self.asked = asyncio.Event()

    async def schema(self):
        self.asked.set()
        if not self.fields:
            await asyncio.Event().wait()


@pytest.mark.parametrize(("leaves_trail", "sent"), [(True, 0), (False, CONTACTS)])
async def test_by_a_client_that_leaves_no_trail_it_may_have_been_sent(app, url, leaves_trail, sent):
    crm = Waiting()
    crm.leaves_trail = leaves_trail
    await app.execute(LINE_UP, "a", CONTACTS)
    async with running(url, crm, shutdown_grace_s=0.1):
        await crm.reached(CONTACTS)
    assert await app.fetchval(UNHARMED)
    assert await app.fetchval(SENT) == sent


@pytest.mark.parametrize("leaves_trail", [True, False])
async def test_deletions_leave_the_trail_that_their_client_leaves(url, leaves_trail):
    crm = ScriptedCrm()
    crm.leaves_trail = leaves_trail
    async with Database(as_worker(url), size=1) as database:
        table = (await read_schema(database)).lanes["brevo"]
        survivors = Survivors(table, database, keeps_records=True)
        assert Deleter("brevo", crm, database, survivors, table.variables).leaves_trail is leaves_trail


async def test_while_the_fields_are_asked_for_no_client_has_sent_anything(app, url):
    """One delivery asks, and the others wait for the answer."""
    crm = Waiting(fields=False)
    await app.execute(LINE_UP, "a", CONTACTS)
    async with running(url, crm, shutdown_grace_s=0.1):
        await asyncio.wait_for(crm.asked.wait(), TIMEOUT_S)
    assert await app.fetchval(UNHARMED)
    assert await app.fetchval(SENT) == 0
