"""A worker for one contact: it registers, claims what a person has named, delivers, finishes and goes.

To all others it is a worker like them: alive by its lock, with its share of the permits, its requests counted in the limits, its
claims fenced. If it is killed, what it had in flight is an orphan that any other puts back in line.
"""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.identity import addressees, check_email
from crm_sync.core.outcome import Contact, Finish, Outcome
from crm_sync.core.retry import deferred
from crm_sync.core.words import span
from crm_sync.crm.account import Open
from crm_sync.crm.client import Client
from crm_sync.daemon.recovery import Charge, Recovery
from crm_sync.errors import CrmSyncError, DatabaseTroubleError, DeclinedError
from crm_sync.lane.delivery import Deliveries
from crm_sync.lane.finisher import Finisher
from crm_sync.limits.breaker import Gate
from crm_sync.limits.concurrency_limit import Permits
from crm_sync.limits.rate_limit import Pace
from crm_sync.postgres.pool import Database
from crm_sync.postgres.session import Session
from crm_sync.settings import Settings
from crm_sync.table.claim_by_key import Named
from crm_sync.table.contacts import LaneTable
from crm_sync.table.mapping import FieldMapping

OPEN_PATIENCE_S = 20.0
TURN_PATIENCE_S = 45.0  # for a permit, which others give back as their requests end, and for a place in the account's limits
FINISH_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be delivered to one CRM."""

    table: LaneTable
    mapping: FieldMapping
    charge: Charge
    open: Open

    @property
    def crm(self) -> str:
        return self.table.crm


class Courier:
    """A context. It raises DatabaseTroubleError and ConfigurationError."""

    def __init__(self, settings: Settings, database: Database, errands: Collection[Errand]) -> None:
        self._database = database
        self._news = {errand.crm: asyncio.Event() for errand in errands}
        # The contact that is named may be an orphan, and no other worker may be there to see to it.
        charges = {errand.crm: errand.charge for errand in errands}
        self._recovery = Recovery(database, charges, on_found=lambda _: None, knows=lambda *_: True)
        self._deliveries: Deliveries | None = None
        self._unsure = False  # whether something may be claimed whose outcome is not written
        self._session = Session(
            settings.session_url,
            database,
            on_bell=lambda _: None,
            on_gate=self._hear,
            on_open=self._recovery.recover,
            on_tick=self._tick,
            on_lost=self._release,
        )

    async def __aenter__(self) -> "Courier":
        self._running = asyncio.create_task(self._session.run())
        opened = asyncio.create_task(self._session.opened.wait())
        await asyncio.wait((self._running, opened), timeout=OPEN_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        if not self._session.opened.is_set():
            await _ended(self._running)
            raise DatabaseTroubleError(f"no session with the database within {OPEN_PATIENCE_S:.0f} s")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.end(unsure=self._unsure)
        with suppress(DatabaseTroubleError):
            await _ended(self._running)

    @property
    def worker_id(self) -> int:
        return self._session.known_id

    async def carry(self, errand: Errand, meant: Any, twins: Sequence[Any], *, flip: bool) -> Finish | None:
        """How the contact that is meant was finished; None where it was not to be had, or the CRM may not be called: then nothing
        was changed. twins: contacts in line with the same address. flip: as `crm_sync.table.claim_by_key` says. Raises
        DeclinedError too.
        """
        async with errand.open(self._database) as (client, pace):
            gate = Gate(errand.crm, self._database, on_open=lambda: None, on_shut=self._release)
            await gate.read()
            if not gate.open:
                return None
            free = asyncio.Event()
            permits = self._permits(errand, client, free)
            policy = errand.charge.policy
            self._deliveries = Deliveries(
                errand.crm, client=client, session=self._session, gate=gate, pace=pace, permits=permits, policy=policy
            )
            listening = asyncio.create_task(self._listen(errand.crm, gate, permits))
            try:
                await self._turn(permits, free, pace)
                finishes = await self._claim_and_deliver(errand, self._deliveries, [meant, *twins], flip=flip)
            finally:
                with suppress(DatabaseTroubleError):
                    await _ended(listening)
        return next((finish for finish in finishes if finish.id == meant), None)

    # A turn: before the claim, so that the contact is not held for longer than its requests take.

    def _permits(self, errand: Errand, client: Client, free: asyncio.Event) -> Permits:
        return Permits(
            errand.crm,
            errand.table.id,
            self._session,
            most=client.concurrency,
            adaptive=False,
            on_more=free.set,
            on_surplus=lambda: self._hear(errand.crm),
        )

    async def _turn(self, permits: Permits, free: asyncio.Event, pace: Pace) -> None:
        waits_for = "other workers have all the requests under way that may be at a time"
        with suppress(TimeoutError):
            async with asyncio.timeout(TURN_PATIENCE_S):
                await permits.share(await self._session.count_alive())
                while not permits.limit:
                    free.clear()
                    await free.wait()
                waits_for = "the account's limit is used up"
                while True:
                    requests, wait_s = await pace.ahead(1)
                    if requests:
                        return
                    waits_for = f"the account's limit is used up for {span(wait_s)}"
                    if wait_s > TURN_PATIENCE_S:
                        break
                    await asyncio.sleep(wait_s)
        raise DeclinedError(f"{waits_for}. Nothing was changed: try again later, or flip it, and a worker sends it in its turn")

    async def _listen(self, crm: str, gate: Gate, permits: Permits) -> None:
        """To the news that lanes listen to."""
        while True:
            await self._news[crm].wait()
            self._news[crm].clear()
            await gate.read()
            await permits.share(await self._session.count_alive())

    async def _tick(self, dead: Sequence[int]) -> None:
        await self._recovery.recover(dead)
        for crm in self._news:
            self._hear(crm)

    def _hear(self, crm: str) -> None:
        if crm in self._news:
            self._news[crm].set()

    def _release(self) -> None:
        """The session is lost, or the CRM is not to be called: what waits for its turn goes back."""
        if self._deliveries is not None:
            self._deliveries.release()

    # Claim, deliver, finish.

    async def _claim_and_deliver(
        self, errand: Errand, deliveries: Deliveries, contacts: Sequence[Any], *, flip: bool
    ) -> list[Finish]:
        named = Named(self._database, errand.table, errand.mapping)
        token = self._session.next_token()
        self._unsure = True
        claimed = await named.claim(contacts, token, flip=flip)
        finishes: list[Finish] = []
        try:
            finishes = await self._finishes(errand, named, deliveries, claimed, token)
        finally:
            # Also when it is interrupted: what nothing was said about goes back in line at once.
            settled = {finish.id for finish in finishes}
            finishes += [deferred(contact) for contact in claimed if contact.id not in settled]
            await self._write(errand, finishes)
            self._unsure = False
        return finishes

    async def _finishes(
        self, errand: Errand, named: Named, deliveries: Deliveries, claimed: Sequence[Contact], token: int
    ) -> list[Finish]:
        if not claimed:
            return []
        contacts, unreadable = await named.read(claimed, token)
        problems = {contact.id: check_email(contact.email) for contact in contacts}
        finishes = [_rejected(errand, contact, Code.MAPPING_FAILED, reason) for contact, reason in unreadable]
        finishes += [_rejected(errand, one, Code.INVALID_EMAIL, problem) for one in contacts if (problem := problems[one.id])]
        # They are one, unless the mapping makes other addresses of theirs.
        for person in addressees(contact for contact in contacts if problems[contact.id] is None):
            try:
                finishes += await deliveries.deliver([person])
            except CrmSyncError:
                raise
            except Exception as error:  # noqa: BLE001 (a fault of the client's, told by its kind: its words can quote the contact)
                failed = f"the client of this CRM failed ({type(error).__name__}). The contact is back in line"
                raise DeclinedError(failed) from None
        return finishes

    async def _write(self, errand: Errand, finishes: Sequence[Finish]) -> None:
        if not finishes:
            return
        finisher = Finisher(errand.crm, errand.charge.contacts, in_hand=lambda: len(finishes), on_written=lambda *_: None)
        finisher.put(finishes)
        writing = asyncio.create_task(finisher.run())
        drained = asyncio.create_task(finisher.drained())
        await asyncio.wait((writing, drained), timeout=FINISH_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        await _ended(writing)
        if not finisher.idle:
            raise DatabaseTroubleError(
                f"what came of it could not be written within {FINISH_PATIENCE_S:.0f} s: the database is away, or a transaction "
                "of the application has the row locked. A worker puts the contact back in line"
            )


def _rejected(errand: Errand, contact: Contact, code: Code, reason: str) -> Finish:
    """Without a request."""
    return errand.charge.policy.finish(contact, Outcome.rejected(code, reason), 0.5)


async def _ended(task: "asyncio.Task[None]") -> None:
    """Cancels it. Raises what it has failed with."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
