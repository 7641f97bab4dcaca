"""ConcurrencyLimit for the concurrent requests of one worker: shared, returned, and never waited for in vain."""

import asyncio
import itertools

import pytest

from crm_sync.core.concurrency import START
from crm_sync.core.waits import USUAL
from crm_sync.limits import concurrency_limit
from tests.limits.permits import Worker


@pytest.fixture
def locks():
    return {}


async def test_a_worker_alone_has_them_all_and_with_others_its_share(locks):
    one, two, three = (Worker(locks, 5) for _ in range(3))
    await one.permits.share(1)
    assert one.permits.limit == 5
    for alive, newcomer in ((2, two), (3, three)):
        await newcomer.permits.share(alive)
        assert newcomer.session.told == 1, "it asks for its share"
        for worker in (one, two)[: alive - 1]:
            await worker.permits.share(alive)
        await newcomer.permits.share(alive)
    assert sorted(worker.permits.limit for worker in (one, two, three)) == [1, 2, 2]


async def test_a_worker_that_finds_its_share_free_asks_nobody_to_share_again(locks):
    worker = Worker(locks, 3)
    for _ in range(3):
        await worker.permits.share(1)
    assert (worker.session.asked, worker.session.told, worker.more) == (1, 0, 1)


async def test_a_worker_asks_for_its_share_once_and_hears_of_it_when_it_gets_some(locks):
    one, two = Worker(locks, 2), Worker(locks, 2)
    await one.permits.share(1)
    for _ in range(3):
        await two.permits.share(2)
    assert (two.session.told, two.more) == (1, 0)
    await one.permits.share(2)
    assert one.session.told == 1, "so that the other one takes what it gave back"
    await two.permits.share(2)
    assert (two.permits.limit, two.session.told, two.more) == (1, 1, 1)


async def test_requests_that_wait_start_as_soon_as_the_share_grows(locks):
    worker = Worker(locks, 4)
    await worker.permits.share(2)
    await worker.send(4)
    assert worker.permits.running == 2
    await worker.permits.share(1)
    assert worker.permits.running == 4
    await worker.end(4)
    assert worker.heard == 0, "there is nothing to give back"


async def test_requests_start_in_the_order_in_which_they_came(locks):
    worker, order = Worker(locks, 1), []

    async def request(number):
        async with worker.permits:
            order.append(number)
            await asyncio.sleep(0)

    await worker.permits.share(1)
    await asyncio.gather(*(request(number) for number in range(4)))
    assert order == [0, 1, 2, 3]


async def test_a_request_before_there_are_permits_is_let_in_for_it_learns_there_that_it_may_not_start(locks):
    worker = Worker(locks, 2)
    await worker.send(1)
    assert (worker.permits.limit, worker.permits.running) == (0, 1)
    await worker.end(1)
    assert worker.permits.running == 0


async def test_a_busy_worker_gives_back_as_its_requests_end_and_starts_no_other_for_them(locks):
    one, two = Worker(locks, 4), Worker(locks, 4)
    await one.permits.share(1)
    await one.send(8)
    await two.permits.share(2)
    await one.permits.share(2)
    assert (one.permits.running, one.permits.limit, two.permits.limit) == (4, 2, 0)
    await one.end(1)
    assert (one.permits.running, one.heard) == (3, 1)
    await one.permits.share(2)
    await two.permits.share(2)
    assert two.permits.limit == 1
    await one.end(1)
    await one.permits.share(2)
    await two.permits.share(2)
    assert (one.permits.running, two.permits.limit) == (2, 2)
    await one.end(1)
    assert one.permits.running == 2, "within its share the next one starts"
    await one.end(5)
    assert one.permits.running == 0


async def test_what_is_asked_again_comes_before_all_that_wait(locks):
    worker = Worker(locks, 1)
    await worker.permits.share(1)
    await worker.send(2)
    order = []

    async def ask_again():
        async with worker.permits.ahead():
            order.append(worker.permits.running)

    again = asyncio.create_task(ask_again())
    given_up = asyncio.create_task(ask_again())
    await asyncio.sleep(0)
    given_up.cancel()
    await worker.end(1)
    await again
    assert order == [1]
    await worker.end(1)
    assert worker.permits.running == 0


async def test_a_lost_session_has_no_permits_and_a_new_one_takes_them_anew(locks):
    worker = Worker(locks, 3)
    await worker.permits.share(1)
    worker.session.lose()
    assert worker.permits.limit == 0
    await worker.permits.share(1)
    assert worker.permits.limit == 3


@pytest.mark.parametrize("most", [2, 3])
async def test_a_worker_that_stands_still_with_all_permits_stops_nobody_for_good(locks, monkeypatch, most):
    now = 1000.0
    monkeypatch.setattr(concurrency_limit.time, "monotonic", lambda: now)
    still, other = Worker(locks, most), Worker(locks, most)
    await still.permits.share(1)
    await other.permits.share(2)
    now += USUAL.permit_patience_s - 1
    await other.permits.share(2)
    assert other.permits.limit == 0
    now += 2
    for _ in range(2):
        await other.permits.share(2)
    assert (other.permits.limit, len(locks), other.session.told) == (1, most + 1, 1)
    still.session.lose()
    for _ in range(2):
        await other.permits.share(1)
    assert other.permits.limit == most
    assert sorted(locks) == [*range(1, most + 1)], "the spare one is given back"


