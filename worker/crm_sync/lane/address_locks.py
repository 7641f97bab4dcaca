"""An address is in at most one request at a time, across all workers, and across upserts and deletions.

Two requests with the same address can arrive in either order, even if they are for different rows: then the older state may win,
or the CRM creates two records. So a request locks its addresses with session-level advisory locks, right after its claim: what
was claimed first is sent first. Several requests, such as those of one claim, share a statement.

A worker that is alone needs no locks, which would cost a statement or two per request. A worker that joins asks for company, and
claims nothing until the first one has locked the addresses of its requests: see `crm_sync.postgres.session`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from crm_sync.core.moments import BEGINNING
from crm_sync.core.overtaking import SHORTEST_REQUEST
from crm_sync.errors import DatabaseTroubleError
from crm_sync.postgres.session import Session


class Held(NamedTuple):
    """busy: the addresses that another request has. overtaken_before: a contact flipped earlier than this may follow a later flip
    that another worker sent.
    """

    busy: Set[str]
    overtaken_before: datetime


@dataclass(slots=True, eq=False)
class _Request:
    """locks: whether it takes locks at all. opening: number of the session opening that holds them; 0 while none does.

    busy and overtaken_before: see Held.
    """

    addresses: Sequence[str]
    locks: bool = False
    opening: int = 0
    busy: Collection[str] = field(default_factory=set)
    overtaken_before: datetime = BEGINNING
    ended: bool = False


class AddressLocks:
    """For one lane. newest_sent: reads what workers have noted that have ended."""

    def __init__(self, crm: str, session: Session, newest_sent: Callable[[], Awaitable[datetime]]) -> None:
        self._crm = crm
        self._session = session
        self._read_newest_sent = newest_sent
        self._newest_sent = BEGINNING  # when it was read; since then no other worker has sent anything
        self._read_at = 0  # by the times that this worker was alone
        self._reading = asyncio.Lock()
        self._under_way: dict[str, _Request] = {}
        self._wanted: list[_Request] = []
        self._taking = asyncio.Lock()
        self._over: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def held(self, addresses: Sequence[str]) -> "_Holding":
        """Locks the addresses for a request. Yields Held: of those that another request has, none is locked.

        Raises DatabaseTroubleError when the session is lost.
        """
        return _Holding(self, addresses)

    async def begin(self, addresses: Sequence[str]) -> tuple[_Request, Held]:
        """What `held` does first. Raises as it does."""
        ours = [address for address in addresses if address in self._under_way]
        request = _Request([address for address in addresses if address not in ours] if ours else addresses)
        self._under_way.update(dict.fromkeys(request.addresses, request))
        if self._session.alone and self._read_at == self._session.times_alone:
            return request, Held({*ours}, self._newest_sent)
        try:
            overtaken_before = await self._follow(request)
        except BaseException:
            self.end(request)
            raise
        return request, Held({*ours, *request.busy}, overtaken_before)

    def end(self, request: _Request) -> None:
        """What `held` does last."""
        request.ended = True
        for address in request.addresses:
            self._under_way.pop(address, None)  # twice in a request, of two deletions with one address
        self._release([request])

    async def _follow(self, request: _Request) -> datetime:
        """Locks its addresses, unless this worker is alone. Returns what Held calls overtaken_before."""
        if self._session.alone:
            return await self._sent_by_others()
        await self._lock([request])
        if not request.opening:
            raise DatabaseTroubleError("the session is lost")
        return request.overtaken_before

    async def _sent_by_others(self) -> datetime:
        """Before this worker was alone."""
        async with self._reading:
            times_alone = self._session.times_alone
            if self._read_at != times_alone:
                self._newest_sent = await self._read_newest_sent()
                self._read_at = times_alone
        return self._newest_sent

    async def catch_up(self) -> None:
        """Reads what requests would wait for otherwise. Raises as newest_sent does."""
        if self._session.alone and self._read_at != self._session.times_alone:
            await self._sent_by_others()

    async def make_company(self) -> None:
        """Another worker has appeared: from now on, everything in flight is locked."""
        await self._lock([request for request in {*self._under_way.values()} if not request.locks])

    async def _lock(self, requests: Iterable[_Request]) -> None:
        for request in requests:
            request.locks = True
            self._wanted.append(request)
        # A request cancelled meanwhile still gets its locks, and releases them.
        await asyncio.shield(self._begin(self._take()))

    async def _take(self) -> None:
        async with self._taking:
            wanted, self._wanted = self._wanted, []
            if not wanted:
                return
            opening = self._session.openings
            addresses = [address for request in wanted for address in request.addresses]
            try:
                busy, locked_at = await self._session.lock_addresses(self._crm, addresses)
            except DatabaseTroubleError:  # the session is lost, and reports that itself
                return
            for request in wanted:
                request.busy = busy.intersection(request.addresses)
                request.overtaken_before = locked_at - SHORTEST_REQUEST
                request.opening = opening
            self._release(request for request in wanted if request.ended)

    def _release(self, requests: Iterable[_Request]) -> None:
        """Releases the locks soon. If the session was lost, they are gone already."""
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


class _Holding:
    """No generator: that costs each request of a worker that is alone more than all the rest here."""

    __slots__ = ("_addresses", "_locks", "_request")

    def __init__(self, locks: AddressLocks, addresses: Sequence[str]) -> None:
        self._locks = locks
        self._addresses = addresses

    async def __aenter__(self) -> Held:
        self._request, held = await self._locks.begin(self._addresses)
        return held

    async def __aexit__(self, *_: object) -> None:
        self._locks.end(self._request)
