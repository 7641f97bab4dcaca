"""A transaction pooler between a worker and Postgres: accepted for the pool, refused for the session."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from crm_sync.sandbox.server import Fault, Hold
from tests.faults.pooler import ABSENT, PROGRAM, Pooler
from tests.faults.promise import Stopwatch
from tests.faults.real_crms import complete
from tests.faults.real_worker import LINE_UP, assert_kept, working
from tests.harness import TIMEOUT_S, until
from tests.process import ended, environment, process
from tests.roles import as_worker
from tests.steps import insert
from tests.tiers import slow

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=ABSENT)


@pytest.fixture
async def pooler(url: str) -> AsyncIterator[Pooler]:
    async with Pooler(url) as pooler:
        yield pooler


def through(pooler, url, brevo):
    return environment(pooler.url, brevo, LISTEN_DATABASE_URL=as_worker(url), DATABASE_BEHIND_POOLER="true")


async def test_everything_is_delivered_through_it_under_load(app, url, pooler, brevo):
    async with working(through(pooler, url, brevo)) as worker:
        await worker.opened()
        for part in range(10):
            await app.execute(LINE_UP.format(crm="brevo"), f"{part}.", 100)
        await until(app, complete("brevo"))
        stopwatch = Stopwatch()
        await insert(app, "Queued")
        await until(app, complete("brevo"))
        stopwatch.tell("pooler, a single flip")
    await assert_kept(app, "brevo", brevo, twice=0, logs=[worker.log])


@slow
async def test_killed_and_started_again_under_load_it_loses_nothing(app, url, pooler, brevo):
    hold = Hold()
    async with working(through(pooler, url, brevo)) as worker:
        await worker.opened()
        brevo.next_faults.append(Fault(lambda _: brevo.request_count >= 200, applies=True, hold=hold))
        await app.execute(LINE_UP.format(crm="brevo"), "a", 600)
        await asyncio.wait_for(hold.reached.wait(), TIMEOUT_S)
        await pooler.kill()
        hold.release()
        await app.execute(LINE_UP.format(crm="brevo"), "b", 50)
        await pooler.start()
        stopwatch = Stopwatch()
        await until(app, complete("brevo"))
        stopwatch.tell("pooler killed under load, from started again to all delivered")
        assert worker.running.returncode is None
    await assert_kept(app, "brevo", brevo, twice=0, logs=[worker.log])


@pytest.mark.parametrize("told", ["true", "false"], ids=["told of the pooler", "not told of it"])
async def test_a_session_through_it_is_refused_at_the_start_with_a_plain_reason(pooler, brevo, told):
    async with process(environment(pooler.url, brevo, DATABASE_BEHIND_POOLER=told)) as running:
        code, _, err = await ended(running)
    assert code == 78
    assert "LISTEN_DATABASE_URL" in err
    assert "pooler" in err
    assert "Traceback" not in err


async def test_a_pooler_that_nobody_told_of_is_refused_at_the_start_with_the_name_of_the_setting(url, pooler, brevo):
    async with process(environment(pooler.url, brevo, LISTEN_DATABASE_URL=as_worker(url))) as running:
        code, _, err = await ended(running)
    assert code == 78
    assert "DATABASE_BEHIND_POOLER" in err
    assert "Traceback" not in err
