"""Whether a worker is alone: if so, it does not lock the addresses of its requests (`crm_sync.lane.address_locks`).

An advisory lock shows it: every worker holds it shared, and one without other workers can hold it exclusively. A worker that
joins asks the first one for company, and is open once that lock is released. By then the addresses in flight are locked.

Any role can take that lock. If a session that is not a worker holds it, no worker waits for it, and no worker is alone: one that
cannot get the shared lock is recorded in the registry as present. A worker that hears no notifications is not alone either,
because it could not be asked.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import DatabaseTroubleError


class Company:
    """fetch: runs a statement on the session. ask: makes all workers call `asked`. hears: whether that would be heard here.

    on_company is called when we are no longer alone. All async methods raise as fetch does.
    """

    def __init__(
        self,
        fetch: Callable[..., Awaitable[list[asyncpg.Record]]],
        *,
        ask: Callable[[], Awaitable[None]],
        hears: Callable[[], bool],
        on_company: Callable[[], Awaitable[None]],
        waits: Waits = USUAL,
    ) -> None:
        self.alone = False  # no other worker sends anything
        self.times_alone = 0  # how often that has begun
        self._fetch = fetch
        self._ask = ask
        self._hears = hears
        self._on_company = on_company
        self._patience_s = waits.company_patience_s
        self._joined = False  # workers that come later see that we are here
        self._letting_in: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Called with a new, registered session. If a worker that is alone does not answer, it is frozen; the next tick asks
        again.
        """
        deadline = asyncio.get_running_loop().time() + self._patience_s
        while await self._is_to_wait():
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.02)
        await self._see_whether_alone()

    async def tick(self, alive: int) -> None:
        """alive: number of workers, according to the registry."""
        await self._is_to_wait()
        if alive > 1 or not self._hears():
            self.asked()
        else:
            await self._see_whether_alone()

    def asked(self) -> None:
        """Another worker has joined, or could join without our hearing of it."""
        if self.alone:
            self.alone = False
            self._letting_in = asyncio.ensure_future(self._let_in())

    def lost(self) -> None:
        """The session is lost, and its locks with it."""
        self._joined = self.alone = False

    async def _is_to_wait(self) -> bool:
        """Whether another worker is alone. If so, it is asked for company."""
        if self._joined:
            return False
        row = (await self._fetch("join_company"))[0]
        self._joined = row["is_joined"]
        if row["is_to_wait"]:
            await self._ask()
        return bool(row["is_to_wait"])

    async def _see_whether_alone(self) -> None:
        busy = self._letting_in is not None and not self._letting_in.done()
        if self._joined and not self.alone and not busy and self._hears():
            self.alone = bool((await self._fetch("be_alone"))[0][0])
            self.times_alone += self.alone
            if not self._hears():  # since then
                self.asked()

    async def _let_in(self) -> None:
        with suppress(DatabaseTroubleError):  # the session is lost, and the lock with it
            await self._on_company()
            await self._fetch("end_alone")
