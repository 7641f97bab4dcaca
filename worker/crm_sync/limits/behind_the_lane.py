"""The limits of an account for reading next to a working lane: the same budget, with priority for the lane.

A request waits while contacts are ready in line, and while more than SHARE of any window is used, so that new flips find room at
once. It does not wait forever: a backlog can last for days.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from crm_sync.core.rate import Remaining
from crm_sync.core.waits import Waits
from crm_sync.limits.rate_limit import RateLimit

SHARE = 0.75  # of each window, including the lane's own requests
MOST_LOOKS = 30  # before a request is sent anyway


class BehindTheLane:
    """A limiter (`crm_sync.crm.limiter`). is_awaited: whether contacts are ready in line and a worker is there to send them."""

    def __init__(self, rate: RateLimit, is_awaited: Callable[[], Awaitable[bool]], waits: Waits) -> None:
        self._rate = rate
        self._is_awaited = is_awaited
        self._waits = waits

    async def slot(self) -> None:
        """Waits until the next request may start. Raises as RateLimit.slot and Database.fetch do."""
        for _ in range(MOST_LOOKS):
            if not await self._is_in_the_way():
                break
            await asyncio.sleep(self._waits.courtesy_s)
        await self._rate.slot()

    async def correct(self, remaining: Iterable[Remaining]) -> None:
        await self._rate.correct(remaining)

    async def _is_in_the_way(self) -> bool:
        if await self._is_awaited():
            return True
        return any(used >= window.limit * SHARE for window, used in await self._rate.used())
