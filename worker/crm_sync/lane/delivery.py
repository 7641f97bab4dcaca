"""Deliveries of one lane: contacts in, finishes out.

Whatever comes back is either about a contact, and ends its claim, or about the CRM, and then no contact is marked:

    an outcome            delivered, failed or rejected: the contact's
    BatchRefusedError     some of these contacts are why: halved, until each that is to blame stands alone
    OutageError           where the CRM was well since these first failed: they are why, so the same. Else the breaker
    RefusedError          everybody is refused: the breaker, at once
    NotSentError          the breaker
    ThrottledError        a pause of the lane
    HeldBackError         our own pause or stop

The breaker and the pause are of all workers: `crm_sync.limits.breaker`.
"""

import math
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from crm_sync.core.breaker import FAILURES
from crm_sync.core.codes import Code
from crm_sync.core.identity import Addressee
from crm_sync.core.outcome import Contact, Finish, Outcome, Unsent, Verdict
from crm_sync.core.retry import deferred, set_aside
from crm_sync.core.text import clean
from crm_sync.core.throughput import Throughput
from crm_sync.crm.client import Entry
from crm_sync.errors import (
    BatchRefusedError,
    DatabaseTroubleError,
    HeldBackError,
    LaneError,
    OutageError,
    RefusedError,
    ThrottledError,
)
from crm_sync.lane.channel import Channel

AHEAD_S = 0.02  # so much work is claimed ahead: quick CRMs get some dozens at once, slow ones no more than they take
MOST_SUSPECTS = 10_000

# What is known of a contact in the end; None: it goes back untouched, because nothing was said about it.
Settled = Outcome | Unsent | None