async def test_who_has_permits_takes_no_spare_one_however_long(locks, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(concurrency_limit.time, "monotonic", lambda: now)
    worker = Worker(locks, 4)
    await worker.permits.share(2)
    now += 10 * USUAL.permit_patience_s
    await worker.permits.share(2)
    assert (sorted(locks), worker.session.asked) == ([1, 2], 1)


async def test_with_more_workers_than_permits_there_is_none_to_spare(locks, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(concurrency_limit.time, "monotonic", lambda: now)
    one, two = Worker(locks, 1), Worker(locks, 1)
    await one.permits.share(2)
    await two.permits.share(2)
    now += 10 * USUAL.permit_patience_s
    await two.permits.share(2)
    assert two.permits.limit == 0


@pytest.mark.parametrize("let_in", [False, True])
async def test_a_request_that_is_cancelled_while_it_waits_leaves_its_place(locks, let_in):
    worker = Worker(locks, 1)
    await worker.permits.share(1)
    await worker.send(3)
    waiting = worker.tasks.pop(1)[0]
    if let_in:
        worker.tasks[0][1].set()
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await worker.end(2)
    assert worker.permits.running == 0
    await worker.send(1)
    assert worker.permits.running == 1
    await worker.end(1)


async def test_many_that_are_cancelled_at_once_leave_their_places(locks):
    worker = Worker(locks, 1)
    await worker.permits.share(1)
    await worker.send(20)
    for task, _ in worker.tasks:
        task.cancel()
    ended = await asyncio.gather(*(task for task, _ in worker.tasks), return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended)
    assert worker.permits.running == 0


async def test_who_has_left_takes_none_again_whoever_asks_for_his_share(locks):
    one, two = Worker(locks, 4), Worker(locks, 4)
    await one.permits.share(1)
    await one.permits.leave()
    await one.permits.share(2)
    assert one.permits.limit == 0
    await two.permits.share(2)
    assert (two.permits.limit, len(locks)) == (2, 2)
    assert one.session.told == 1, "so that the other one takes them"


async def test_who_leaves_without_permits_has_nothing_to_say(locks):
    one, two = Worker(locks, 1), Worker(locks, 1)
    await one.permits.share(1)
    await two.permits.share(2)
    one.session.lose()
    await two.permits.share(2)
    await one.permits.leave()
    assert (one.session.told, len(locks)) == (0, 1), "its permits are another worker's by now"
    three = Worker(locks, 1)
    await three.permits.share(2)
    told = three.session.told
    await three.permits.leave()
    assert three.session.told == told


# How many the CRM takes.


def answered(worker, took_s, rounds=1, *, told=True):
    """Rounds of answers, each with as many in flight as the limit allows."""
    for _ in range(rounds * 16):
        worker.permits.running = worker.permits.limit
        worker.permits.answered(1, took_s, told=told)


@pytest.fixture
def clock(monkeypatch):
    """A wall clock that every answer finds later."""
    seconds = itertools.count(1_800_000_000.0, 0.2)
    monkeypatch.setattr(concurrency_limit.time, "time", lambda: next(seconds))


@pytest.mark.usefixtures("clock")
async def test_a_crm_without_a_published_limit_gets_few_at_first_and_more_as_it_answers(locks):
    worker = Worker(locks, 6, adaptive=True)
    await worker.permits.share(1)
    assert worker.permits.limit == START
    answered(worker, 0.1, rounds=12)
    assert worker.permits.limit == 6, "never more than there are permits"
    worker.permits.failed(0.1)
    assert worker.permits.limit == 3


@pytest.mark.usefixtures("clock")
async def test_refusals_say_nothing_about_how_many_a_crm_takes(locks):
    worker = Worker(locks, 6, adaptive=True)
    await worker.permits.share(1)
    answered(worker, 0.1, rounds=20, told=False)
    assert worker.permits.limit == START


async def test_a_crm_with_a_published_limit_gets_that_many_whatever_it_answers(locks):
    worker = Worker(locks, 6)
    await worker.permits.share(1)
    worker.permits.failed(0.1)
    answered(worker, 0.1)
    assert worker.permits.limit == 6


async def test_after_an_outage_each_answer_lets_more_of_those_in_that_wait(locks):
    worker = Worker(locks, 16)
    await worker.permits.share(1)
    worker.permits.ramp.start()
    await worker.send(16)
    running = [worker.permits.running]
    for _ in range(3):
        worker.permits.answered(1, 0.1, told=True)
        running.append(worker.permits.running)
    assert running == [2, 4, 8, 16]
    await worker.end(16)
