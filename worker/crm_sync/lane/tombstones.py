"""The tombstones of one CRM: deletions that are still to be sent.

They are looked for at the tick, so there is no notification, and a deletion costs the application only one inserted row. From
there they are handled like contacts: claimed with a fencing token, sent through the lane's breaker within its limits, and
retried. There is one claim at a time, so a tombstone that this worker has claimed but not in hand is from a claim whose answer
was lost.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import asyncpg
import structlog

from crm_sync import events
from crm_sync.core.identity import Addressee, fold
from crm_sync.core.outcome import Contact, Deletion, Finish, Kind, columns
from crm_sync.core.text import name_of
from crm_sync.crm.client import Client
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.lane.channel import Channel
from crm_sync.lane.deletions import WANTED_S, Deleter, put_off
from crm_sync.lane.delivery import Deliveries
from crm_sync.lane.survivors import Survivors
from crm_sync.log import Trouble
from crm_sync.measurements import Operation
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.recording import Recording

MOST = 500  # in one claim
# Before one is looked at again that may have reached the CRM: an unanswered request may take effect after we gave it up, and what
# it took is sent again only after that.
LATE_S = 60.0

log = structlog.get_logger()


class Tombstones:
    """Runs next to the lane, through whose channel it sends."""

    def __init__(self, table: LaneTable, database: Database, channel: Channel, recording: Recording) -> None:
        self._crm = table.crm
        self._recording = recording
        self._tally = channel.tally
        self._database = database
        self._session = channel.session
        self._breaker = channel.breaker
        self._permits = channel.permits
        self._survivors = Survivors(table, database, keeps_records=channel.client.keeps_records)
        self._deleter = Deleter(table.crm, channel.client, database, self._survivors, table.variables)
        self._deliveries = Deliveries(
            replace(channel, client=self._deleter, fields=None, operation=Operation.DELETE), refused=put_off
        )
        self._claim = render("claim_tombstones", table.variables)
        self._finish = recording.render("finish_tombstones", table.variables)
        self._due = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._log = log.bind(crm=table.crm)
        self._trouble = Trouble(crm=table.crm, loop="tombstones")

    def tick(self) -> None:
        """The tick has reported whether any is due."""
        if self._crm in self._session.with_deletions:
            self._due.set()

    async def run(self) -> None:
        """Delivers due tombstones, forever. Raises DatabaseTroubleError, and may be run again after that."""
        while True:
            await self._due.wait()
            self._due.clear()
            self._idle.clear()
            try:
                while await self._deliver_some():
                    pass
            finally:
                self._idle.set()

    async def stop(self, grace_s: float) -> None:
        """Starts no further request, and lets those in flight run for up to this many seconds. The rest is released with our
        session.
        """
        self._stopping = True
        self._deliveries.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()

    async def _deliver_some(self) -> bool:
        """Whether to go on at once: not if none was left, and not if all were put off."""
        if self._stopping or not self._session.opened.is_set():
            return False
        probe = not self._breaker.open
        if probe and (self._breaker.wait_s > 0 or not await self._breaker.start_probe()):
            return False
        token = self._session.next_token()
        if probe:
            self._breaker.probe_with(token)
        rows = await self._database.fetch(self._claim, 1 if probe else MOST, token, probe)
        if not rows:
            if probe:
                await self._breaker.give_back()
            return False
        finishes = await self._deliver(rows, token)
        await self._write(finishes)
        if self._breaker.is_probe(token):
            await self._breaker.give_back()  # nothing was sent, so the CRM was not probed
        return any(finish.kind is not Kind.DEFERRED for finish in finishes)

    async def _deliver(self, rows: Sequence[asyncpg.Record], token: int) -> list[Finish]:
        tried = {row["id"] for row in rows if row["attempts"] > 1}
        await self._deleter.begin({row["id"]: _deletion(row) for row in rows}, tried, rows[0]["claimed_at"])
        addressees = [_addressee(row, token, self._deleter) for row in rows]
        size = self._deleter.batch_limit
        # Never more at a time than there are permits: contacts that wait for one queue up with them.
        turns = asyncio.Semaphore(max(1, self._permits.limit))
        try:
            async with asyncio.TaskGroup() as group:
                batches = [
                    group.create_task(self._deliver_batch(addressees[first : first + size], turns))
                    for first in range(0, len(addressees), size)
                ]
        except* ConfigurationError as errors:
            raise errors.exceptions[0] from None
        finishes = [_not_before_it_is_over(finish) for batch in batches for finish in batch.result()]
        done = {finish.id for finish in finishes if finish.kind is Kind.DELIVERED}
        unfinished = await self._survivors.send_again(
            {tombstone: one for tombstone, one in self._deleter.gone.items() if tombstone in done}
        )
        return [_put_back(finish) if finish.id in unfinished else finish for finish in finishes]

    async def _deliver_batch(self, batch: Sequence[Addressee], turns: asyncio.Semaphore) -> list[Finish]:
        try:
            async with turns:
                finishes = await self._deliveries.deliver(batch)
        except DatabaseTroubleError as error:
            self._trouble.tell(error)
            return self._deliveries.unsaid(batch)
        self._trouble.over()
        return finishes

    async def _write(self, finishes: Sequence[Finish]) -> None:
        ids, tokens, kinds, errors, _, *rest, _ = columns(finishes)
        arguments = (ids, tokens, kinds, errors, *rest, [finish.sent for finish in finishes])
        fetched = await self._recording.fetch(self._database, self._finish, *arguments, forgets=True)
        written = {row["id"] for row in fetched.rows}
        done = [finish for finish in finishes if finish.id in written]
        self._tally.deleted(done, unrecorded=self._recording.lacks(done, fetched))
        if done:
            self._log.info(events.TOMBSTONES_FINISHED, **Counter(finish.kind.value for finish in done))
        for finish in done:
            if finish.error is not None:
                contact = self._deleter.deletions[finish.id].contact_id
                retry_in_s = None if finish.kind is Kind.REJECTED else round(finish.delay_s)
                self._log.warning(
                    events.TOMBSTONE_FAILED,
                    contact=name_of(contact),
                    outcome=finish.kind.value,
                    error=finish.error,
                    retry_in_s=retry_in_s,
                )


def _deletion(row: asyncpg.Record) -> Deletion:
    return Deletion(row["contact_id"], row["remote_id"] or None, row["email"], row["policy"] == "erase", row["deleted_at"])


def _not_before_it_is_over(finish: Finish) -> Finish:
    again = finish.kind in (Kind.RETRY, Kind.DEFERRED)
    return finish._replace(delay_s=max(finish.delay_s, LATE_S)) if again and finish.sent else finish


def _put_back(finish: Finish) -> Finish:
    """Delivered, but a contact may have been given its record before."""
    return finish._replace(kind=Kind.DEFERRED, delay_s=WANTED_S, sent=True)


def _addressee(row: asyncpg.Record, token: int, client: Client) -> Addressee:
    """By its address, or what stands for it, so that it is never in a request at the same time as an upsert of the same person;
    each is sent on its own.
    """
    contact = Contact(row["id"], token, row["attempts"], row["remote_id"], row["email"], row["deleted_at"], {})
    address: str | None = fold(row["email"] or "")
    if not address:
        # It may need fields, which a deleted row no longer has.
        with suppress(Exception):
            address = client.key(contact._replace(id=row["contact_id"]))
    return Addressee(address or f"tombstone {row['id']}", contact)
