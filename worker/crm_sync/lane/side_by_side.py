"""Concurrent requests of one delivery, within the permits of the lane."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from crm_sync.errors import CrmSyncError
from crm_sync.limits.concurrency_limit import ConcurrencyLimit

Result = TypeVar("Result")


async def side_by_side(permits: ConcurrencyLimit, calls: Sequence[Callable[[], Awaitable[Result]]]) -> list[Result]:
    """The results of these calls, in order. Raises the first CrmSyncError that one of them raises.

    The caller holds one permit, with which calls are made one after another, so nothing has to wait for a second permit. Permits
    that become free meanwhile are used too.
    """
    results: dict[int, Result] = {}
    todo = deque(enumerate(calls))
    waiting: set[asyncio.Task[Any] | None] = set()

    async def work() -> None:
        while todo:
            place, call = todo.popleft()
            results[place] = await call()

    async def help_out() -> None:
        async with permits.ahead():
            waiting.discard(asyncio.current_task())
            await work()

    try:
        async with asyncio.TaskGroup() as group:
            waiting.update([group.create_task(help_out()) for _ in calls[1:]])
            await work()
            for helper in waiting:
                if helper is not None:
                    helper.cancel()
    except* CrmSyncError as errors:
        raise errors.exceptions[0] from None
    return [results[place] for place in range(len(calls))]
