"""How tasks of a worker are ended."""

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_S = 1.0


async def end_tasks(tasks: Iterable[asyncio.Task[Any]], again_s: float = AGAIN_S) -> None:
    """Cancels them, and returns when all have ended.

    One that goes on is cancelled again after this many seconds: a client of somebody else's, or an error that came at the same
    moment, may have swallowed its cancellation.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=again_s)
