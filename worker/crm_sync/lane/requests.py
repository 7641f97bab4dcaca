"""Sends contacts to the CRM, and learns from the answers how the CRM is doing.

What an answer means for the contacts is judged in `crm_sync.lane.judge`.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from crm_sync import spans
from crm_sync.core.operation import Operation
from crm_sync.core.outcome import Contact, Outcome, Verdict
from crm_sync.core.throughput import Throughput
from crm_sync.crm.client import Entry
from crm_sync.crm.trail import SESSION_LOST, Trail, current, followed
from crm_sync.errors import BatchRefusedError, CrmSyncError, HeldBackError, LaneError, OutageError
from crm_sync.lane.channel import Channel
from crm_sync.lane.client_faults import ClientFaults, checked
from crm_sync.lane.crm_failures import CrmFailures
from crm_sync.lane.receipts import Receipts
from crm_sync.lane.refusals import Refusals
from crm_sync.measurements import Delivery, measure
from crm_sync.postgres.session import Session


class Said(NamedTuple):
    """The answer to a request that began at `began`."""

    began: float
    entries: Sequence[Entry]

    @property
    def is_answer(self) -> bool:
        """Whether the CRM gave a verdict on any of these contacts."""
        return any(isinstance(entry, Outcome | BatchRefusedError) for entry in self.entries)


class Requests:
    """may_send: whether the CRM may be called with these contacts.

    last_answer: when the CRM last gave a verdict, by time.monotonic(). kind: of requests of any kind, for clients that do not say
    what a request was.
    """

    def __init__(
        self, channel: Channel, refusals: Refusals, failures: CrmFailures, may_send: Callable[[Sequence[Contact]], bool]
    ) -> None:
        self.throughput = Throughput()
        self.receipts = Receipts(leaves_trail=channel.client.leaves_trail)
        self.kind = Operation()
        self.last_answer = -math.inf
        self.may_send = may_send
        self._crm = channel.crm
        self._operation = channel.operation
        self._client = channel.client
        self._session = channel.session
        self._proofs = [proof for proof in (channel.account, channel.fields) if proof is not None]
        self._breaker = channel.breaker
        self._permits = channel.permits
        self._tally = channel.tally
        self._refusals = refusals
        self._failures = failures
        self._faults = ClientFaults(channel.crm)
        self._turn = asyncio.Lock()  # to send a request while there is doubt

    async def ask(self, contacts: Sequence[Contact], *, in_doubt: bool = False) -> Said:
        """One delivery call of the client, which may take several requests. While there is doubt, one at a time, except for those
        that are meant to resolve it.

        Raises as Database.fetch does.
        """
        while not in_doubt and self._refusals.last > self.last_answer:
            async with self._turn:
                if self._refusals.last > self.last_answer:
                    return await self._request(contacts)
        return await self._request(contacts)

    async def _request(self, contacts: Sequence[Contact]) -> Said:
        began = time.monotonic()
        if not self.may_send(contacts):
            return Said(began, [HeldBackError("the lane was paused or stopped before this request started")] * len(contacts))
        measure(Delivery(self._crm, len(contacts)))
        ours = partial(_are_ours, self._session, contacts)
        with followed(self._crm, self._operation, ours) as trail:
            try:
                said, is_fault = await self._asked(contacts, began)
            except BaseException as error:
                self.receipts.interrupted(contacts, error, trail)
                raise
        now = time.monotonic()
        self._note(trail, said, contacts, now)
        if not is_fault:
            await self._learn(said, contacts, now)
        return said

    async def _asked(self, contacts: Sequence[Contact], began: float) -> tuple[Said, bool]:
        """The answer, and whether a failure is the client's own fault."""
        try:
            return Said(began, await self._deliver(contacts)), False
        except LaneError as error:
            return Said(began, [error] * len(contacts)), False
        except CrmSyncError:
            raise
        except Exception as error:  # noqa: BLE001 (told with its traceback; it is some contact's)
            return Said(began, [self._faults.refusal(error)] * len(contacts)), True

    async def _deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        """Raises whatever the client raises."""
        with spans.delivery(self._crm, self._operation, contacts) as span:
            try:
                for proof in self._proofs:
                    await proof.prove()
                if self._proofs and not _are_ours(self._session, contacts):  # it may have taken a while
                    current().is_whole = True  # the client is asked for no delivery
                    raise HeldBackError(SESSION_LOST)
                entries = checked(await self._client.deliver(contacts), len(contacts))
            except LaneError as error:
                span.failed(error)
                raise
            span.said(entries)
            return entries

    def _note(self, trail: Trail, said: Said, contacts: Sequence[Contact], now: float) -> None:
        self._tally.requested(trail.requests, trail.throttled)
        if trail.requests or not isinstance(said.entries[0], HeldBackError):  # else it was held back before any request
            self.receipts.answered(contacts, said.entries, trail, now - said.began)

    async def _learn(self, said: Said, contacts: Sequence[Contact], now: float) -> None:
        """What an answer says about the CRM, whichever contacts it is about."""
        verdicts = [entry.verdict for entry in said.entries if isinstance(entry, Outcome)]
        if verdicts or said.is_answer:
            self.last_answer = now
            self.throughput.add(len(contacts), now)
            self._failures.end()
            self._permits.answered(len(contacts), now - said.began, told=len(verdicts) == len(said.entries))
            if Verdict.DELIVERED in verdicts:
                self.kind.served(said.began, now)
            if self._breaker.is_probe(contacts[0].token):
                await self._breaker.answered()
        elif any(isinstance(entry, OutageError) for entry in said.entries):
            self._permits.failed(now - said.began)


def _are_ours(session: Session, contacts: Sequence[Contact]) -> bool:
    """Whether no other worker can have taken any of them over. A delivery of several requests starts none of them after that."""
    return session.holds({contact.token for contact in contacts})
