"""A worker for contacts that a person names: it registers, claims the named contacts, delivers, finishes and leaves.

To all other workers it is a normal worker: its lock shows that it is alive, it has its share of the permits, its requests count
towards the limits, and its claims are fenced. If it is killed, any other worker puts its contacts in flight back in line.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from crm_sync.core.history import History
from crm_sync.core.outcome import Finish
from crm_sync.core.waits import USUAL, Waits
from crm_sync.crm.account import Account
from crm_sync.daemon.installation import Installation, LanePlan
from crm_sync.daemon.supervision import supervise
from crm_sync.daemon.wiring import Wiring
from crm_sync.errors import DatabaseTroubleError
from crm_sync.lane.lane import Lane
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.postgres.translation import WRITABLE
from crm_sync.table.named_claim import NamedClaim


class ShortWorker:
    """A context manager. installation: for the CRMs that it may deliver to. Raises DatabaseTroubleError and
    ConfigurationError.
    """

    def __init__(
        self,
        installation: Installation,
        database: Database,
        session_url: str,
        waits: Waits = USUAL,
        *,
        history: History = History.ALL,
    ) -> None:
        self._installation = installation
        self._database = database
        self._waits = waits
        self._wiring = Wiring(database, session_url, waits, in_turn=False, history=history)
        self._wiring.learn(installation.schema)
        self._unsure = False  # whether something may be claimed whose outcome is not written

    async def __aenter__(self) -> "ShortWorker":
        session, patience_s = self._wiring.session, self._waits.open_patience_s
        if await self._database.value(query("detect_read_only")):  # the session would wait for that to end
            raise DatabaseTroubleError(f"the database is read-only: {WRITABLE}")
        self._running = asyncio.create_task(session.run())
        opened = asyncio.create_task(session.opened.wait())
        await asyncio.wait((self._running, opened), timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        if not session.opened.is_set():
            await _ended(self._running)
            why = f": {session.trouble}" if session.trouble else ""
            raise DatabaseTroubleError(f"no session with the database within {patience_s:.0f} s{why}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._wiring.session.end(unsure=self._unsure)
        with suppress(DatabaseTroubleError):
            await _ended(self._running)

    @property
    def worker_id(self) -> int:
        return self._wiring.session.known_id

    async def deliver_one(self, crm: str, account: Account, meant: Any, twins: Sequence[Any], *, flip: bool) -> Finish | None:
        """See `Lane.deliver_one`."""
        table, mapping = self._installation.schema.lanes[crm], self._installation.mappings[crm]
        plan = LanePlan(self._installation.schema, table, self._installation.lanes[crm], mapping, account)
        async with self._wiring.lane(plan) as lane, _served(lane, self._waits):
            named = NamedClaim(self._database, table, mapping, lane.clearing)
            try:
                return await lane.deliver_one(named, meant, twins, flip=flip)
            finally:
                self._unsure = self._unsure or lane.unsure or lane.busy


@asynccontextmanager
async def _served(lane: Lane, waits: Waits) -> AsyncIterator[None]:
    """Lets the lane handle news and write outcomes meanwhile."""
    loops = ((f"{lane.crm} writer", lane.write), (f"{lane.crm} breaker", lane.listen))
    tasks = [asyncio.create_task(supervise(name, loop, waits)) for name, loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            await _ended(task)


async def _ended(task: "asyncio.Task[None]") -> None:
    """Cancels it. Raises the error that it failed with."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
