"""The lane of one CRM: wake, claim, deliver, finish."""

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress

import structlog

from crm_sync import events
from crm_sync.core.codes import Code
from crm_sync.core.identity import Addressee, addressees, check_email
from crm_sync.core.outcome import Contact, Finish, Outcome
from crm_sync.core.retry import RetryPolicy, deferred
from crm_sync.crm.client import Client
from crm_sync.errors import DatabaseTroubleError
from crm_sync.lane.delivery import Deliveries
from crm_sync.lane.finisher import Finisher
from crm_sync.lane.tombstones import Tombstones
from crm_sync.lane.watchdog import Progress
from crm_sync.limits.breaker import Gate
from crm_sync.limits.concurrency_limit import Permits
from crm_sync.limits.rate_limit import Pace
from crm_sync.log import Trouble
from crm_sync.postgres.bell import Bell
from crm_sync.postgres.pool import STATEMENT_TIMEOUT_S, Database
from crm_sync.postgres.session import Session
from crm_sync.table.contacts import Contacts, LaneTable

FIRST_NAP_S = 0.001
LONGEST_NAP_S = 0.1
FREQUENT_S = 0.05  # flips that come closer together than this are not worth a notification each
HELP_INTERVAL_S = 0.5  # the keeper calls for help at most so often
UNSURE_S = STATEMENT_TIMEOUT_S + 15.0  # a claim that timed out here may still be at work in the server
LATE_S = 0.002  # a timer that fires a moment early would find nothing

log = structlog.get_logger()


