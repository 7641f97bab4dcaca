"""The breaker of a lane, shared by all workers: the breaker, pauses, and permits for concurrent requests."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from crm_sync.core.outcome import Outcome
from crm_sync.errors import LaneError, NotSentError, RefusedError, ThrottledError
from crm_sync.limits.breaker import LaneBreaker
from crm_sync.postgres.pool import Database
from tests.harness import ScriptedCrm, running, until
from tests.tiers import slow

ALL_COMPLETE = "bool_and(brevo_sync_status = 'Complete') FROM contacts"
MANY = "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@example.com', 'Queued' FROM generate_series(1, $1) AS n"


class Fickle(ScriptedCrm):
    """Raises as scripted, as long as scripted."""

    trouble: Exception | None = None

    async def deliver(self, contacts):
        outcomes = await super().deliver(contacts)
        if self.trouble is not None:
            raise self.trouble
        return outcomes


class Straggling(Fickle):
    """The failure of one contact is reported late."""

    straggler: object = None

    def __init__(self, **options):
        super().__init__(**options)
        self.late = asyncio.Event()

    async def deliver(self, contacts):
        try:
            return await super().deliver(contacts)
        except LaneError:
            if contacts[0].id == self.straggler:
                await self.late.wait()
            raise


@pytest.fixture
async def database(url):
    async with Database(url, size=2) as database:
        yield database


def breaker(database, said=None):
    said = [] if said is None else said
    return LaneBreaker("brevo", database, on_open=lambda: said.append("open"), on_shut=lambda: said.append("shut"))


async def workers(stack, url, count, **options):
    """This many workers, each with its own CRM that shows what it sends."""
    crms = [Fickle(**options) for _ in range(count)]
    for crm in crms:
        await stack.enter_async_context(running(url, crm))
    return crms


async def under_way(crms, requests):
    """Returns when this many are in flight, over all workers."""
    async with asyncio.timeout(20):
        while sum(len(crm.in_flight) for crm in crms) < requests:  # noqa: ASYNC110 (the CRMs have no events)
            await asyncio.sleep(0.01)


# The breaker.


async def test_what_one_worker_finds_out_all_know(database):
    one, said = breaker(database), []
    other = breaker(database, said)
    await other.read()
    await one.failed("UNREACHABLE", "no connection", refused=False, probe=False)
    await other.read()
    assert not one.open
    assert not other.open
    assert said == ["shut"]


async def test_of_many_workers_one_probes(database):
    breakers = [breaker(database) for _ in range(8)]
    await breakers[0].throttled("RATE_LIMITED", "too many requests", 0.0)
    assert sorted(await asyncio.gather(*(one.start_probe() for one in breakers))) == [False] * 7 + [True]
    assert sum(one.open for one in breakers) == 1


async def test_an_answered_probe_opens_it_for_all(database):
    one, said = breaker(database), []
    other = breaker(database, said)
    await one.throttled("RATE_LIMITED", "too many requests", 0.0)
    await other.read()
    assert await one.start_probe()
    await one.answered()
    await other.read()
    assert other.open
    assert said == ["shut", "open"]


async def test_only_what_is_claimed_for_the_probe_is_sent_while_it_is_probed(database):
    one = breaker(database)
    await one.read()
    assert one.admits(1)
    await one.throttled("RATE_LIMITED", "too many requests", 0.0)
    assert not one.admits(1)
    assert await one.start_probe()
    one.probe_with(2)
    assert not one.admits(1), "it was in hand before"
    assert one.admits(2)
    await one.answered()
    assert one.admits(1)


async def test_what_was_sent_before_the_outage_and_fails_late_is_not_the_probes_failure(app, url):
    crm = Straggling(concurrency=4)
    async with running(url, crm):
        crm.gate.clear()
        await app.execute(MANY, 30)
        await under_way([crm], 4)
        crm.straggler = next(iter(crm.in_flight))
        crm.trouble = NotSentError("UNREACHABLE", "no connection")
        crm.gate.set()
        await until(app, "breaker = 'open' FROM crm_sync.lanes WHERE crm = 'brevo'")
        crm.gate.clear()
        await until(app, "breaker = 'half-open' FROM crm_sync.lanes WHERE crm = 'brevo'")
        await under_way([crm], 1)
        crm.late.set()
        await until(app, "count(*) = 1 FROM contacts WHERE brevo_claimed_by IS NOT NULL")
        assert await app.fetchval("SELECT breaker FROM crm_sync.lanes WHERE crm = 'brevo'") == "half-open"
        crm.trouble = None
        crm.gate.set()
        await until(app, ALL_COMPLETE)


async def test_a_worker_that_lost_its_session_gives_its_probe_back(database):
    one, other = breaker(database), breaker(database)
    await one.throttled("RATE_LIMITED", "too many requests", 0.0)
    assert await one.start_probe()
    one.lost()
    assert not one.open
    await one.read()
    await other.read()
    assert other.wait_s < 2


async def test_a_gate_paused_by_hand_is_shut_whatever_the_breaker_says(app, database):
    one = breaker(database)
    await app.execute("UPDATE crm_sync.lanes SET held_since = now(), held_reason = 'why', revision = revision + 1")
    await one.read()
    assert not one.open
    await app.execute("UPDATE crm_sync.lanes SET held_since = NULL, held_reason = NULL, revision = revision + 1")
    await one.read()
    assert one.open


async def test_people_can_read_what_is_the_matter(app, database):
    await breaker(database).failed("UNREACHABLE", "no connection", refused=False, probe=False)
    row = await app.fetchrow("SELECT * FROM crm_sync.lanes WHERE crm = 'brevo'")
    assert (row["breaker"], row["breaker_reason"], row["openings"]) == ("open", "UNREACHABLE: no connection", 1)
    assert row["next_probe_at"] > row["breaker_since"]


@slow
@pytest.mark.parametrize(
    "trouble",
    [
        NotSentError("UNREACHABLE", "no connection"),
        RefusedError("REFUSED", "401"),
        ThrottledError("RATE_LIMITED", "too many requests", 0.5),
    ],
    ids=["down", "refused", "throttled"],
)
async def test_an_outage_is_told_once_by_all_workers_together_and_probed_by_one_at_a_time(app, url, trouble, caplog, capsys):
    async with AsyncExitStack() as stack:
        crms = await workers(stack, url, 3, concurrency=6)
        for crm in crms:
            crm.trouble = trouble
        await app.execute(MANY, 300)
        await until(app, "count(*) = 1 FROM crm_sync.lanes WHERE crm = 'brevo' AND breaker IN ('open', 'throttled')")
        await until(app, "count(*) = 0 FROM contacts WHERE brevo_claimed_by IS NOT NULL")
        before = sum(len(crm.requests) for crm in crms)
        await until(
            app, "openings >= 2 OR breaker_since < clock_timestamp() - interval '2 s' FROM crm_sync.lanes WHERE crm = 'brevo'"
        )
        probes = [contacts for crm in crms for contacts in crm.requests][before:]
        assert len(probes) <= 4
        assert await app.fetchval("SELECT max(brevo_attempts) FROM contacts WHERE brevo_claimed_by IS NULL") == 0
        assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Error'") == 0
        for crm in crms:
            crm.trouble = None
        await until(app, ALL_COMPLETE)
    said = capsys.readouterr().out
    assert said.count("breaker_opened") + said.count("lane_paused") == 1
    assert said.count("breaker_closed") == 1


# ConcurrencyLimit.


async def test_all_workers_together_have_no_more_requests_under_way_than_the_crm_is_to_get(app, url):
    async with AsyncExitStack() as stack:
        crms = await workers(stack, url, 3, concurrency=5)
        most = 0

        def answer(contact):
            nonlocal most
            most = max(most, sum(len(crm.in_flight) for crm in crms))
            return Outcome.delivered("1")

        for crm in crms:
            crm.answer = answer
            crm.gate.clear()
        await app.execute(MANY, 60)
        await until(app, "count(*) >= 5 FROM contacts WHERE brevo_claimed_by IS NOT NULL")
        await under_way(crms, 5)
        for crm in crms:
            crm.gate.set()
        await until(app, ALL_COMPLETE)
    assert most == 5
    assert sum(bool(crm.requests) for crm in crms) >= 2, "a worker that came later has its share"


async def test_the_permits_of_a_worker_that_goes_are_the_others(app, url):
    async with AsyncExitStack() as stack:
        [stays] = await workers(stack, url, 1, concurrency=4)
        async with AsyncExitStack() as goes:
            await workers(goes, url, 1, concurrency=4)
        stays.gate.clear()
        await app.execute(MANY, 40)
        await under_way([stays], 4)
        stays.gate.set()
        await until(app, ALL_COMPLETE)


async def test_a_worker_with_a_backlog_shares_with_one_that_comes_later(app, url):
    async with AsyncExitStack() as stack:
        [first] = await workers(stack, url, 1, concurrency=4)
        first.gate.clear()
        await app.execute(MANY, 400)
        await under_way([first], 4)
        [second] = await workers(stack, url, 1, concurrency=4)
        second.gate.clear()
        await until(app, "count(*) = 2 FROM crm_sync.workers")  # otherwise the backlog may be gone before it looks
        first.gate.set()
        await under_way([second], 2)
        second.gate.set()
        await until(app, ALL_COMPLETE)
    assert first.requests
