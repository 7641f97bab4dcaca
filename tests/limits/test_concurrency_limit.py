"""ConcurrencyLimit for the concurrent requests of one worker: shared, returned, and never waited for in vain."""

import asyncio

import pytest

from crm_sync.core.waits import USUAL
from crm_sync.limits import concurrency_limit
from crm_sync.limits.concurrency_limit import ConcurrencyLimit


class FakeSession:
    """A worker's session on a server shared by all sessions of a test: who holds each permit."""

    def __init__(self, locks: dict[int, "FakeSession"]) -> None:
        self.openings = 1
        self.told = 0
        self._locks = locks

    async def take_permits(self, _lane_id, most, held, wanted):
        free = [number for number in range(1, most + 1) if number not in held and number not in self._locks]
        self._locks.update(dict.fromkeys(free[:wanted], self))
        return free[:wanted]

    async def give_permits(self, _lane_id, numbers):
        for number in numbers:
            assert self._locks.pop(number) is self

    async def tell_news(self, _crm):
        self.told += 1

    def lose(self):
        for number in [number for number, holder in self._locks.items() if holder is self]:
            del self._locks[number]
        self.openings += 1


class Worker:
    def __init__(self, locks, most):
        self.session = FakeSession(locks)
        self.heard = 0
        self.permits = ConcurrencyLimit(
            "brevo", 1, self.session, most=most, adaptive=False, on_more=lambda: None, on_surplus=self._hear
        )
        self.tasks = []

    def _hear(self):
        self.heard += 1

    async def send(self, requests):
        """This many more requests, each until `end`."""
        for _ in range(requests):
            end = asyncio.Event()
            self.tasks.append((asyncio.create_task(self._request(end)), end))
        await asyncio.sleep(0)

    async def end(self, requests):
        ended, self.tasks = self.tasks[:requests], self.tasks[requests:]
        for _, end in ended:
            end.set()
        await asyncio.gather(*(task for task, _ in ended))

    async def _request(self, end):
        async with self.permits:
            await end.wait()


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


async def test_a_worker_that_stands_still_with_all_permits_stops_nobody_for_good(locks, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(concurrency_limit.time, "monotonic", lambda: now)
    still, other = Worker(locks, 2), Worker(locks, 2)
    await still.permits.share(1)
    await other.permits.share(2)
    now += USUAL.permit_patience_s - 1
    await other.permits.share(2)
    assert other.permits.limit == 0
    now += 2
    await other.permits.share(2)
    assert other.permits.limit == 1
    still.session.lose()
    for _ in range(2):
        await other.permits.share(1)
    assert other.permits.limit == 2
    assert sorted(locks) == [1, 2], "the spare one is given back"


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
