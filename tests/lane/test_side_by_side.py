"""Concurrent requests of one delivery: with its own permit, and with those that become free meanwhile."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from crm_sync.errors import DatabaseTroubleError
from crm_sync.lane.side_by_side import side_by_side


class Permits:
    """This many, besides the caller's."""

    def __init__(self, free):
        self._free = asyncio.Semaphore(free)
        self.taken = 0

    @asynccontextmanager
    async def ahead(self):
        async with self._free:
            self.taken += 1
            try:
                yield
            finally:
                self.taken -= 1


class Calls:
    def __init__(self):
        self.running = 0
        self.most = 0

    def made(self, number, error=None):
        async def call():
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0)
            self.running -= 1
            if error is not None:
                raise error
            return number

        return call


@pytest.mark.parametrize(("free", "most"), [(0, 1), (1, 2), (9, 5)])
async def test_each_is_made_once_by_as_many_as_there_are_permits_and_none_is_kept(free, most):
    permits, calls = Permits(free), Calls()
    assert await side_by_side(permits, [calls.made(number) for number in range(5)]) == [0, 1, 2, 3, 4]
    assert calls.most == most
    assert permits.taken == 0


async def test_of_one_nothing_is_waited_for():
    assert await side_by_side(Permits(0), [Calls().made(7)]) == [7]


@pytest.mark.parametrize("failing", [0, 1, 2])
async def test_what_one_raises_is_raised_and_no_permit_is_kept(failing):
    permits, calls = Permits(1), Calls()
    trouble = DatabaseTroubleError("away")
    with pytest.raises(DatabaseTroubleError, match="away"):
        await side_by_side(permits, [calls.made(number, trouble if number == failing else None) for number in range(3)])
    assert permits.taken == 0


async def test_cancelled_it_leaves_nothing_behind():
    permits, started = Permits(1), asyncio.Event()

    async def call():
        started.set()
        await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(side_by_side(permits, [call, call, call]))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert permits.taken == 0
