"""Several requests of one delivery at a time, within the permits of the lane."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from crm_sync.errors import CrmSyncError
from crm_sync.limits.concurrency_limit import ConcurrencyLimit

Result = TypeVar("Result")


async def side_by_side(permits: ConcurrencyLimit, calls: Sequence[Callable[[], Awaitable[Result]]]) -> list[Result]:
    """What these calls return, in their order. Raises the first CrmSyncError that one of them raises.

    The caller has one permit. One call after the other is made with it, so that it need not wait for another permit; each that
    gets free meanwhile is used too.
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
