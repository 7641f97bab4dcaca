"""One address is in one request at a time, over all workers and over all that a worker sends: upserts and deletions.

Two requests of one address can arrive in either order, whatever rows they are of: then the older state lies on top, or the CRM
makes two records. So a request holds its addresses by advisory locks of the session, from right after its claim: what was claimed
first is sent first. Several requests share a statement, as those of one claim do.

A worker that is alone needs no locks, and they would cost it a statement or two a request. Who comes asks for company, and claims
nothing until the one who was alone has locked the addresses of its requests: `crm_sync.postgres.session` says when.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from crm_sync.errors import DatabaseTroubleError
from crm_sync.postgres.session import Session


@dataclass(slots=True, eq=False)
class _Request:
    """locks: whether it takes locks at all. opening: of the session that has them; 0 while it has none."""

    addresses: Sequence[str]
    locks: bool = False
    opening: int = 0
    busy: Collection[str] = field(default_factory=set)
    ended: bool = False


class AddressLocks:
    """Of one lane."""

    def __init__(self, crm: str, session: Session) -> None:
        self._crm = crm
        self._session = session
        self._under_way: dict[str, _Request] = {}
        self._wanted: list[_Request] = []
        self._taking = asyncio.Lock()
        self._over: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def held(self, addresses: Sequence[str]) -> AsyncIterator[Collection[str]]:
        """For a request. Yields those of the addresses that another request has: they are not held.

        Raises DatabaseTroubleError when the session is lost.
        """
        ours = [address for address in addresses if address in self._under_way]
        request = _Request([address for address in addresses if address not in ours] if ours else addresses)
        self._under_way.update(dict.fromkeys(request.addresses, request))
        try:
            if not self._session.alone:
                await self._lock([request])
                if not request.opening:
                    raise DatabaseTroubleError("the session is lost")
            yield {*ours, *request.busy}
        finally:
            request.ended = True
            for address in request.addresses:
                del self._under_way[address]
            self._release([request])

    async def make_company(self) -> None:
        """Another worker has appeared: from here on, whatever is in flight is locked."""
        await self._lock([request for request in {*self._under_way.values()} if not request.locks])

    async def _lock(self, requests: Iterable[_Request]) -> None:
        for request in requests:
            request.locks = True
            self._wanted.append(request)
        # Anyone who is cancelled meanwhile has its locks anyway, and gives them back.
        await asyncio.shield(self._begin(self._take()))

    async def _take(self) -> None:
        async with self._taking:
            wanted, self._wanted = self._wanted, []
            if not wanted:
                return
            opening = self._session.openings
            addresses = [address for request in wanted for address in request.addresses]
            try:
                busy = await self._session.lock_addresses(self._crm, addresses)
            except DatabaseTroubleError:  # the session is lost, and says so
                return
            for request in wanted:
                request.busy = busy.intersection(request.addresses)
                request.opening = opening
            self._release(request for request in wanted if request.ended)

    def _release(self, requests: Iterable[_Request]) -> None:
        """Soon. Where the session was lost, its locks are gone."""
        current = self._session.openings
        over = [one for request in requests if request.opening == current for one in request.addresses if one not in request.busy]
        if over:
            if not self._over:
                self._begin(self._give())
            self._over += over

    async def _give(self) -> None:
        over, self._over = self._over, []
        with suppress(DatabaseTroubleError):
            await self._session.unlock_addresses(self._crm, over)

    def _begin(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
