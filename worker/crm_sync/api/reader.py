"""One reading for all who look: however many tabs are open, the database is asked by one, and only while somebody looks."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")

SHORTEST_S = 2.0
SHARE = 0.01  # of the time, at most, that the database is busy with it


class SharedReading(Generic[Value]):
    """What read returns, at most every SHORTEST_S and every hundred times of what it took. Raises as read does."""

    def __init__(self, read: Callable[[], Awaitable[Value]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._value: Value | None = None
        self._next = 0.0
        self._reading: asyncio.Task[Value] | None = None

    async def value(self) -> Value:
        """The last one, or a new one where that is too old. Those who come while it is being read wait for the same."""
        if self._value is not None and self._clock() < self._next:
            return self._value
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(self._refresh())
        # Whoever goes away meanwhile does not end it for the others.
        return await asyncio.shield(self._reading)

    def forget(self) -> None:
        """Somebody has changed what is read, and wants to see it."""
        self._next = 0.0

    async def _refresh(self) -> Value:
        began = self._clock()
        try:
            self._value = await self._read()
            return self._value
        finally:
            took = self._clock() - began
            self._next = self._clock() + max(SHORTEST_S, took / SHARE)
