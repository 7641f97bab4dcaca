"""Asks a CRM about many contacts with patience: transient failures are waited out, and a refused batch is halved."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Outcome
from crm_sync.core.waits import Waits
from crm_sync.errors import BatchRefusedError, DeclinedError, HeldBackError, LaneError, OutageError, ThrottledError

TRIES = 5  # of one request, while the CRM fails

Ask = Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]


async def asked(ask: Ask, items: Sequence[Any], waits: Waits) -> Sequence[Any]:
    """The answer for each item. An item refused alone may have several records: its answer is then an Outcome, AMBIGUOUS.

    Raises a LaneError that is not transient.
    """
    tries = 0
    while True:
        try:
            return await ask(items)
        except ThrottledError as error:
            await asyncio.sleep(error.pause_s)
        except HeldBackError as error:
            await asyncio.sleep(error.pause_s or waits.suspect_s)
        except BatchRefusedError as error:
            if len(items) == 1:
                return [Outcome.rejected(Code.AMBIGUOUS, error.reason)]
            middle = len(items) // 2
            return [*await asked(ask, items[:middle], waits), *await asked(ask, items[middle:], waits)]
        except OutageError:
            tries += 1
            if tries == TRIES:
                raise
            await asyncio.sleep(min(waits.first_probe_s * 2**tries, waits.longest_probe_s))


def each_told(said: Sequence[Any], unable: Code, sentence: str) -> list[Any]:
    """The result for each: what was found, None if nothing was, or an Outcome, AMBIGUOUS.

    unable: the code that a client answers if it cannot look up records. Raises DeclinedError with the sentence in that case, and
    LaneError for any other outcome.
    """
    for one in said:
        if isinstance(one, LaneError):
            raise one
        if isinstance(one, Outcome) and one.code == unable:
            raise DeclinedError(sentence)
        if isinstance(one, Outcome) and one.code != Code.AMBIGUOUS:
            raise LaneError(one.code or Code.REJECTED, one.reason or "no reason is given")
    return [*said]