class Lane:
    """Four things run side by side: one claim at a time, deliveries up to the CRM's concurrency, one writer of outcomes,
    and the sleeping keeper of the bell. Every contact in hand is either waiting for its request, in one, or being written.
    """

    def __init__(
        self,
        table: LaneTable,
        *,
        database: Database,
        contacts: Contacts,
        client: Client,
        session: Session,
        pace: Pace,
        policy: RetryPolicy,
        batch_size: int,
    ) -> None:
        """batch_size: contacts in one claim at most."""
        self.crm = crm = table.crm
        self.wake = asyncio.Event()
        self._contacts = contacts
        self._client = client
        self._session = session
        self._bell = Bell(session, table.id)
        self._pace = pace
        self._policy = policy
        self._batch_size = batch_size
        self._log = log.bind(crm=crm)
        self._trouble = Trouble(crm=crm, loop="delivery")
        self._finisher = Finisher(crm, contacts, in_hand=lambda: self._in_hand, on_written=self._when_written)
        self._room_made = asyncio.Event()
        self._news = asyncio.Event()  # of the gate and the permits
        self._gate = Gate(crm, database, on_open=self._when_open, on_shut=self._when_shut)
        self._permits = Permits(
            crm,
            table.id,
            session,
            most=client.concurrency,
            adaptive=client.adaptive and not pace.limited,
            on_more=self._room_made.set,
            on_surplus=self.hear,
        )
        self._deliveries = Deliveries(
            crm, client=client, session=session, gate=self._gate, pace=pace, permits=self._permits, policy=policy
        )
        self._tombstones = Tombstones(
            table,
            database=database,
            client=client,
            session=session,
            gate=self._gate,
            pace=pace,
            permits=self._permits,
            policy=policy,
        )
        self._turned_away = False  # waits because the CRM may not be called
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: dict[str, asyncio.Task[None]] = {}  # by address: the last delivery that has it
        self._in_hand = 0  # claimed, and not written yet; less what waits for the application to release a row
        self._hands: set[tuple[object, int]] = set()  # all of it: (id, token), as a Contact and a Finish begin
        self._turn = asyncio.Lock()  # of the claim: what is claimed is in hand before anybody else looks
        self._claiming = 0
        self._unsure_until = 0.0
        self._nap_s = 0.0
        self._help_after = 0.0
        self._claimed_at = 0.0
        self._progress = Progress()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Claims until stopped. Raises DatabaseTroubleError, and may be run again after it."""
        try:
            while limit := await self._room():
                self.wake.clear()
                self._progress.moved()
                claimed = await self._claim(limit)
                if self._gate.probing:
                    if not claimed:
                        await self._gate.give_back()
                    continue
                more = claimed == limit and (not self._pace.limited or await self._anything_is_due())
                if more or (claimed and self._flips_are_frequent()):
                    await self._bell.disarm()
                if more:
                    await self._call_for_help()
                elif not claimed or self._bell.armed or self._pace.limited:
                    await self._sleep()
        except DatabaseTroubleError:
            self._progress.moved()
            raise

    async def write(self) -> None:
        """Writes outcomes back for as long as it runs."""
        await self._finisher.run()

    async def bury(self) -> None:
        """Has the records of deleted contacts deleted, for as long as it runs."""
        await self._tombstones.run()

    async def look(self) -> None:
        """The tick: finds what no bell has told of, and takes over from a keeper that died."""
        self._tombstones.look()
        await self._permits.share(self._session.alive)
        # A keeper without a permit would have nobody else look.
        if await self._anything_is_due() or (not self._bell.kept and self._permits.limit and await self._bell.keep()):
            self.wake.set()

    def hear(self) -> None:
        """There is news of the gate or the permits, or the session is new."""
        self._news.set()

    async def watch(self) -> None:
        """Looks at the gate and the permits whenever there is news of them, for as long as it runs."""
        while True:
            await self._news.wait()
            await self._session.opened.wait()
            self._news.clear()
            await self._gate.read()
            await self._permits.share(await self._session.count_alive())

    async def stop(self, grace_s: float) -> None:
        """Claims nothing more, gives back what no request was started for, and lets requests end for so many seconds."""
        self._stopping.set()
        self.wake.set()
        self._room_made.set()
        self._deliveries.stop()
        async with self._turn:
            pass  # what was just being claimed is in hand now
        buried = asyncio.create_task(self._tombstones.stop(grace_s))
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for delivery in late:
                delivery.cancel()
            if late:
                await asyncio.wait(late)
        await buried
        await self._finisher.drained()

    def release(self) -> None:
        """The session is lost: what waits for its turn at the CRM goes back."""
        self._gate.lost()
        self._deliveries.release()

    def knows(self, contact_id: object, token: int) -> bool:
        """Whether this contact, claimed with this token, is in hand, or may be in a moment."""
        return token == self._claiming or (contact_id, token) in self._hands

    @property
    def unsure(self) -> bool:
        """Whether we may have claimed what is not in hand: the answer to a claim was lost, or a row takes no outcome."""
        return time.monotonic() < self._unsure_until or self._contacts.avoiding

    @property
    def stuck(self) -> bool:
        """As `crm_sync.lane.watchdog` tells."""
        return self._progress.stuck(waiting=not self.wake.is_set() or self._held_up)

    @property
    def _held_up(self) -> bool:
        """By Postgres or the CRM. Contacts in hand that are in no request, and whose outcome nobody writes, are no reason."""
        return (
            not self._session.opened.is_set()
            or self._stopping.is_set()
            or self._turned_away
            or bool(self._tasks)
            or not self._finisher.idle
        )

    # Claim.

    async def _claim(self, limit: int) -> int:
        """Claims, and starts the deliveries. How many contacts."""
        async with self._turn:
            if self._stopping.is_set():
                return 0
            self._claiming = self._session.next_token()
            if self._gate.probing:
                self._gate.probe_with(self._claiming)
            try:
                claimed = await self._contacts.claim(limit, self._claiming, probe=self._gate.probing)
            except DatabaseTroubleError:
                self._unsure_until = time.monotonic() + UNSURE_S
                raise
            finally:
                self._claiming = 0
            self._start(*claimed)
        return len(claimed.contacts) + len(claimed.unreadable)

    async def _room(self) -> int:
        """How many contacts may be claimed, once any may: the session open, the CRM well, hands free. 0 when stopping.

        Who waits here is awake, and the bell disarmed: flips during an outage or a backlog cost no notification.
        """
        while not self._stopping.is_set():
            await self._session.opened.wait()
            self._room_made.clear()
            capacity = self._deliveries.capacity
            # Half at least, or else every contact that is finished would cost a claim of its own.
            if capacity - self._in_hand < max(1, min(capacity, self._batch_size) // 2):
                await self._bell.disarm()
                await self._room_made.wait()
                continue
            contacts, wait_s = await (self._deliveries.room(self._in_hand) if self._gate.open else self._probe())
            if contacts:
                return min(contacts, capacity - self._in_hand, self._batch_size)
            await self._bell.disarm()
            self._turned_away = True
            await _wait(self._room_made, wait_s)
            self._turned_away = False
        return 0

    async def _probe(self) -> tuple[int, float]:
        """The CRM is not to be called. 1 if this worker is to probe it, for there is something to probe with; else seconds."""
        if self._gate.wait_s > 0:
            return 0, self._gate.wait_s
        if not await self._anything_is_due():
            await self._sleep()
            return 0, 0.0
        return (1, 0.0) if await self._gate.start_probe() else (0, self._gate.wait_s)

    async def _anything_is_due(self) -> bool:
        due_in_s = await self._next_due_s()
        return due_in_s is not None and due_in_s <= 0

    async def _next_due_s(self) -> float | None:
        """Every look at the line shows whether news of the gate was missed, too."""
        due = await self._contacts.next_due()
        if due.revision > self._gate.revision:
            await self._gate.read()
        return due.in_s

    def _when_open(self) -> None:
        self._permits.ramp.start()
        self._room_made.set()

    def _when_shut(self) -> None:
        self._deliveries.release()
        self._room_made.set()

    def _flips_are_frequent(self) -> bool:
        """A flip now and then may ring, and be claimed without a word on the bell. The second within a moment is too many."""
        now = time.monotonic()
        before, self._claimed_at = self._claimed_at, now
        return now - before < FREQUENT_S

    async def _sleep(self) -> None:
        """After an empty claim: until the bell rings, a contact is due, or something holds one back and is worth a look."""
        keeper = await self._bell.keep()
        if keeper and not await self._bell.arm():
            await self._nap()  # a flip is uncommitted, and its application was told that somebody is awake
            return
        due_in_s = await self._next_due_s()
        if due_in_s is not None and due_in_s <= 0:
            await self._nap()  # it was committed before the bell was armed, or its row is locked by the application
            return
        self._nap_s = 0.0
        await _wait(self.wake, None if due_in_s is None else due_in_s + LATE_S)

    async def _nap(self) -> None:
        nap_s = self._nap_s
        self._nap_s = min(max(nap_s * 2, FIRST_NAP_S), LONGEST_NAP_S)
        await _wait(self.wake, nap_s)

    async def _call_for_help(self) -> None:
        """There is more than one claim holds: the other workers are asleep, and the bell tells only that somebody is awake."""
        now = time.monotonic()
        if self._bell.kept and now >= self._help_after:
            self._help_after = now + HELP_INTERVAL_S
            await self._session.notify(self.crm)

    # Deliver.

    def _start(self, contacts: Sequence[Contact], unreadable: Sequence[tuple[Contact, str]]) -> None:
        self._take(contacts)
        for contact, reason in unreadable:
            self._take([contact])
            self._reject(contact, Code.MAPPING_FAILED, reason)
        valid = []
        for contact in contacts:
            problem = check_email(contact.email)
            if problem is None:
                valid.append(contact)
            else:
                self._reject(contact, Code.INVALID_EMAIL, problem)
        free: list[Addressee] = []
        busy: list[Addressee] = []
        for addressee in addressees(valid):
            (busy if addressee.address in self._under_way else free).append(addressee)
        size = self._client.batch_limit
        for group in (free, busy):
            for first in range(0, len(group), size):
                self._start_delivery(group[first : first + size])

    def _take(self, contacts: Sequence[Contact]) -> None:
        if contacts:
            self._nap_s = 0.0
        self._in_hand += len(contacts)
        self._hands.update(contact[:2] for contact in contacts)

    def _reject(self, contact: Contact, code: Code, reason: str) -> None:
        """Without a request."""
        self._finisher.put([self._policy.finish(contact, Outcome.rejected(code, reason), 0.5)])

    def _start_delivery(self, batch: Sequence[Addressee]) -> None:
        """One address is never in two requests at once: who has one that is under way comes after it."""
        earlier = {self._under_way[one.address] for one in batch if one.address in self._under_way}
        delivery = asyncio.create_task(self._deliver(batch, earlier))
        self._under_way.update(dict.fromkeys((one.address for one in batch), delivery))
        self._tasks.add(delivery)

    async def _deliver(self, batch: Sequence[Addressee], earlier: Collection[asyncio.Task[None]]) -> None:
        """One delivery, and the finishes that come of it. Whatever happens, every contact gets one."""
        finishes = None
        try:
            if earlier:
                await asyncio.wait(earlier)
            finishes = await self._deliveries.deliver(batch)
            self._trouble.over()
        except DatabaseTroubleError as error:
            self._trouble.tell(error)
        except Exception:  # noqa: BLE001 (logged with its traceback; every contact goes back)
            # A fault of ours, not of a contact or the CRM. Loud, and the lane leaves the CRM alone before it tries again.
            self._log.exception(events.LOOP_FAILED)
            with suppress(DatabaseTroubleError):
                await self._deliveries.fail()
        finally:
            if finishes is None:
                finishes = [deferred(contact) for one in batch for contact in (one.contact, *one.twins)]
            self._finisher.put(finishes)
            self._end_delivery(batch)

    def _end_delivery(self, batch: Sequence[Addressee]) -> None:
        delivery = asyncio.current_task()
        for one in batch:
            if self._under_way.get(one.address) is delivery:
                del self._under_way[one.address]
        if delivery is not None:
            self._tasks.discard(delivery)

    # Finish.

    def _when_written(self, tried: int, done: Sequence[Finish], due_again: bool) -> None:
        self._in_hand -= tried
        self._hands.difference_update(finish[:2] for finish in done)
        self._room_made.set()
        if due_again:
            self.wake.set()


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    """Until the event is set, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
