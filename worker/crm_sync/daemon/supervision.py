"""How the daemon's loops run in parallel: each on its own, so that one that fails cancels no other's request."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from crm_sync import events
from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.lane.wake import wait
from crm_sync.log import Trouble
from crm_sync.postgres.backoff import Backoff
from crm_sync.postgres.session import Session

BUSY_LOOK_S = 0.05  # between two looks whether a lane is busy; a claim takes a tenth of it

log = structlog.get_logger()


async def supervise(name: str, loop: Callable[[], Awaitable[None]], waits: Waits = USUAL) -> None:
    """Runs a loop forever. One that fails is run again after a growing, jittered pause; only a person's matter ends it."""
    backoff = Backoff(waits)
    trouble = Trouble(loop=name)
    while True:
        started = asyncio.get_running_loop().time()
        try:
            await loop()
        except ConfigurationError:
            raise
        except DatabaseTroubleError as error:
            trouble.tell(error)
        except Exception:
            log.exception(events.LOOP_FAILED, loop=name)
        else:
            return
        if asyncio.get_running_loop().time() - started > waits.longest_reconnect_s:
            backoff.reset()
            trouble.over()
        await asyncio.sleep(backoff.pause_s())


async def every(
    interval_s: float,
    session: Session,
    work: Callable[[], Awaitable[bool]],
    asked: asyncio.Event,
    *,
    busy: Callable[[], bool],
    waits: Waits = USUAL,
) -> None:
    """Works at this interval, while the session is open, and when it is asked to; sooner where it found something, less and less
    so while it does. Gives way, for a moment, to a lane that is busy.
    """
    pause_s = waits.strays_again_s
    while True:
        await session.opened.wait()
        await _give_way(busy, waits.give_way_s)
        asked.clear()
        if await work():
            await wait(asked, min(pause_s, interval_s))
            pause_s *= 2
        else:
            await wait(asked, interval_s)
            pause_s = waits.strays_again_s


async def _give_way(busy: Callable[[], bool], longest_s: float) -> None:
    """Returns when the lane has looked for contacts and has none in hand, or after longest_s seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        await asyncio.sleep(min(BUSY_LOOK_S, longest_s))
        if not busy() or loop.time() - began >= longest_s:
            return
