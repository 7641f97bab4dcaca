"""A worker is killed at each point of a delivery, and restarted: a real process, a real server, batches of a hundred."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import asyncpg
import pytest

from crm_sync.core.waits import USUAL
from crm_sync.sandbox.hubspot.sandbox import HubSpotSandbox
from crm_sync.sandbox.server import Fault, Hold, asks_for_fields, is_about_contacts
from tests.faults.promise import Stopwatch
from tests.faults.proxy import Proxy
from tests.faults.real_crms import complete
from tests.faults.real_worker import LINE_UP, RealWorker, assert_kept, environment_for, foreign, working
from tests.harness import TIMEOUT_S, until
from tests.process import ended, environment, process
from tests.tiers import slow

CLAIM = '_attempts" + 1'
FINISH = "finished AS ("
BATCH = 100
FINISH_WAITS = (
    "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'crm-sync' "
    "AND query LIKE '%unnest(%' AND datname = current_database()"
)
ALL = complete("hubspot")


@dataclass
class Scene:
    """app: the application. other: a second session of it."""

    app: asyncpg.Connection
    other: asyncpg.Connection
    hubspot: HubSpotSandbox
    proxy: Proxy
    victim: RealWorker

    async def line_up(self) -> None:
        await self.app.execute(LINE_UP.format(crm="hubspot"), "second.", BATCH)

    async def hold_the_request(self) -> Hold:
        """Puts contacts in line, and returns when the CRM has applied the request and its answer waits."""
        hold = Hold()
        self.hubspot.next_faults.append(Fault(applies=True, hold=hold))
        await self.line_up()
        await happened(hold.reached)
        return hold


@pytest.fixture
async def hubspot() -> AsyncIterator[HubSpotSandbox]:
    async with HubSpotSandbox(requests_per_ten_seconds=None, requests_per_day=None) as sandbox:
        yield sandbox


async def happened(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), TIMEOUT_S)


async def after_the_claim(scene: Scene) -> None:
    """Postgres has executed it, and the worker does not know."""
    lost = scene.proxy.lose_answer(CLAIM, silent=True)
    await scene.line_up()
    await happened(lost.happened)
    await scene.victim.die()


async def before_the_send(scene: Scene) -> None:
    """Nothing of the request takes effect in the CRM."""
    hold = Hold()
    scene.hubspot.next_faults.append(Fault(hold=hold, drop=True))
    await scene.line_up()
    await happened(hold.reached)
    await scene.victim.die()
    hold.release()


async def after_the_send(scene: Scene) -> None:
    """The CRM has applied the request; its answer was not read."""
    hold = await scene.hold_the_request()
    await scene.victim.die()
    hold.release()


async def before_the_finish_is_carried_out(scene: Scene) -> None:
    """It waits in the server, which cancels it as soon as it sees that the worker is gone."""
    hold = await scene.hold_the_request()
    async with scene.other.transaction():
        await scene.other.execute("LOCK TABLE contacts")
        hold.release()
        await until(scene.app, f"count(*) = 1 {FINISH_WAITS}")
        await scene.victim.die()
        await scene.app.execute(f"SELECT pg_terminate_backend(pid) {FINISH_WAITS}")
        await until(scene.app, f"count(*) = 0 {FINISH_WAITS}")
    assert await scene.app.fetchval("SELECT count(*) FROM contacts WHERE hubspot_claimed_by IS NOT NULL") == BATCH


async def while_the_finish_is_carried_out(scene: Scene) -> None:
    """It waits in the server, which executes it although the worker is gone, perhaps at the same time as the restarted one."""
    hold = await scene.hold_the_request()
    async with scene.other.transaction():
        await scene.other.execute("LOCK TABLE contacts")
        hold.release()
        await until(scene.app, f"count(*) = 1 {FINISH_WAITS}")
        await scene.victim.die()


async def after_the_finish(scene: Scene) -> None:
    """It is committed, and the worker does not know."""
    lost = scene.proxy.lose_answer(FINISH, silent=True)
    await scene.line_up()
    await happened(lost.happened)
    await scene.victim.die()
    assert await scene.app.fetchval(f"SELECT {ALL}")


@pytest.mark.parametrize(
    ("kill", "twice"),
    [
        (after_the_claim, 0),
        (before_the_send, BATCH),
        (after_the_send, BATCH),
        (before_the_finish_is_carried_out, BATCH),
        (while_the_finish_is_carried_out, BATCH),
        (after_the_finish, 0),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_killed_and_started_again_everything_is_back_in_line_within_two_seconds(app, other_app, url, hubspot, kill, twice):  # noqa: PLR0917
    """At most one batch is sent twice. A restarted worker first has to import its modules: the limit includes that."""
    async with Proxy(url) as proxy, working(environment_for(proxy.url, "hubspot", hubspot)) as victim:
        dead = await victim.opened()
        await app.execute(LINE_UP.format(crm="hubspot"), "first.", BATCH + BATCH // 2)
        await until(app, ALL)
        await kill(Scene(app, other_app, hubspot, proxy, victim))
        before = await foreign(app, "hubspot")
        stopwatch = Stopwatch()
        async with working(environment_for(url, "hubspot", hubspot)) as heir:
            await until(app, "NOT coalesce(bool_or(hubspot_claimed_by >> 32 = $1), false) FROM contacts", dead)
            back_s = stopwatch.tell(f"killed {kill.__name__}, from the start to back in line")
            await until(app, ALL)
            stopwatch.tell(f"killed {kill.__name__}, from the start to delivered")
            await heir.opened()
        stopwatch.tell("and to the end of it")
    await assert_kept(app, "hubspot", hubspot, twice=twice, logs=[victim.log, heir.log])
    assert await foreign(app, "hubspot") == before
    assert back_s < 2


@slow
async def test_killed_again_and_again_in_the_middle_of_much_work_it_sends_no_more_twice_than_it_had_in_hand(app, url, brevo):
    kills, in_hand, logs = 4, 0, []
    await app.execute(LINE_UP.format(crm="brevo"), "a", 600)
    for number in range(1, kills + 1):
        hold = Hold()
        fault = Fault(lambda call, least=number * 120: brevo.request_count >= least, applies=True, hold=hold)
        brevo.standing_faults = [fault]
        async with working(environment(url, brevo)) as victim:
            logs.append(victim.log)
            await happened(hold.reached)
            await victim.die()
            in_hand += await app.fetchval("SELECT count(brevo_claimed_by) FROM contacts")
        hold.release()
    brevo.standing_faults = []
    async with working(environment(url, brevo)) as last:
        await until(app, complete("brevo"))
    again = await assert_kept(app, "brevo", brevo, twice=in_hand, attempts=kills + 1, logs=[*logs, last.log])
    print(f"\nkilled {kills} times: {again} of 600 contacts sent again, {in_hand} were in hand")


async def test_sigterm_before_a_crm_that_never_answers_gives_everything_back_without_an_attempt(app, url, brevo):
    brevo.standing_faults.append(Fault(hold=Hold()))
    async with process(environment(url, brevo, SHUTDOWN_GRACE_S="1")) as running:
        await app.execute(LINE_UP.format(crm="brevo"), "a", 60)
        await until(app, "count(*) >= 16 FROM contacts WHERE brevo_claimed_by IS NOT NULL")
        stopwatch = Stopwatch()
        running.send_signal(signal.SIGTERM)
        code, _, err = await ended(running)
        assert stopwatch.tell("SIGTERM, a grace of 1 s, from the signal to the exit") < 1 + 2 * USUAL.finish_grace_s
    assert code == 0
    assert "Traceback" not in err
    states = "SELECT DISTINCT brevo_sync_status, brevo_processing_status, brevo_attempts, brevo_claimed_by FROM contacts"
    assert [tuple(row) for row in await app.fetch(states)] == [("Queued", "Queued", 0, None)]
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 0


@slow
@pytest.mark.parametrize("held", [is_about_contacts, asks_for_fields])
async def test_sigterm_while_postgres_is_silent_ends_it_in_time_and_the_next_one_delivers(app, url, brevo, held):
    """With answers in hand that cannot be written, or just before its first request, when it connects a lot."""
    hold = Hold()
    brevo.standing_faults.append(Fault(held, applies=True, hold=hold))
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(url))
        running = await stack.enter_async_context(process(environment(proxy.url, brevo, SHUTDOWN_GRACE_S="1")))
        await app.execute(LINE_UP.format(crm="brevo"), "a", 40)
        await happened(hold.reached)
        proxy.black_hole()
        brevo.standing_faults.clear()
        hold.release()
        stopwatch = Stopwatch()
        running.send_signal(signal.SIGTERM)
        code, _, err = await ended(running)
        assert (
            stopwatch.tell("SIGTERM without Postgres, a grace of 1 s, from the signal to the exit") < 1 + 2 * USUAL.finish_grace_s
        )
        assert code == 0
        assert "Traceback" not in err
    async with working(environment(url, brevo)) as heir:
        await until(app, complete("brevo"))
    await assert_kept(app, "brevo", brevo, twice=40, logs=[heir.log])
