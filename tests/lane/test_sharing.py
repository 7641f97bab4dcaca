"""Workers that share a lane: none keeps what another one may send, and a flip finds the one with room."""

from dataclasses import replace

from crm_sync.core.waits import Waits
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until, until_asleep
from tests.steps import insert

NO_TICK = Waits(tick_s=3600.0, help_interval_s=0.05)
BOTH_SHARE = "count(*) = 2 FROM (SELECT FROM crm_sync.permits GROUP BY worker HAVING count(*) = 2) AS w"
LINE_UP = (
    "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@example.com', 'Queued' FROM generate_series(1, $1::integer) n"
)


async def test_a_worker_takes_no_more_than_it_may_send_where_another_is_idle(app, url):
    first, second = ScriptedCrm(concurrency=4), ScriptedCrm(concurrency=4)
    for crm in (first, second):
        crm.gate.clear()
    async with running(url, first, waits=NO_TICK), running(url, second, waits=NO_TICK):
        await until(app, BOTH_SHARE)
        await until_asleep(app)
        await app.execute(LINE_UP, 4)
        await first.reached(2)
        await second.reached(2)
        assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_claimed_by IS NOT NULL") == 4
        first.gate.set()
        second.gate.set()
        await until(app, ALL_COMPLETE)
    assert (len(first.requests), len(second.requests)) == (2, 2)


async def test_a_flip_finds_the_worker_with_room_while_the_hands_of_the_keeper_are_full(app, url):
    """Without a tick: only the bell can tell the other one."""
    waits = replace(NO_TICK, help_interval_s=0.05)
    keeper, other = ScriptedCrm(concurrency=4), ScriptedCrm(concurrency=4)
    for crm in (keeper, other):
        crm.gate.clear()
    async with running(url, keeper, waits=waits) as first:
        await until_asleep(app)
        async with running(url, other, waits=waits):
            await until(app, BOTH_SHARE)
            first._wiring.session._look.alive = 2  # as the tick would
            await app.execute(LINE_UP, 4)
            await keeper.reached(2)
            await other.reached(2)
            other.gate.set()
            await until(app, "count(*) = 2 FROM contacts WHERE brevo_sync_status = 'Complete'")
            for name in "abc":
                contact = await insert(app, "Queued", f"{name}@example.com")
                await until(app, "brevo_sync_status = 'Complete' FROM contacts WHERE id = $1", contact)
            keeper.gate.set()
            await until(app, ALL_COMPLETE)
