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

import asyncio
import math
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

import structlog

from crm_sync import events, spans
from crm_sync.core.breaker import FAILURES
from crm_sync.core.codes import Code
from crm_sync.core.operation import Operation
from crm_sync.core.outcome import Contact, Outcome, Receipt, Unsent, Verdict
from crm_sync.core.text import clean
from crm_sync.core.throughput import Throughput
from crm_sync.crm.client import Entry
from crm_sync.crm.trail import Trail, followed
from crm_sync.errors import (
    BatchRefusedError,
    CrmSyncError,
    HeldBackError,
    LaneError,
    OutageError,
    RefusedError,
    StatusRefusedError,
    ThrottledError,
)
from crm_sync.lane.channel import Channel
from crm_sync.lane.client_faults import ClientFaults, checked
from crm_sync.lane.doubt import may_be_stored, may_be_stored_in_spite_of
from crm_sync.lane.refusals import ROUNDS, Doubt, Refusals
from crm_sync.lane.search import Found, Search
from crm_sync.lane.side_by_side import side_by_side
from crm_sync.measurements import Delivery, measure

MOST_SUSPECTS = 10_000
MOST_ACCUSED = 500  # contacts for which the lane was held: a probe then uses another one

# What is finally known of a contact; None: it goes back untouched, because there was no verdict.
Settled = Outcome | Unsent | None
NOT_ASKED = Unsent(done=False)
_VERDICTS = frozenset({Outcome, Unsent})


class Said(NamedTuple):
    """The answer to a request that began at `began`."""

    began: float
    entries: Sequence[Entry]

    @property
    def is_answer(self) -> bool:
        """Whether the CRM gave a verdict on any of these contacts."""
        return any(isinstance(entry, Outcome | BatchRefusedError) for entry in self.entries)


