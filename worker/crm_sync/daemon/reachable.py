"""The start of a worker whose database is unreachable: it waits, and can be stopped meanwhile."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from crm_sync.core.waits import Waits
from crm_sync.errors import DatabaseTroubleError
from crm_sync.lane.ending import end_tasks
from crm_sync.log import Trouble
from crm_sync.postgres.backoff import Backoff

Result = TypeVar("Result")


class StoppedError(Exception):
    """Stopped before anything ran: there is nothing to drain."""


async def once_reachable(
    work: Callable[[], Coroutine[Any, Any, Result]], stop: asyncio.Event, waits: Waits, on_wait: Callable[[str], None]
) -> Result:
    """Does the work as soon as the database is reachable, and reports each reason once. on_wait: called with the reason before
    each wait. Raises StoppedError when stopped meanwhile, and what the work raises.
    """
    backoff = Backoff(waits)
    trouble = Trouble(note="waiting for the database")
    while True:
        try:
            return await _unless_stopped(work(), stop)
        except DatabaseTroubleError as error:
            trouble.tell(error)
            on_wait(str(error))
        with suppress(TimeoutError):
            async with asyncio.timeout(backoff.pause_s()):
                await stop.wait()
            raise StoppedError


async def _unless_stopped(work: Coroutine[Any, Any, Result], stop: asyncio.Event) -> Result:
    """Raises StoppedError when stopped meanwhile: nothing is waited for that has only begun."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise StoppedError
    finally:
        await end_tasks([working, stopping])
