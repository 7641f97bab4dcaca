"""Judges the answers to deliveries: the CRM is asked again until it is known which contacts an answer is about.

Every answer is either about a contact, and ends its claim, or about the CRM, and then no contact is marked:

    an outcome            delivered, failed or rejected: the contact's
    BatchRefusedError     some of these contacts are the cause: the batch is halved until each culprit is isolated
    OutageError           if the CRM worked since these first failed, they are the cause: the same. Else the breaker
    StatusRefusedError    if others were served since, about the contact (`crm_sync.lane.refusals`). Else about all
    RefusedError          every contact is refused: the breaker, at once
    NotSentError          the breaker
    ThrottledError        a pause of the lane
    HeldBackError         our own pause or stop
    anything else         the client failed with some of these contacts: halved too, and the last one retried

All workers share the breaker and the pause: `crm_sync.limits.breaker`.
"""

import math
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Contact, Outcome, Receipt, Settled, Unsent
from crm_sync.errors import (
    BatchRefusedError,
    HeldBackError,
    LaneError,
    OutageError,
    RefusedError,
    StatusRefusedError,
    ThrottledError,
)
from crm_sync.lane.channel import Channel
from crm_sync.lane.crm_failures import CrmFailures, reason_of
from crm_sync.lane.refusals import Refusals
from crm_sync.lane.requests import Requests, Said
from crm_sync.lane.side_by_side import side_by_side
from crm_sync.lane.status_refusals import StatusRefusals

MOST_SUSPECTS = 10_000

NOT_ASKED = Unsent(done=False)
_VERDICTS = frozenset({Outcome, Unsent})


class Judge:
    """may_send: whether the CRM may be called with these contacts. refused: as for `crm_sync.lane.delivery.Deliveries`."""

    def __init__(
        self,
        channel: Channel,
        *,
        may_send: Callable[[Sequence[Contact]], bool],
        refused: Callable[[RefusedError], Unsent] | None,
    ) -> None:
        self._breaker = channel.breaker
        self._permits = channel.permits
        self._refused = refused
        self._suspects: dict[object, float] = {}  # contacts by id: when a request with them first failed
        self._refusals = Refusals()
        self._failures = CrmFailures(channel.breaker)
        self._requests = Requests(channel, self._refusals, self._failures, may_send)
        self._by_status = StatusRefusals(
            channel, self._requests, self._refusals, self._failures, settle=self._settle, refused=refused
        )
        self.throughput = self._requests.throughput

    @property
    def accused(self) -> Collection[object]:
        """The contacts, by id, for which the lane was held recently."""
        return self._failures.accused

    def receipts(self, contacts: Sequence[Contact], *, unsaid: bool = False) -> list[tuple[Receipt | None, bool]]:
        """As Receipts.hand_out."""
        return self._requests.receipts.hand_out(contacts, unsaid=unsaid)

    def settled(self, contact: Contact) -> None:
        """There is a verdict on the contact."""
        if self._suspects:
            self._suspects.pop(contact.id, None)
        if self._refusals:
            self._refusals.settled(contact)

    async def outcomes(self, contacts: Sequence[Contact]) -> list[Settled]:
        """The outcome of each contact, after as many requests as that takes. Raises as Database.fetch does."""
        if not contacts:
            return []
        settled = await self._outcomes(contacts)
        if self._breaker.is_probe(contacts[0].token):
            # Whatever the result, it says nothing about the CRM.
            await self._breaker.give_back()
        return settled

    async def _outcomes(self, contacts: Sequence[Contact]) -> list[Settled]:
        """Contacts that were refused alone are sent alone, after the others: they would get these refused and searched again."""
        if not self._refusals or len(contacts) == 1:
            return await self._send(contacts)
        alone = [place for place, contact in enumerate(contacts) if self._refusals.suspects(contact)]
        if not alone:
            return await self._send(contacts)
        rest = [place for place in range(len(contacts)) if place not in alone]
        settled = dict(zip(rest, await self._send([contacts[place] for place in rest]), strict=True)) if rest else {}
        said = await side_by_side(self._permits, [partial(self._send, [contacts[place]]) for place in alone])
        settled.update((place, one) for place, [one] in zip(alone, said, strict=True))
        return [settled[place] for place in range(len(contacts))]

    async def _send(self, contacts: Sequence[Contact]) -> list[Settled]:
        return await self._settle(await self._requests.ask(contacts), contacts)

    async def _settle(self, said: Said, contacts: Sequence[Contact], since: float = math.inf) -> list[Settled]:
        """since: an answer after this time shows that the CRM was working meanwhile. A first failure is never blamed on a
        contact: a CRM that goes down has just answered others.
        """
        if _VERDICTS.issuperset(map(type, said.entries)):  # as most are: no look at each of a hundred
            return list(said.entries)  # type: ignore[arg-type]
        settled: list[Settled] = [None] * len(contacts)
        concerned: dict[LaneError, list[int]] = {}
        for place, entry in enumerate(said.entries):
            if isinstance(entry, LaneError):
                concerned.setdefault(entry, []).append(place)
            else:
                settled[place] = entry
        for error, places in concerned.items():
            outcomes = await self._judge(error, [contacts[place] for place in places], since, said.began)
            for place, outcome in zip(places, outcomes, strict=True):
                settled[place] = outcome
        return settled

    async def _judge(self, error: LaneError, contacts: Sequence[Contact], since: float, began: float) -> Sequence[Settled]:
        said: Settled = None
        match error:
            case BatchRefusedError():
                return await self._isolate(error, contacts)
            case OutageError():
                if self._requests.last_answer > min(self._suspects.get(contact.id, since) for contact in contacts):
                    return await self._isolate(error, contacts)
                self._suspect(contacts)
                await self._failures.add(error, contacts)
            case HeldBackError():
                said = NOT_ASKED
            case ThrottledError():
                await self._breaker.throttled(error.code, reason_of(error, contacts), error.pause_s)
            case StatusRefusedError() if len(contacts) == 1:
                return [await self._by_status.alone(error, contacts[0], began)]
            case StatusRefusedError():
                return await self._by_status.search(error, contacts)
            case RefusedError() if self._refused is not None:
                return [self._refused(error)] * len(contacts)
            case _:
                await self._failures.add(error, contacts)
        return [said] * len(contacts)

    async def _isolate(self, error: LaneError, contacts: Sequence[Contact]) -> Sequence[Settled]:
        """Finds the culprits: one among n costs at most 2 log2(n) + 1 further requests."""
        # A request that may still be running in the CRM is not repeated at once.
        if len(contacts) == 1 or (isinstance(error, OutageError) and error.code != Code.CRM_ERROR):
            rejected = isinstance(error, BatchRefusedError) and not error.retried
            outcome = Outcome.rejected if rejected else Outcome.failed
            return [outcome(error.code, error.reason)] * len(contacts)
        since = time.monotonic()
        middle = len(contacts) // 2
        halves = (contacts[:middle], contacts[middle:])
        # Both halves are sent before either is judged: the success of one shows that the failure of the other is its own.
        said = [await self._requests.ask(half) for half in halves]
        settled = [await self._settle(one, half, since) for one, half in zip(said, halves, strict=True)]
        return [outcome for half in settled for outcome in half]

    def _suspect(self, contacts: Sequence[Contact]) -> None:
        """Either the CRM is down, or a contact brings it down: the next failure with these contacts will tell."""
        if len(self._suspects) > MOST_SUSPECTS:
            self._suspects.clear()
        now = time.monotonic()
        for contact in contacts:
            self._suspects.setdefault(contact.id, now)
