"""What happens when the connection between a worker and Postgres fails: lost answers, silence, cuts at any byte."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from crm_sync import events
from crm_sync.core.waits import USUAL, Waits
from crm_sync.lane.delivery import Deliveries
from crm_sync.postgres import backoff
from tests.faults.promise import LINE_UP, RecordingCrm, Stopwatch, assert_promise_kept, said
from tests.faults.proxy import Link, Proxy
from tests.harness import ALL_COMPLETE, SESSIONS, TIMEOUT_S, daemon_for, running, until, until_asleep
from tests.steps import insert, read
from tests.tiers import one_quick, slow

CLAIM = "FOR NO KEY UPDATE SKIP LOCKED\n    )"
FINISH = "finished AS ("
SEED = 20_261_124
CUTS = 40


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[Proxy]:
    async with Proxy(url) as proxy:
        yield proxy


# Statements without an answer are given up after a second, and the tick comes after half a second.
IMPATIENT = Waits(statement_timeout_s=1.0, tick_s=0.5)


HOW_IT_IS_LOST = pytest.mark.parametrize(
    "how",
    [{}, {"keep_bytes": 40}, pytest.param({"silent": True}, marks=slow)],
    ids=["reset", "cut in the middle", "silence"],
)


@HOW_IT_IS_LOST
async def test_a_claim_whose_answer_is_lost_is_delivered_once_and_costs_no_attempt(app, proxy, crm, how):
    async with running(proxy.url, crm, waits=IMPATIENT):
        await until_asleep(app)
        lost = proxy.lose_answer(CLAIM, **how)
        contact = await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        assert lost.happened.is_set()
    assert crm.log == ["ada@example.com"]
    assert (await read(app, contact))["attempts"] == 1
    await assert_promise_kept(app, crm)


@HOW_IT_IS_LOST
async def test_a_finish_whose_answer_is_lost_is_repeated_and_changes_nothing(app, proxy, crm, how):
    async with running(proxy.url, crm, waits=IMPATIENT):
        await until_asleep(app)
        lost = proxy.lose_answer(FINISH, **how)
        contact = await insert(app, "Queued")
        await asyncio.wait_for(lost.happened.wait(), 10)
        written = await app.fetchrow("SELECT xmin, contacts FROM contacts")
        assert (await read(app, contact))["sync_status"] == "Complete"
        # The next contact goes through the same writer: once it is finished, the first has been tried again.
        await insert(app, "Queued", "bob@example.com")
        await until(app, ALL_COMPLETE)
        assert await app.fetchrow("SELECT xmin, contacts FROM contacts WHERE id = $1", contact) == written
    assert crm.log == ["ada@example.com", "bob@example.com"]
    await assert_promise_kept(app, crm)


async def test_a_flip_made_while_the_session_is_gone_is_delivered_within_two_seconds(app, proxy, crm):
    async with running(proxy.url, crm):
        await until_asleep(app)
        proxy.refuse()
        await until(app, f"count(*) = 0 {SESSIONS}")
        await insert(app, "Queued")
        assert crm.log == []
        proxy.heal()
        stopwatch = Stopwatch()
        await until(app, ALL_COMPLETE)
        assert stopwatch.tell("session reset, from reachable to delivered") < 2
    await assert_promise_kept(app, crm)


async def test_a_killed_session_listens_again_and_delivers_within_two_seconds(app, proxy, crm):
    async with running(proxy.url, crm):
        await until_asleep(app)
        stopwatch = Stopwatch()
        async with app.transaction():
            await app.execute(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
            await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        assert stopwatch.tell("session killed, from the kill to delivered") < 2
        await until_asleep(app)
        await insert(app, "Queued", "bob@example.com")
        stopwatch.start()
        await until(app, ALL_COMPLETE)
        assert stopwatch.tell("and the next flip is heard") < 1
    await assert_promise_kept(app, crm)


@slow
async def test_after_a_long_outage_it_delivers_within_three_seconds_of_the_database_being_back(app, proxy, crm, monkeypatch):
    """Its pauses have grown to the maximum, none is shortened by chance, and one has just begun."""
    monkeypatch.setattr(backoff, "random", SimpleNamespace(uniform=lambda _shortest, longest: longest))
    async with running(proxy.url, crm, waits=Waits(first_reconnect_s=USUAL.longest_reconnect_s)):
        await until_asleep(app)
        proxy.refuse()
        await insert(app, "Queued")
        await proxy.attempted(proxy.attempts + 1)
        proxy.heal()
        stopwatch = Stopwatch()
        await until(app, ALL_COMPLETE)
        assert stopwatch.tell("long outage, from reachable to delivered") < 3
    await assert_promise_kept(app, crm)


@slow
async def test_a_silent_drop_is_noticed_within_ten_seconds_and_heals(app, proxy, crm, log):
    """With real times, and at the worst moment: nothing is happening, and the tick has just passed."""
    async with running(proxy.url, crm) as daemon:
        await until_asleep(app)
        proxy.black_hole()
        stopwatch = Stopwatch()
        await insert(app, "Queued")
        await said(log, events.SESSION_LOST)
        noticed_s = stopwatch.tell("silent drop, from the drop to noticed")
        assert not daemon.stop.is_set()
        proxy.heal()
        stopwatch.start()
        await until(app, ALL_COMPLETE)
        healed_s = stopwatch.tell("silent drop, from reachable to delivered")
    await assert_promise_kept(app, crm)
    assert noticed_s < 10
    assert healed_s < 10


@slow
async def test_a_silent_drop_in_the_middle_of_much_work_heals(app, proxy, log):
    """Claims, finishes and looks are in flight on every connection, and none of them ever gets an answer."""
    crm = RecordingCrm(batch_limit=5, concurrency=4)
    async with running(proxy.url, crm):
        await until_asleep(app)
        await app.execute(LINE_UP, "a", 300)
        await crm.reached(10)
        proxy.black_hole()
        stopwatch = Stopwatch()
        await said(log, events.SESSION_LOST)
        noticed_s = stopwatch.tell("silent drop under load, from the drop to noticed")
        proxy.heal()
        stopwatch.start()
        await until(app, ALL_COMPLETE)
        healed_s = stopwatch.tell("silent drop under load, from reachable to all delivered")
    await assert_promise_kept(app, crm)
    assert noticed_s < 10
    assert healed_s < 10


async def test_a_silent_pool_beside_a_live_session_heals(app, proxy, crm):
    """A firewall that dropped some connections: the session answers, but none of the pool does."""
    async with running(proxy.url, crm, waits=IMPATIENT):
        await until_asleep(app)
        session_port = await app.fetchval(f"SELECT client_port {SESSIONS}")
        for link in proxy.links:
            link.silent = link.server_port != session_port
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
    await assert_promise_kept(app, crm)


@slow
async def test_what_a_worker_taken_for_dead_sent_is_sent_over(app, url, proxy, crm, log):
    late = RecordingCrm()
    late.records = {"ada@example.com": ("record-of-the-late-one", {})}
    late.gate.clear()
    cut_off = daemon_for(proxy.url, late, waits=IMPATIENT)
    task = asyncio.create_task(cut_off.run())
    await insert(app, "Queued")
    await late.reached(1)
    proxy.black_hole()
    # As the server's keepalives would, some seconds later.
    await app.execute(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
    await until(app, f"count(*) = 0 {SESSIONS}")
    async with running(url, crm):
        await until(app, ALL_COMPLETE)
        late.gate.set()
        proxy.heal()
        await said(log, events.CONTACTS_LOST)
        await said(log, events.CONTACTS_OVERWRITTEN)
        await until(app, ALL_COMPLETE)
        cut_off.stop.set()
        await asyncio.wait_for(task, 10)
    # Either worker may be the one that sends it again.
    assert len(late.log) + len(crm.log) == 3
    await assert_promise_kept(app, late if len(late.log) == 2 else crm)


async def test_what_waited_for_its_turn_when_another_took_it_over_is_not_sent_after_it(app, url, proxy, monkeypatch):
    """The other worker has delivered a newer state meanwhile, which would not be sent again."""
    monkeypatch.setattr(Deliveries, "_ahead", 1)  # claimed ahead, as with a fast CRM
    first, other = RecordingCrm(concurrency=1), RecordingCrm()
    first.gate.clear()
    async with running(proxy.url, first, waits=IMPATIENT) as worker:
        await until_asleep(app)
        await app.execute(LINE_UP, "", 2)
        await first.reached(1)
        await until(app, "count(*) = 2 FROM contacts WHERE brevo_claimed_by IS NOT NULL")
        proxy.refuse()
        await app.execute("UPDATE contacts SET first_name = 'Eve', brevo_sync_status = 'Queued'")
        async with running(url, other, waits=IMPATIENT):
            await until(app, ALL_COMPLETE)
            proxy.heal()
            await until(app, "count(*) = 2 FROM crm_sync.workers")
            await asyncio.wait_for(worker._wiring.session.opened.wait(), TIMEOUT_S)
            first.gate.set()
            await until_asleep(app)
            await worker._wiring.lanes["brevo"]._finisher.drained()
    assert len(first.requests) == 1, "what was in its request when the session was lost may land late, and nothing else"
    assert {fields["FIRSTNAME"] for _, fields in other.records.values()} == {"Eve"}


@slow
@pytest.mark.parametrize("seed", one_quick([SEED, SEED + 1, SEED + 2]))
async def test_connections_cut_at_random_bytes_lose_nothing(app, proxy, seed):
    print("seed", seed)
    chance = random.Random(seed)
    crm = RecordingCrm(batch_limit=5, concurrency=4)
    cuts = 0

    def doom(link: Link) -> None:
        nonlocal cuts
        if cuts < CUTS:
            cuts += 1
            # Some die while connecting, some in the middle of much work.
            link.cut_after = int(chance.lognormvariate(7.5, 1.2)) + 1

    async with running(proxy.url, crm, waits=replace(IMPATIENT, longest_reconnect_s=0.1)):
        await until_asleep(app)
        proxy.on_link = doom
        proxy.reset()
        batch = 0
        async with asyncio.timeout(TIMEOUT_S):
            while cuts < CUTS:
                batch += 1
                await app.execute(LINE_UP, f"{batch}.", 5)
                await app.execute(
                    "UPDATE contacts SET first_name = $1, brevo_sync_status = 'Queued' WHERE email LIKE '%5@example.com'",
                    str(batch),
                )
                await asyncio.sleep(0.02)  # the pace of an application
        proxy.reset()
        await until(app, ALL_COMPLETE)
    await assert_promise_kept(app, crm)