class Judge:
    """may_send: whether the CRM may be called with these contacts. refused: as for `crm_sync.lane.delivery.Deliveries`."""

    def __init__(
        self,
        channel: Channel,
        *,
        may_send: Callable[[Sequence[Contact]], bool],
        refused: Callable[[RefusedError], Unsent] | None,
    ) -> None:
        self.throughput = Throughput()
        self._crm = channel.crm
        self._operation = channel.operation
        self._client = channel.client
        self._fields = channel.fields
        self._breaker = channel.breaker
        self._permits = channel.permits
        self._waits = channel.waits
        self._may_send = may_send
        self._refused = refused
        self._failures = 0  # in a row
        self._last_answer = -math.inf
        self._suspects: dict[object, float] = {}  # contacts by id: when a request with them first failed
        self._refusals = Refusals()
        self._delivery = Operation()  # any kind, for clients that do not say what a request was
        self._turn = asyncio.Lock()  # to send a request while there is doubt
        self._accused: dict[object, None] = {}
        self._faults = ClientFaults(channel.crm)
        self._tally = channel.tally
        self._receipts: dict[object, Receipt] = {}  # by id, for contacts that were in a request and are not settled yet
        self._stored: dict[object, bool] = {}  # by id, for those that were not delivered: whether the CRM may have the values
        self._log = structlog.get_logger().bind(crm=channel.crm)

    @property
    def accused(self) -> Collection[object]:
        """The contacts, by id, for which the lane was held recently."""
        return self._accused

    def receipts(self, contacts: Sequence[Contact], *, unsaid: bool = False) -> list[tuple[Receipt | None, bool]]:
        """The receipts of the requests that each contact was in, and whether a contact that was not delivered may be stored in
        the CRM. They are handed out once. unsaid: the outcomes are lost, so any contact that was in a request may be stored.
        """
        receipts = [self._receipts.pop(contact.id, None) for contact in contacts]
        if not self._stored and not unsaid:
            return [(receipt, False) for receipt in receipts]
        return [
            (receipt, self._stored.pop(contact.id, unsaid and receipt is not None))
            for contact, receipt in zip(contacts, receipts, strict=True)
        ]

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
        """Contacts that were refused alone are sent alone: they would get a batch with others refused and halved again."""
        if not self._refusals or len(contacts) == 1:
            return await self._first(contacts)
        alone = [place for place, contact in enumerate(contacts) if self._refusals.suspects(contact)]
        if not alone:
            return await self._first(contacts)
        settled: dict[int, Settled] = {}
        rest = [place for place in range(len(contacts)) if place not in alone]
        for places in (rest, *([place] for place in alone)):
            if places:
                settled.update(zip(places, await self._first([contacts[place] for place in places]), strict=True))
        return [settled[place] for place in range(len(contacts))]

    async def _first(self, contacts: Sequence[Contact]) -> list[Settled]:
        # A first failure is never blamed on a contact: a CRM that goes down has just answered others.
        return await self._settle(await self._ask(contacts), contacts, math.inf)

    # Asking the CRM.

    async def _ask(self, contacts: Sequence[Contact], *, in_doubt: bool = False) -> Said:
        """One delivery call of the client, which may take several requests. While there is doubt, one at a time, except for those
        that are meant to resolve it.

        Raises as Database.fetch does.
        """
        while not in_doubt and self._refusals.last > self._last_answer:
            async with self._turn:
                if self._refusals.last > self._last_answer:
                    return await self._request(contacts)
        return await self._request(contacts)

    async def _request(self, contacts: Sequence[Contact]) -> Said:
        began = time.monotonic()
        if not self._may_send(contacts):
            return Said(began, [HeldBackError("the lane was paused or stopped before this request started")] * len(contacts))
        measure(Delivery(self._crm, len(contacts)))
        with followed(self._crm, self._operation) as trail:
            try:
                said, is_fault = await self._asked(contacts, began)
            except BaseException as error:
                for contact in contacts:
                    self._doubt(contact, stored=may_be_stored_in_spite_of(error, contact, self._left(trail)))
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

    def _note(self, trail: Trail, said: Said, contacts: Sequence[Contact], now: float) -> None:
        self._tally.requested(trail.requests, trail.throttled)
        if not trail.requests and isinstance(said.entries[0], HeldBackError):
            return  # before any request
        receipt = Receipt(round((now - said.began) * 1000), trail.status, trail.request_id)
        for contact, entry in zip(contacts, said.entries, strict=True):
            if not isinstance(entry, Outcome) or entry.verdict is not Verdict.DELIVERED:
                self._doubt(contact, stored=may_be_stored(contact, entry, self._left(trail)))
            elif self._stored:
                self._stored.pop(contact.id, None)
            before = self._receipts.get(contact.id)
            self._receipts[contact.id] = receipt if before is None else receipt._replace(took_ms=receipt.took_ms + before.took_ms)

    def _left(self, trail: Trail) -> Trail | None:
        """The trail; None if the client may have made requests that leave none."""
        return trail if trail.requests or trail.is_whole or self._client.leaves_trail else None

    def _doubt(self, contact: Contact, *, stored: bool) -> None:
        self._stored[contact.id] = stored or self._stored.get(contact.id, False)

    async def _deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        """Raises whatever the client raises."""
        with spans.delivery(self._crm, self._operation, contacts) as span:
            try:
                if self._fields is not None:
                    await self._fields.prove()
                entries = checked(await self._client.deliver(contacts), len(contacts))
            except LaneError as error:
                span.failed(error)
                raise
            span.said(entries)
            return entries

    async def _learn(self, said: Said, contacts: Sequence[Contact], now: float) -> None:
        """What an answer says about the CRM, whichever contacts it is about."""
        verdicts = [entry.verdict for entry in said.entries if isinstance(entry, Outcome)]
        if verdicts or said.is_answer:
            self._last_answer = now
            self.throughput.add(len(contacts), now)
            self._failures = 0
            self._permits.answered(len(contacts), now - said.began, told=len(verdicts) == len(said.entries))
            if Verdict.DELIVERED in verdicts:
                self._delivery.served(said.began, now)
            if self._breaker.is_probe(contacts[0].token):
                await self._breaker.answered()
        elif any(isinstance(entry, OutageError) for entry in said.entries):
            self._permits.failed(now - said.began)

    # Judging the answers.

    async def _settle(self, said: Said, contacts: Sequence[Contact], since: float) -> list[Settled]:
        """since: an answer after this time shows that the CRM was working meanwhile."""
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
                if self._last_answer > min(self._suspects.get(contact.id, since) for contact in contacts):
                    return await self._isolate(error, contacts)
                self._suspect(contacts)
                await self._trip(error, contacts)
            case HeldBackError():
                said = NOT_ASKED
            case ThrottledError():
                await self._breaker.throttled(error.code, _reason(error, contacts), error.pause_s)
            case StatusRefusedError() if len(contacts) == 1:
                return [await self._refused_alone(error, contacts[0], began)]
            case StatusRefusedError():
                return await self._search(error, contacts)
            case RefusedError() if self._refused is not None:
                return [self._refused(error)] * len(contacts)
            case _:
                await self._trip(error, contacts)
        return [said] * len(contacts)

    async def _isolate(self, error: LaneError, contacts: Sequence[Contact]) -> Sequence[Settled]:
        """Finds the culprits: one among n costs at most 2 log2(n) + 1 further requests."""
        # A request that may still be running in the CRM is not repeated at once.
        if len(contacts) == 1 or (isinstance(error, OutageError) and error.code != Code.CRM_ERROR):
            rejected = isinstance(error, BatchRefusedError) and not error.retried
            outcome = Outcome.rejected if rejected else Outcome.failed
            return [outcome(error.code, error.reason)] * len(contacts)
        since = time.monotonic()
        halves = _halves(contacts)
        # Both halves are sent before either is judged: the success of one shows that the failure of the other is its own.
        said = [await self._ask(half) for half in halves]
        settled = [await self._settle(one, half, since) for one, half in zip(said, halves, strict=True)]
        return [outcome for half in settled for outcome in half]

    def _suspect(self, contacts: Sequence[Contact]) -> None:
        """Either the CRM is down, or a contact brings it down: the next failure with these contacts will tell."""
        if len(self._suspects) > MOST_SUSPECTS:
            self._suspects.clear()
        now = time.monotonic()
        for contact in contacts:
            self._suspects.setdefault(contact.id, now)

    # Refusals by status alone.

    async def _search(self, error: StatusRefusedError, contacts: Sequence[Contact]) -> list[Settled]:
        """For several contacts: gets the others served, and finds the culprits, each of which is later sent alone once more."""
        operation = error.operation or self._delivery
        settled: dict[object, Settled] = {}
        began = time.monotonic()
        search = Search(contacts, began)
        while asks := search.next(served=operation.began > began):
            began = time.monotonic()
            said = await side_by_side(self._permits, [partial(self._ask, asked, in_doubt=True) for asked in asks])
            ended = time.monotonic()
            for asked, one in zip(asks, said, strict=True):
                refused = [contact for contact, entry in zip(asked, one.entries, strict=True) if _is_refused(entry)]
                search.heard(refused, ended)
                if len(refused) < len(asked):
                    _put(settled, *await self._settle_others(one, asked))
                    if not one.is_answer:
                        search.stop()  # paused, stopped, down: nothing is known about the remaining contacts
        for found in search.found:
            settled[found.contact.id] = await self._found(error, found, began)
        if search.left and not search.stopped:
            _put(settled, search.left, await self._try_alone(operation, began, search.left))
        return [settled.get(contact.id) for contact in contacts]

    async def _settle_others(self, said: Said, contacts: Sequence[Contact]) -> tuple[Sequence[Contact], Sequence[Settled]]:
        """The contacts that were not refused by status, with their outcomes."""
        others = [(contact, entry) for contact, entry in zip(contacts, said.entries, strict=True) if not _is_refused(entry)]
        asked = [contact for contact, _ in others]
        return asked, await self._settle(Said(said.began, [entry for _, entry in others]), asked, math.inf)

    async def _found(self, error: StatusRefusedError, found: Found, began: float) -> Settled:
        """began: when the last requests of the search began."""
        operation = error.operation or self._delivery
        if found.alone and operation.began <= found.refused_at:
            return await self._refused_alone(error, found.contact, began)
        # The others were served without it. It comes back, and is sent alone.
        self._refusals.remember(found.contact, operation, found.refused_at)
        return Unsent(done=False)

    async def _try_alone(self, operation: Operation, refused_at: float, contacts: Sequence[Contact]) -> list[Settled]:
        """One after another was refused: either several are to blame, or every contact is refused.

        A sample spread over the batch is sent one by one until a contact is served. If none is, every contact is refused.
        """
        settled: dict[object, Settled] = {}
        last: Settled = None
        for contact in _spread(contacts, ROUNDS):
            if not self._may_send([contact]):
                last = None
                break
            last = settled[contact.id] = (await self._first([contact]))[0]
            if operation.began > refused_at or isinstance(last, Outcome):
                break
        rest = [contact for contact in contacts if contact.id not in settled]
        if rest and (operation.began > refused_at or isinstance(last, Outcome)):
            _put(settled, rest, await self._first(rest))
        else:
            # The verdict on the sampled contacts holds for the rest too.
            _put(settled, rest, [last] * len(rest))
        return [settled[contact.id] for contact in contacts]

    async def _refused_alone(self, error: StatusRefusedError, contact: Contact, began: float) -> Settled:
        """began: when its request began."""
        operation = error.operation or self._delivery
        if self._refusals.proven(contact, operation):
            return _to_blame(error)
        doubt = self._refusals.add(contact, operation, began, time.monotonic())
        if doubt.everybody or self._breaker.is_probe(contact.token):
            return await self._refuse_everybody(error, contact, doubt)
        return _not_yet(error, contact, self._waits.suspect_s)

    async def _refuse_everybody(self, error: StatusRefusedError, contact: Contact, doubt: Doubt) -> Settled:
        if self._refused is not None:
            return self._refused(error)
        if self._delivery.served_at > doubt.since:
            # Requests of other kinds are served, so the lane goes on; only contacts that need this kind wait.
            if not doubt.told:
                doubt.told = True
                self._log.warning(events.REQUESTS_REFUSED, code=error.code, reason=_reason(error, [contact]) + doubt.caution)
            return _not_yet(error, contact, self._waits.longest_refused_probe_s)
        self._refusals.close(doubt)
        self._accuse([contact])
        probe = self._breaker.is_probe(contact.token)
        reason = _reason(error, [contact]) + doubt.caution
        # While this is not certain, another contact is to be tried soon. A service that is starting up is ready soon.
        refused = doubt.is_certain and error.code != Code.NOT_READY
        await self._breaker.failed(error.code, reason, refused=refused, probe=probe)
        return None

    async def _trip(self, error: LaneError, contacts: Sequence[Contact]) -> None:
        """A transient failure must be seen several times in a row."""
        refused = isinstance(error, RefusedError)
        probe = self._breaker.is_probe(contacts[0].token)
        self._failures += 1
        self._accuse(contacts)
        if refused or probe or self._failures >= FAILURES:
            self._failures = 0
            await self._breaker.failed(error.code, _reason(error, contacts), refused=refused, probe=probe)

    def _accuse(self, contacts: Sequence[Contact]) -> None:
        for contact in contacts:
            self._accused.pop(contact.id, None)
            self._accused[contact.id] = None
        while len(self._accused) > MOST_ACCUSED:
            del self._accused[next(iter(self._accused))]


