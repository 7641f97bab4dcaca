"""How tasks of a worker are ended."""

import asyncio

from crm_sync.lane.ending import end_tasks
from tests.harness import TIMEOUT_S


async def test_a_task_that_swallows_its_cancellation_is_cancelled_again():
    swallowed = 0

    async def go_on():
        nonlocal swallowed
        while swallowed < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(go_on()), asyncio.create_task(asyncio.Event().wait())]
    await asyncio.sleep(0)
    async with asyncio.timeout(TIMEOUT_S):
        await end_tasks(tasks, again_s=0.01)
    assert swallowed == 2
    assert all(task.cancelled() for task in tasks)


async def test_one_that_has_ended_is_left_as_it_is():
    ended = asyncio.create_task(asyncio.sleep(0, "done"))
    await ended
    await end_tasks([ended])
    assert ended.result() == "done"
    await end_tasks([])
