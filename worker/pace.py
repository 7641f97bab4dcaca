"""The pace of one CRM account, shared by all workers through the database."""

import asyncio
from collections import deque

from worker.database import Database
from worker.errors import HeldBackError
from worker.sql import query

LONGEST_WAIT_S = 5.0  # a slot later than this means that the lane is paused: nobody waits for it with a contact in hand
CHUNK_S = 0.5  # slots are reserved so far ahead at most: one statement for half a second of requests


class Pace:
    """Hands out the times at which requests may start, evenly spaced over the account."""

    def __init__(self, database: Database, crm: str, requests_per_s: float | None) -> None:
        self._database = database
        self._crm = crm
        self._interval_s = None if requests_per_s is None else 1 / requests_per_s
        self._turn = asyncio.Lock()
        self._slots: deque[float] = deque()
        self._waiting = 0
        self._released = asyncio.Event()

    async def slot(self) -> None:
        """Waits until the next request may start.

        Raises HeldBackError if that is not soon or if released meanwhile, and as Database.fetch does.
        """
        if self._interval_s is None:
            return
        released = self._released
        self._waiting += 1
        try:
            async with self._turn:
                if not self._slots and not released.is_set():
                    await self._reserve(self._interval_s)
                start = self._slots.popleft() if self._slots else 0.0
        finally:
            self._waiting -= 1
        try:
            async with asyncio.timeout_at(start):
                await released.wait()
        except TimeoutError:
            return
        raise HeldBackError("the lane was paused or stopped before this request started")

    async def pause(self, pause_s: float) -> None:
        """Nobody calls this account for so many seconds, whichever worker. Whoever waits here is released."""
        self.release()
        await self._database.fetch(query("pause_lane"), self._crm, pause_s)

    def release(self) -> None:
        """Ends all waiting with HeldBackError."""
        self._slots.clear()
        self._released.set()
        self._released = asyncio.Event()

    async def _reserve(self, interval_s: float) -> None:
        count = max(1, min(self._waiting, int(CHUNK_S / interval_s)))
        arguments = (self._crm, count, interval_s, LONGEST_WAIT_S)
        first_in_s = float(await self._database.value(query("reserve_slots"), *arguments))
        if first_in_s > LONGEST_WAIT_S:
            raise HeldBackError("the account's limit is used up for now", first_in_s - LONGEST_WAIT_S / 2)
        first = asyncio.get_running_loop().time() + first_in_s
        self._slots.extend(first + number * interval_s for number in range(count))