def _halves(contacts: Sequence[Contact]) -> tuple[Sequence[Contact], Sequence[Contact]]:
    middle = len(contacts) // 2
    return contacts[:middle], contacts[middle:]


def _put(settled: dict[object, Settled], contacts: Sequence[Contact], outcomes: Sequence[Settled]) -> None:
    settled.update(zip((contact.id for contact in contacts), outcomes, strict=True))


def _spread(contacts: Sequence[Contact], most: int) -> list[Contact]:
    """At most this many of them, spread over the batch."""
    count = min(most, len(contacts))
    return [contacts[(2 * number + 1) * len(contacts) // (2 * count)] for number in range(count)]


def _is_refused(entry: Entry) -> bool:
    """Refused by status alone."""
    return isinstance(entry, StatusRefusedError)


def _to_blame(error: StatusRefusedError) -> Outcome:
    """Only this contact is refused, while others are served."""
    return Outcome.rejected(
        Code.REJECTED,
        f"a firewall or something else in front of the CRM refuses this contact, while others are served ({error.said})",
    )


def _not_yet(error: StatusRefusedError, contact: Contact, delay_s: float) -> Unsent:
    """It is not known yet which contact is to blame."""
    return Unsent(done=False, delay_s=delay_s, reason=f"{error.code}: {_reason(error, [contact])}")


def _reason(error: LaneError, contacts: Sequence[Contact]) -> str:
    """For the log: without anything that a CRM quotes from these contacts, even from its own record."""
    return clean(error.reason, hide=[value for contact in contacts for value in (contact.email, *contact.fields.values())])