class Deliveries:
    """Knows when the CRM may be called, calls it, and judges what it says."""

    def __init__(self, channel: Channel) -> None:
        self._crm = channel.crm
        self._client = channel.client
        self._session = channel.session
        self._breaker = channel.breaker
        self._rate_limit = channel.rate_limit
        self._permits = channel.permits
        self._policy = channel.policy
        self._address_busy_s = channel.waits.address_busy_s
        self._failures = 0  # in a row
        self._throughput = Throughput()
        self._last_answer = 0.0
        self._suspects: dict[object, float] = {}  # contacts by id: when the CRM first failed with them
        self._stopping = False

    @property
    def capacity(self) -> int:
        """How many contacts are worth having in hand."""
        if self._breaker.probing:
            return 1  # not many at once, or the one that makes the CRM fail would spoil every probe
        contacts = self._permits.limit * self._client.batch_limit
        if self._permits.ramp.allowed is not None or self._rate_limit.limited or not contacts:
            return contacts
        # The next ones are at hand when a request ends.
        return contacts * 2 + int(self._throughput.per_s(time.monotonic()) * AHEAD_S)

    async def room(self, in_hand: int) -> tuple[int, float]:
        """How many contacts may be claimed for requests that may start now, beside those in hand; else seconds until one may.

        Raises as Database.fetch does.
        """
        size = self._client.batch_limit
        requests, wait_s = await self._rate_limit.ahead(max(1, (self.capacity - in_hand) // size))
        return requests * size, wait_s

    def stop(self) -> None:
        """Starts no further request. Those that wait for their turn at the pace give up."""
        self._stopping = True
        self._rate_limit.release()

    def release(self) -> None:
        """The session is lost. Another worker may send what waits here for its turn, so it goes back."""
        self._rate_limit.release()

    async def fail(self) -> None:
        """An error of our own: the CRM is left alone for a while. Raises as Database.fetch does."""
        await self._breaker.failed(Code.INTERNAL, "an unexpected error, see the log", refused=False, probe=self._breaker.probing)

    async def deliver(self, batch: Sequence[Addressee]) -> list[Finish]:
        """One request, and more where some of the contacts are why it was refused. A finish for each contact and each twin."""
        async with self._permits:
            if not self._client.exclusive_addresses or not self._may_send([one.contact for one in batch]):
                return await self._send(batch)
            async with self._exclusively(batch) as ours:
                finishes = await self._send(ours)
        kept = {addressee.address for addressee in ours}
        busy = [addressee for addressee in batch if addressee.address not in kept]
        return finishes + [deferred(one, self._address_busy_s) for person in busy for one in (person.contact, *person.twins)]

    async def _send(self, batch: Sequence[Addressee]) -> list[Finish]:
        outcomes = await self._outcomes([addressee.contact for addressee in batch])
        finishes = []
        for addressee, outcome in zip(batch, outcomes, strict=True):
            finishes.append(self._finish(addressee.contact, outcome))
            if addressee.twins:
                # They share a delivery. What is said against the one that was sent is not said of them: they come again.
                delivered = isinstance(outcome, Outcome) and outcome.verdict is Verdict.DELIVERED
                finishes += [self._finish(twin, outcome if delivered else None) for twin in addressee.twins]
        return finishes

    def _finish(self, contact: Contact, outcome: Settled) -> Finish:
        if outcome is None:
            return deferred(contact)
        if isinstance(outcome, Unsent):
            return set_aside(contact, outcome)
        if self._suspects:
            self._suspects.pop(contact.id, None)
        return self._policy.finish(contact, outcome, random.random())  # noqa: S311 (jitter is no secret)

    @asynccontextmanager
    async def _exclusively(self, batch: Sequence[Addressee]) -> AsyncIterator[Sequence[Addressee]]:
        """Those of the batch whose addresses no other worker has in a request."""
        addresses = [addressee.address for addressee in batch]
        busy = await self._session.lock_addresses(self._crm, addresses)
        ours = [addressee for addressee in batch if addressee.address not in busy]
        try:
            yield ours
        finally:
            with suppress(DatabaseTroubleError):  # the session is gone, and its locks with it
                await self._session.unlock_addresses(self._crm, [addressee.address for addressee in ours])

    def _may_send(self, contacts: Sequence[Contact]) -> bool:
        return (
            not self._stopping
            and self._session.intact
            and all(self._session.holds(contact.token) and self._breaker.admits(contact.token) for contact in contacts)
        )

    # What was said.

    async def _outcomes(self, contacts: Sequence[Contact]) -> list[Settled]:
        """What becomes of each, after as many requests as that takes."""
        if not contacts:
            return []
        # A failure is no contact's the first time: when a CRM goes down, it has just answered others.
        return await self._settle(await self._ask(contacts), contacts, math.inf)

    async def _ask(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        if not self._may_send(contacts):
            return [HeldBackError("the lane was paused or stopped before this request started")] * len(contacts)
        started = time.monotonic()
        try:
            answers = await self._client.deliver(contacts)
        except LaneError as error:
            answers = [error] * len(contacts)
        now = time.monotonic()
        if any(isinstance(answer, Outcome | BatchRefusedError) for answer in answers):
            self._last_answer = now
            self._throughput.add(len(contacts), now)
            self._failures = 0
            self._permits.answered(len(contacts), now - started, told=all(isinstance(answer, Outcome) for answer in answers))
            if self._breaker.is_probe(contacts[0].token):
                await self._breaker.answered()
        elif any(isinstance(answer, OutageError) for answer in answers):
            self._permits.failed(now - started)
        return answers

    async def _settle(self, answers: Sequence[Entry], contacts: Sequence[Contact], since: float) -> list[Settled]:
        """since: an answer after that shows that the CRM was well meanwhile."""
        if not any(isinstance(answer, LaneError) for answer in answers):
            return list(answers)  # type: ignore[arg-type]
        settled: list[Settled] = [None] * len(contacts)
        concerned: dict[LaneError, list[int]] = {}
        for place, (answer, _) in enumerate(zip(answers, contacts, strict=True)):
            if isinstance(answer, LaneError):
                concerned.setdefault(answer, []).append(place)
            else:
                settled[place] = answer
        for error, places in concerned.items():
            outcomes = await self._judge(error, [contacts[place] for place in places], since)
            for place, outcome in zip(places, outcomes, strict=True):
                settled[place] = outcome
        return settled

    async def _judge(self, error: LaneError, contacts: Sequence[Contact], since: float) -> Sequence[Settled]:
        match error:
            case BatchRefusedError():
                return await self._isolate(error, contacts)
            case OutageError():
                if self._last_answer > min(self._suspects.get(contact.id, since) for contact in contacts):
                    return await self._isolate(error, contacts)
                self._suspect(contacts)
                await self._trip(error, contacts)
            case HeldBackError():
                pass
            case ThrottledError():
                await self._breaker.throttled(error.code, _reason(error, contacts), error.pause_s)
            case _:
                await self._trip(error, contacts)
        return [None] * len(contacts)

    async def _isolate(self, error: LaneError, contacts: Sequence[Contact]) -> Sequence[Settled]:
        """Finds those that are to blame: one of n costs at most 2 log2(n) + 1 further requests."""
        # What may still be at work in the CRM is not sent again at once.
        if len(contacts) == 1 or (isinstance(error, OutageError) and error.code != Code.CRM_ERROR):
            rejected = isinstance(error, BatchRefusedError) and not error.retried
            outcome = Outcome.rejected if rejected else Outcome.failed
            return [outcome(error.code, error.reason)] * len(contacts)
        since = time.monotonic()
        middle = len(contacts) // 2
        halves = contacts[:middle], contacts[middle:]
        # Both are asked before either is judged: that one succeeds tells that the other's failure is its own.
        answers = [await self._ask(half) for half in halves]
        settled = [await self._settle(said, half, since) for said, half in zip(answers, halves, strict=True)]
        return [outcome for half in settled for outcome in half]

    def _suspect(self, contacts: Sequence[Contact]) -> None:
        """A CRM that is down, or a contact that brings it down: the next time it fails with them will tell."""
        if len(self._suspects) > MOST_SUSPECTS:
            self._suspects.clear()
        now = time.monotonic()
        for contact in contacts:
            self._suspects.setdefault(contact.id, now)

    async def _trip(self, error: LaneError, contacts: Sequence[Contact]) -> None:
        """What may pass by itself is to be seen some times in a row."""
        refused = isinstance(error, RefusedError)
        probe = self._breaker.is_probe(contacts[0].token)
        self._failures += 1
        if refused or probe or self._failures >= FAILURES:
            self._failures = 0
            await self._breaker.failed(error.code, _reason(error, contacts), refused=refused, probe=probe)


def _reason(error: LaneError, contacts: Sequence[Contact]) -> str:
    """For the log: without what a CRM quotes of these contacts, be it of a record of its own."""
    return clean(error.reason, hide=[value for contact in contacts for value in (contact.email, *contact.fields.values())])
