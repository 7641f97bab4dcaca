"""Whether a worker is alone: then it locks no addresses for its requests (`crm_sync.lane.address_locks`).

An advisory lock says so, which every worker has shared, and one next to which there is no other worker can have exclusively. Who
comes asks the one who is alone for company, and is open once that lock is given up. By then the addresses in flight are locked.

Anyone can take that lock. Of a session that is not a worker nobody is waited for, and nobody is alone next to it: who is kept
from the shared lock by it has the registry say that it is here. A worker that hears nothing is not alone either, because it could
not be asked.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import DatabaseTroubleError


class Company:
    """fetch: runs a statement on the session; ask: has all workers call `asked`. hears: whether that would be heard here.

    on_company is called when we are alone no more. Whatever is awaited raises as fetch does.
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
        self._fetch = fetch
        self._ask = ask
        self._hears = hears
        self._on_company = on_company
        self._patience_s = waits.company_patience_s
        self._joined = False  # anyone who comes later sees that we are here
        self._letting_in: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """With a new session, which is registered. Who is alone and does not answer is frozen, and the next tick asks again."""
        deadline = asyncio.get_running_loop().time() + self._patience_s
        while await self._is_to_wait():
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.02)
        await self._see_whether_alone()

    async def tick(self, alive: int) -> None:
        """alive: workers, by the registry."""
        await self._is_to_wait()
        if alive > 1 or not self._hears():
            self.asked()
        else:
            await self._see_whether_alone()

    def asked(self) -> None:
        """Another worker has come, or could come without our hearing of it."""
        if self.alone:
            self.alone = False
            self._letting_in = asyncio.ensure_future(self._let_in())

    def lost(self) -> None:
        """The session, and its locks with it."""
        self._joined = self.alone = False

    async def _is_to_wait(self) -> bool:
        """Whether another worker is alone. It is asked."""
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
            if not self._hears():  # since
                self.asked()

    async def _let_in(self) -> None:
        with suppress(DatabaseTroubleError):  # the session is lost, and with it the lock
            await self._on_company()
            await self._fetch("end_alone")
