"""What lanes ask for on a worker's session: locks that last as long as it does, and rows that count only while it lives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

import asyncpg

from crm_sync.errors import DatabaseTroubleError

PERMIT_TRIES = 3  # if another worker takes the same ones at that moment


class SessionStatements(ABC):
    """Each runs on the one connection of the session, after those that were asked for before it."""

    @property
    @abstractmethod
    def worker_id(self) -> int | None:
        """None before the session was first opened."""

    @abstractmethod
    async def _fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Raises DatabaseTroubleError when the session is lost."""

    async def try_lock(self, statement: str, lane_id: int) -> bool:
        """statement: arm_bell or disarm_bell. Raises DatabaseTroubleError when the session is lost."""
        granted = (await self._fetch(statement, lane_id))[0][0]
        return bool(granted)

    async def become_keeper(self, lane_id: int) -> bool:
        """Whether this worker is now the keeper of a lane. Raises as try_lock does."""
        return bool((await self._fetch("become_keeper", lane_id, self.worker_id))[0][0])

    async def leave_keeper(self, lane_id: int) -> None:
        """Raises as try_lock does."""
        await self._fetch("leave_keeper", lane_id, self.worker_id)

    async def lock_addresses(self, crm: str, addresses: Sequence[str]) -> tuple[set[str], datetime]:
        """Locks them for a request. Returns those that another worker holds, and the time by the database's clock.

        Raises DatabaseTroubleError.
        """
        row = (await self._fetch("lock_addresses", crm, addresses))[0]
        return {*row["busy"]}, row["locked_at"]

    async def unlock_addresses(self, crm: str, addresses: Sequence[str]) -> None:
        """Raises DatabaseTroubleError when the session, and every lock with it, is lost."""
        await self._fetch("unlock_addresses", crm, addresses)

    async def may_count(self, what: int) -> bool:
        """Whether this worker is the one that counts: `locks.CONTACTS` or `locks.METRICS`. Raises as try_lock does."""
        return bool((await self._fetch("take_count_turn", self.worker_id, what))[0][0])

    async def leave_count(self, what: int) -> None:
        """Releases the lock, so that another worker can take it."""
        with suppress(DatabaseTroubleError):
            await self._fetch("end_count_turn", what)

    async def count_alive(self) -> int:
        """The number of workers. Raises DatabaseTroubleError when the session is lost."""
        return int((await self._fetch("count_alive"))[0][0])

    async def take_permits(self, lane_id: int, most: int, held: Sequence[int], wanted: int) -> list[int]:
        """Returns the numbers of the permits taken. Raises as count_alive does."""
        taken: list[int] = []
        for _ in range(PERMIT_TRIES):
            rest = wanted - len(taken)
            taken += [row[0] for row in await self._fetch("take_permits", lane_id, most, [*held, *taken], rest, self.worker_id)]
            if len(taken) >= wanted:
                break
        return taken

    async def give_permits(self, lane_id: int, numbers: Sequence[int]) -> None:
        """Raises as count_alive does."""
        await self._fetch("give_permits", self.worker_id, lane_id, numbers)
