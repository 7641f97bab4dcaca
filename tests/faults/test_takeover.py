"""Two worker processes, and one of them dies, or stops and comes back."""

import asyncio
import signal
from datetime import timedelta

from crm_sync import events
from crm_sync.core.waits import USUAL
from crm_sync.postgres import locks
from crm_sync.sandbox.server import Fault, Hold
from tests.faults.promise import Stopwatch, said
from tests.faults.real_crms import complete
from tests.faults.real_worker import LINE_UP, assert_kept, working
from tests.harness import TIMEOUT_S, until, until_asleep
from tests.process import environment
from tests.tiers import alone, slow

IN_FLIGHT = 16
ALL = complete("brevo")
SESSION_OF = (
    "FROM pg_stat_activity WHERE datname = current_database() AND pid IN ("
    f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = {locks.WORKER} AND objid = $1::bigint::oid)"
)
PERMITS_OF = "count(*) > 0 FROM crm_sync.permits WHERE worker = $1"
NONE_IS_OF = "NOT coalesce(bool_or(brevo_claimed_by >> 32 = $1), false) FROM contacts"


async def hold_all(app, brevo, count: int) -> Hold:
    """Puts this many in line, and returns when as many as allowed are in flight. The CRM has applied them,
    and does not answer.
    """
    hold = Hold()
    brevo.standing_faults.append(Fault(applies=True, hold=hold))
    await app.execute(LINE_UP.format(crm="brevo"), "a", count)
    async with asyncio.timeout(TIMEOUT_S):
        while len(brevo.contacts) < IN_FLIGHT:  # noqa: ASYNC110 (a CRM has no events)
            await asyncio.sleep(0.01)
    brevo.standing_faults.clear()
    return hold


@slow
@alone
async def test_the_contacts_of_a_killed_worker_are_taken_over_within_one_tick(app, url, brevo):
    """Some of them were in a request, and some are in line all the time: a worker claims only what it may send."""
    async with working(environment(url, brevo)) as victim:
        dead = await victim.opened()
        await until_asleep(app)
        hold = await hold_all(app, brevo, 30)
        async with working(environment(url, brevo)) as heir:
            await heir.opened()
            claims = await app.fetch("SELECT brevo_claimed_by FROM contacts WHERE brevo_claimed_by IS NOT NULL")
            owners = [row[0] >> 32 for row in claims]
            assert owners == [dead] * IN_FLIGHT, "one has as many as may be in a request: the other has no permit"
            await victim.die()
            stopwatch = Stopwatch()
            await until(app, NONE_IS_OF, dead)
            back_s = stopwatch.tell("worker killed, from the kill to taken over")
            await until(app, ALL)
            stopwatch.tell("worker killed, from the kill to all delivered")
            hold.release()
    await assert_kept(app, "brevo", brevo, twice=IN_FLIGHT, logs=[victim.log, heir.log])
    assert back_s < USUAL.tick_s + 0.5, "a tick, and the statements of it"


@slow
@alone
async def test_a_stopped_worker_keeps_its_contacts_as_long_as_its_session_lives(app, url, brevo):
    """The kernel answers for a stopped process. No other worker sends what it may be sending; a watchdog restarts it.

    It keeps its permits too: those of the other one are enough.
    """
    twice_as_many = environment(url, brevo, BREVO_CONCURRENCY=str(2 * IN_FLIGHT))
    async with working(twice_as_many) as sleeper:
        asleep = await sleeper.opened()
        await until_asleep(app)
        hold = await hold_all(app, brevo, IN_FLIGHT)
        async with working(twice_as_many) as other:
            awake = await other.opened()
            await until(app, PERMITS_OF, awake)
            sleeper.running.send_signal(signal.SIGSTOP)
            stopped_at = await app.fetchval("SELECT clock_timestamp()")
            hold.release()
            await app.execute(LINE_UP.format(crm="brevo"), "b", 5)
            await until(app, f"{ALL} WHERE email LIKE 'b%'")
            await until(app, f"max(query_start) > $2 {SESSION_OF}", awake, stopped_at + timedelta(seconds=USUAL.tick_s))
            assert await app.fetchval(f"SELECT count(*) FROM contacts WHERE brevo_claimed_by >> 32 = {asleep}") == IN_FLIGHT
            sleeper.running.send_signal(signal.SIGCONT)
            await until(app, ALL)
    await assert_kept(app, "brevo", brevo, twice=0, attempts=1, logs=[sleeper.log, other.log])


@slow
@alone
async def test_what_a_stopped_worker_that_was_taken_for_dead_sent_is_sent_over(app, url, brevo):
    async with working(environment(url, brevo)) as sleeper:
        asleep = await sleeper.opened()
        await until_asleep(app)
        hold = await hold_all(app, brevo, IN_FLIGHT)
        async with working(environment(url, brevo)) as heir:
            await heir.opened()
            sleeper.running.send_signal(signal.SIGSTOP)
            await app.execute(f"SELECT pg_terminate_backend(pid) {SESSION_OF}", asleep)
            stopwatch = Stopwatch()
            await until(app, ALL)
            stopwatch.tell("session of a stopped worker ended, from then to all delivered")
            hold.release()
            sleeper.running.send_signal(signal.SIGCONT)
            await said(sleeper.log, events.CONTACTS_LOST)
            await said(sleeper.log, events.CONTACTS_OVERWRITTEN)
            await until(app, ALL)
    await assert_kept(app, "brevo", brevo, twice=2 * IN_FLIGHT, attempts=3, logs=[sleeper.log, heir.log])
