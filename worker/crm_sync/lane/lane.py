"""The lane of one CRM: wait, claim, deliver, finish."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from crm_sync.core.moves import Moves
from crm_sync.core.outcome import Finish
from crm_sync.core.retry import RetryPolicy
from crm_sync.core.tally import Tally
from crm_sync.core.waits import USUAL, Waits
from crm_sync.crm.client import Client
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.lane.address_locks import AddressLocks
from crm_sync.lane.channel import Channel
from crm_sync.lane.claims import Claims
from crm_sync.lane.delivery import Deliveries
from crm_sync.lane.dispatch import Dispatch
from crm_sync.lane.finisher import Finisher
from crm_sync.lane.in_hand import InHand
from crm_sync.lane.remote_fields import RemoteFields
from crm_sync.lane.room import Room
from crm_sync.lane.same_account import SameAccount
from crm_sync.lane.single_delivery import SingleDelivery
from crm_sync.lane.tombstones import Tombstones
from crm_sync.lane.wake import Wake
from crm_sync.lane.watchdog import Progress
from crm_sync.limits.breaker import LaneBreaker
from crm_sync.limits.concurrency_limit import ConcurrencyLimit
from crm_sync.limits.rate_limit import RateLimit
from crm_sync.measurements import Cause
from crm_sync.postgres.pool import Database
from crm_sync.postgres.session import Session
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.clearing import Clearing
from crm_sync.table.contacts import Contacts
from crm_sync.table.known_account import KnownAccount
from crm_sync.table.mapping import FieldMapping
from crm_sync.table.named_claim import NamedClaim
from crm_sync.table.newest_sent import NewestSent
from crm_sync.table.overwritten import Overwritten
from crm_sync.table.shared_records import SharedRecords


class Lane:
    """Four loops run side by side: `run` claims, `write` writes outcomes, `listen` handles news, `delete` sends deletions.

    Every contact in hand is waiting for its request, in a request, or being written.
    """

    def __init__(
        self,
        table: LaneTable,
        *,
        database: Database,
        contacts: Contacts,
        client: Client,
        session: Session,
        rate_limit: RateLimit,
        policy: RetryPolicy,
        batch_size: int,
        tally: Tally | None = None,
        mapping: FieldMapping | None = None,
        waits: Waits = USUAL,
    ) -> None:
        """batch_size: contacts in one claim at most. tally: counts what the lane does. mapping: compared with
        the CRM's fields.
        """
        tally = tally or Tally()
        self.crm = table.crm
        self._session = session
        self._rate_limit = rate_limit
        self._contacts = contacts
        self._news = asyncio.Event()  # about the breaker and the permits
        self._progress = Progress(waits)
        self.changed = asyncio.Event()  # there is something to report to people
        self.moves = Moves(self.changed.set)

        self._breaker = LaneBreaker(self.crm, database, on_open=self._when_open, on_shut=self._when_shut, waits=waits)
        self._permits = ConcurrencyLimit(
            self.crm,
            table.id,
            session,
            most=client.concurrency,
            adaptive=client.adaptive and not rate_limit.limited,
            on_more=self._when_more,
            on_surplus=self.hear,
            waits=waits,
        )
        newest_sent = NewestSent(database, self.crm, keeps_records=client.keeps_records)
        self._addresses = AddressLocks(self.crm, session, newest_sent.read)
        limits = self._breaker, rate_limit, self._permits
        channel = Channel(self.crm, client, session, *limits, self._addresses, policy, waits, tally)
        if mapping is not None:
            channel = replace(
                channel,
                account=SameAccount(
                    self.crm,
                    client,
                    KnownAccount(database, table),
                    waits,
                    worker=lambda: session.known_id,
                    news=lambda: self._breaker.account,
                ),
                fields=RemoteFields(self.crm, client, mapping, waits),
                together=mapping.together,
            )
        self._in_hand = InHand()
        self._wake = Wake(table.id, channel, contacts.line)
        self._finisher = Finisher(
            self.crm,
            contacts,
            Overwritten(database, table, keeps_records=client.keeps_records, clearing=contacts.clearing),
            newest_sent,
            in_hand=lambda: self._in_hand.count,
            on_written=self._when_written,
            on_lost=self.doubt,
            tally=tally,
            moves=self.moves,
            waits=waits,
        )
        self._deliveries = Deliveries(channel)
        shared = SharedRecords(database, table)
        self._dispatch = Dispatch(channel, self._deliveries, shared, put=self._finisher.put, on_refused=self._when_refused)
        self._room = Room(channel, self._in_hand, self._deliveries, self._dispatch, self._wake, batch_size=batch_size)
        self._claims = Claims(channel, contacts, self._in_hand, self._deliveries, self._dispatch, on_claimed=self.changed.set)
        self._single = SingleDelivery(
            channel, self._deliveries, shared, self._in_hand, self._finisher, permit_free=self._room.made
        )
        self._tombstones = Tombstones(table, database, channel, contacts.recording)

    # The loops.

    async def run(self) -> None:
        """Claims until stopped. Raises DatabaseTroubleError, and may be run again after that; and ConfigurationError."""
        rung = False
        try:
            while limit := await self._room.find():
                self._wake.asked.clear()
                self._progress.moved()
                probe = self._breaker.probing
                claimed = await self._claims.claim(limit, rung=rung)
                await self._dispatch.go_first()
                rung = not probe and await self._wake.rest(claimed, limit)
        except DatabaseTroubleError:
            self._progress.moved()
            raise

    async def write(self) -> None:
        """Writes outcomes back, forever."""
        await self._finisher.run()

    async def listen(self) -> None:
        """Checks the breaker and the permits whenever there is news of them, forever."""
        while True:
            await self._news.wait()
            await self._session.opened.wait()
            self._news.clear()
            await self._breaker.read()
            await self._permits.share(await self._session.count_alive())

    async def delete(self) -> None:
        """Deletes the records of deleted contacts, forever."""
        await self._tombstones.run()

    # What the lane is told.

    def ask(self, cause: Cause = Cause.RECOVERY) -> None:
        """Makes the lane look for contacts: the bell rang, or there may be some."""
        self._wake.ask(cause)

    def hear(self) -> None:
        """There is news of the breaker or the permits, or the session is new."""
        self._news.set()

    async def tick(self) -> None:
        """Called at each tick."""
        self._tombstones.tick()
        if self._contacts.refused(1):
            self.changed.set()
        await self._permits.share(self._session.alive)
        await self._wake.tick()

    async def make_company(self) -> None:
        """Another worker has joined: it must not send anything that this one has in a request."""
        await self._addresses.make_company()

    def doubt(self) -> None:
        """A contact may be claimed without being in hand: a claim whose answer was lost, or a contact whose key was changed."""
        self._claims.doubt()

    def release(self) -> None:
        """The session is lost: contacts waiting for their turn at the CRM go back in line."""
        self._breaker.lost()
        self._deliveries.release()

    async def stop(self, grace_s: float) -> None:
        """Stops claiming, gives back contacts without a started request, and lets requests run for up to this many seconds.

        A claim that the database does not answer gives requests no more time. The caller limits how long that claim, and the
        writing of outcomes, are waited for.
        """
        self._deliveries.stop()
        self.ask()
        self._room.made.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tombstones.stop(grace_s))
            group.create_task(self._dispatch.ended(grace_s))
            group.create_task(self._claims.settled())
        await self._dispatch.ended(grace_s)  # of what was just being claimed: no request is started for it
        await self._finisher.drained()

    async def leave(self) -> None:
        """After stop, if the worker goes on without this lane: releases what its session holds for other workers.

        This is final: a tick, or news of other workers asking for their share, may still arrive and is ignored.
        """
        with suppress(DatabaseTroubleError):  # if it fails, the session is lost, with everything it held
            await self._wake.leave(for_good=True)
            await self._permits.leave()

    def carry(self, finishes: Sequence[Finish]) -> None:
        """Takes over outcomes that a previous lane could not write."""
        self._in_hand.take(finishes)
        self._finisher.put(finishes)

    async def deliver_one(self, named: NamedClaim, meant: Any, twins: Sequence[Any], *, flip: bool) -> Finish | None:
        """Delivers a contact that a person named, out of turn, while `write` and `listen` run.

        Returns the finish of the contact; None if it was not available, or the CRM must not be called: then nothing was changed.
        twins: contacts in line with the same address. flip: see `crm_sync.table.named_claim`. Raises DeclinedError if it would
        have to wait too long, DatabaseTroubleError and ConfigurationError.
        """
        return await self._single.run(named, meant, twins, flip=flip)

    # What the lane reports.

    def knows(self, contact_id: object, token: int) -> bool:
        """Whether this contact, claimed with this token, is in hand, or may be soon."""
        return self._in_hand.knows(contact_id, token)

    def has(self, token: int) -> bool:
        """Whether any contact claimed with this token is in hand, or may be soon."""
        return self._in_hand.has(token)

    def in_hand_s(self, most: int) -> dict[int, float]:
        """The age in seconds of the oldest claims in hand, by token; at most this many claims."""
        return self._in_hand.ages(most)

    def refused(self, most: int) -> dict[str, str]:
        """See `Contacts.refused`."""
        return self._contacts.refused(most)

    @property
    def clearing(self) -> Clearing:
        """Which fields are emptied in its CRM."""
        return self._contacts.clearing

    @property
    def busy(self) -> bool:
        """Whether any contact is in hand."""
        return bool(self._in_hand)

    @property
    def rested(self) -> asyncio.Event:
        """Set once it has found nothing to claim: what was in line when it started is claimed."""
        return self._wake.rested

    @property
    def in_flight(self) -> int:
        """Contacts in hand."""
        return len(self._in_hand)

    @property
    def rate_limit(self) -> RateLimit:
        """Of its CRM account."""
        return self._rate_limit

    @property
    def unwritten(self) -> list[Finish]:
        """Outcomes that are not written yet."""
        return self._finisher.unwritten

    def take_unread(self) -> bool:
        """See `crm_sync.lane.claims`."""
        return self._claims.take_unread()

    @property
    def unsure(self) -> bool:
        """Whether we may have claimed contacts that are not in hand: see `doubt`; or a row cannot be finished."""
        return self._claims.unsure or self._single.unsure or self._contacts.avoiding

    @property
    def stuck(self) -> bool:
        """See `crm_sync.lane.watchdog`."""
        return self._progress.stuck(waiting=not self._wake.asked.is_set() or self._held_up)

    @property
    def _held_up(self) -> bool:
        """By Postgres or the CRM. Contacts in hand without a request, and with no outcome being written, are no excuse."""
        return (
            not self._session.opened.is_set()
            or self._deliveries.stopping
            or self._room.turned_away
            or bool(self._dispatch)
            or not self._finisher.idle
        )

    # Callbacks.

    def _when_refused(self, error: ConfigurationError) -> None:
        self._room.refuse(error)
        self.ask()

    def _when_more(self) -> None:
        self._room.made.set()

    def _when_open(self) -> None:
        self._permits.ramp.start()
        self._room.made.set()

    def _when_shut(self) -> None:
        self._deliveries.release()
        self._room.made.set()

    def _when_written(self, tried: int, done: Sequence[Finish], due_again: bool) -> None:
        self._in_hand.written(tried, done)
        self._room.made.set()
        if due_again:
            self.ask(Cause.AGAIN)
