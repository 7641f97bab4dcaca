"""What a lane asks its CRM before the first request, and again from time to time while it delivers.

What it says against the lane holds the lane like a refusal by the CRM, and each probe asks again, so that the lane goes on once
that is fixed. If it cannot be asked, nothing is held: a delivery tells more about an outage.
"""

import asyncio
import math
import time
from abc import ABC, abstractmethod

import structlog

from crm_sync.core.text import clean
from crm_sync.core.waits import Waits
from crm_sync.crm.trail import current
from crm_sync.errors import LaneError, RefusedError


class Proof(ABC):
    """For one lane. Its requests are part of a delivery: with a permit, within the limits, while the CRM may be called."""

    def __init__(self, crm: str, waits: Waits, *, good_for_s: float) -> None:
        """good_for_s: seconds before it is asked again, if nothing was wrong."""
        self._known_s = good_for_s
        self._unknown_s = waits.fields_unknown_s
        self._asked_at = -math.inf
        self._good_until = -math.inf
        self._refusal: RefusedError | None = None
        self._turn = asyncio.Lock()
        self._told: set[str] = set()
        self._log = structlog.get_logger().bind(crm=crm)

    async def prove(self) -> None:
        """Raises RefusedError if nothing must be sent, any error that says the CRM must not be called now, and as Database.fetch
        does.
        """
        began = time.monotonic()
        if began < self._good_until and self._is_current():
            return
        try:
            async with self._turn:
                if self._asked_at < began:  # otherwise another task has asked meanwhile
                    self._refusal = None
                    await self._ask()
        except BaseException:
            current().is_whole = True  # the client is asked for no delivery
            raise
        if self._refusal is not None:
            raise self._refusal

    def _is_current(self) -> bool:
        """Whether what was asked still counts."""
        return True

    @abstractmethod
    async def _ask(self) -> None:
        """Asks, and ends with one of the following. Raises errors that would apply to the next request, too."""

    def _good(self) -> None:
        self._asked(self._known_s)

    def _refuse(self, refusal: RefusedError) -> None:
        self._asked(0.0)
        self._refusal = refusal

    def _unknown(self, error: LaneError) -> None:
        """Reports each code only once."""
        self._asked(self._unknown_s)
        if error.code not in self._told:
            self._told.add(error.code)
            self._tell_unknown(clean(str(error)))

    @abstractmethod
    def _tell_unknown(self, reason: str) -> None:
        """Logs that it cannot be asked, and what that means."""

    def _asked(self, good_for_s: float) -> None:
        self._asked_at = time.monotonic()
        self._good_until = self._asked_at + good_for_s
