"""One query for all viewers: however many tabs are open, the database is queried once for all, and only while anyone is watching.

Viewers with the rights of a database role share only with viewers of the same role.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from crm_sync.postgres.visiting import role_in_force

Value = TypeVar("Value")

SHORTEST_S = 2.0
SHARE = 0.01  # of the time, at most, that the database is busy with it


@dataclass(slots=True)
class _Last(Generic[Value]):
    """next: the earliest time of the next query."""

    value: Value | None = None
    next: float = 0.0
    reading: asyncio.Task[Value] | None = None


class SharedReading(Generic[Value]):
    """The result of read, which runs at most every SHORTEST_S, and for at most SHARE of the time. Raises as read does."""

    def __init__(self, read: Callable[[], Awaitable[Value]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._of_roles: dict[str | None, _Last[Value]] = {}

    async def value(self) -> Value:
        """The last result, or a new one if that is too old. Requests that arrive during the query wait for the same result."""
        last = self._of_roles.setdefault(role_in_force(), _Last())
        if last.value is not None and self._clock() < last.next:
            return last.value
        if last.reading is None or last.reading.done():
            last.reading = asyncio.ensure_future(self._refresh(last))  # with the role in force
        # A viewer that disconnects meanwhile does not end it for the others.
        return await asyncio.shield(last.reading)

    def forget(self) -> None:
        """A person has just changed the data, and wants to see it. A query in progress may have missed that: only those who
        already wait for it get its result.
        """
        self._of_roles.clear()

    async def _refresh(self, last: _Last[Value]) -> Value:
        began = self._clock()
        try:
            last.value = await self._read()
            return last.value
        finally:
            took = self._clock() - began
            last.next = self._clock() + max(SHORTEST_S, took / SHARE)
