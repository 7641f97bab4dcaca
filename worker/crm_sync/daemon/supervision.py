"""How the daemon's loops run in parallel: independently, so that a failing loop never cancels the requests of another."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from crm_sync import events
from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import ConfigurationError, DatabaseTroubleError, UnreadableError
from crm_sync.lane.wake import wait
from crm_sync.log import Trouble
from crm_sync.postgres.backoff import Backoff
from crm_sync.postgres.session import Session

log = structlog.get_logger()


async def supervise(name: str, loop: Callable[[], Awaitable[None]], waits: Waits = USUAL) -> None:
    """Runs a loop forever. A failed one is restarted after a growing, jittered pause; only an error that
    needs a person ends it.
    """
    backoff = Backoff(waits)
    trouble = Trouble(loop=name)
    while True:
        started = asyncio.get_running_loop().time()
        try:
            await loop()
        except ConfigurationError:
            raise
        except (DatabaseTroubleError, UnreadableError) as error:
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
    interval_s: float, session: Session, work: Callable[[], Awaitable[bool]], asked: asyncio.Event, waits: Waits = USUAL
) -> None:
    """Works at this interval while the session is open, and when asked to; sooner, at growing intervals, while it finds
    something.
    """
    pause_s = waits.strays_again_s
    while True:
        await session.opened.wait()
        asked.clear()
        if await work():
            await wait(asked, min(pause_s, interval_s))
            pause_s *= 2
        else:
            await wait(asked, interval_s)
            pause_s = waits.strays_again_s
