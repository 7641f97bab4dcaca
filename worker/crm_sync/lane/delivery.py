"""Deliveries of one lane: contacts in, finishes out. Answers are judged in `crm_sync.lane.judge`."""

import random
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from crm_sync.core.codes import Code
from crm_sync.core.identity import Addressee
from crm_sync.core.outcome import Contact, Finish, Outcome, Receipt, Settled, Unsent, Verdict
from crm_sync.core.retry import deferred, set_aside, unsent
from crm_sync.errors import RefusedError
from crm_sync.lane.channel import Channel
from crm_sync.lane.judge import Judge

# This much work is claimed ahead: a few dozen contacts for fast CRMs, no more than they take for slow ones. A worker that is
# alone keeps nothing from others, and larger claims cost less per contact.
AHEAD_S = 0.02
AHEAD_ALONE_S = 0.1


class Deliveries:
    """Knows when the CRM may be called, and calls it. stopping: whether no further request is started."""

    def __init__(self, channel: Channel, *, refused: Callable[[RefusedError], Unsent] | None = None) -> None:
        """refused: what happens to contacts if the CRM refuses every one; None: the lane is held, and they go back in line."""
        self._client = channel.client
        self._session = channel.session
        self._breaker = channel.breaker
        self._rate_limit = channel.rate_limit
        self._permits = channel.permits
        self._addresses = channel.addresses
        self._policy = channel.policy
        self._address_busy_s = channel.waits.address_busy_s
        self._judge = Judge(channel, may_send=self._may_send, refused=refused)
        self.stopping = False

    @property
    def capacity(self) -> int:
        """How many contacts may be in hand, including those whose outcomes are not written yet."""
        if self._breaker.probing:
            return 1  # not many at once, or the one that makes the CRM fail would spoil every probe
        contacts = self._permits.limit * self._client.batch_limit
        if self._permits.ramp.allowed is not None or self._rate_limit.limited or not contacts:
            return contacts
        return contacts * 2 + self._ahead

    def sendable(self, under_way: int, room: int, batch_size: int) -> int:
        """How many contacts are worth a claim now, in addition to this many requests. room: for contacts in hand. Any more would
        wait here although another worker may have capacity.
        """
        if self._breaker.probing:
            return max(0, min(room, 1 - under_way))
        size, ahead = self._client.batch_limit, 0
        if self._permits.ramp.allowed is None and not self._rate_limit.limited:
            ahead = round(self._ahead / size)
        free = self._permits.limit + ahead - under_way
        if room < (min(size, batch_size) if ahead else 1):
            return 0
        # Not the room: outcomes being written take it up, and a CRM of single contacts would run out of requests.
        return min(room, worth_a_claim(free * size, ahead=ahead * size, size=size, batch_size=batch_size))

    @property
    def _ahead(self) -> int:
        """Contacts that are sent within a moment: they are at hand when a request ends."""
        ahead_s = AHEAD_ALONE_S if self._session.alone else AHEAD_S
        return int(self._judge.throughput.per_s(time.monotonic()) * ahead_s)

    @property
    def accused(self) -> Collection[object]:
        """The contacts, by id, for which the lane was held recently: a probe with another one tells more."""
        return self._judge.accused

    async def room(self, in_hand: int) -> tuple[int, float]:
        """How many contacts may be claimed for requests that may start now, in addition to those in hand; else seconds until one
        may.

        Raises as Database.fetch does.
        """
        size = self._client.batch_limit
        requests, wait_s = await self._rate_limit.ahead(max(1, (self.capacity - in_hand) // size))
        return requests * size, wait_s

    def stop(self) -> None:
        """Starts no further request. Requests waiting for the rate limit give up."""
        self.stopping = True
        self._rate_limit.release()

    def release(self) -> None:
        """The session is lost. Another worker may send what is waiting here, so it goes back in line."""
        self._rate_limit.release()

    async def fail(self) -> None:
        """An internal error: the CRM is left alone for a while. Raises as Database.fetch does."""
        await self._breaker.failed(Code.INTERNAL, "an unexpected error, see the log", refused=False, probe=self._breaker.probing)

    async def deliver(self, batch: Sequence[Addressee]) -> list[Finish]:
        """One request, and more if some of the contacts caused a refusal. Returns a finish for each contact and each twin."""
        async with self._addresses.held([known_by for one in batch for known_by in one.identities]) as held:
            taken = held.busy
            ours = [one for one in batch if taken.isdisjoint(one.identities)] if taken else batch
            finishes: list[Finish] = []
            if ours:
                async with self._permits:
                    finishes = await self._send(ours, held.overtaken_before)
        if taken:
            busy = [person for person in batch if not taken.isdisjoint(person.identities)]
            finishes += [deferred(one, self._address_busy_s) for person in busy for one in (person.contact, *person.twins)]
        return finishes

    async def _send(self, batch: Sequence[Addressee], overtaken_before: datetime) -> list[Finish]:
        """overtaken_before: see Held."""
        opening = self._session.openings
        contacts = [addressee.contact for addressee in batch]
        outcomes = await self._judge.outcomes(contacts)
        receipts = self._judge.receipts(contacts)
        # Others may have taken these addresses since our locks were lost.
        unlocked = self._session.openings != opening or not self._session.opened.is_set()
        finishes = []
        for addressee, outcome, (receipt, stored) in zip(batch, outcomes, receipts, strict=True):
            finish = self._finish(addressee.contact, outcome, receipt, stored=stored)
            late = unlocked or addressee.contact.flipped_at < overtaken_before
            finishes.append(finish._replace(late=True) if late else finish)
            if addressee.twins:
                # They share a delivery. An error of the contact that was sent does not apply to them: they are sent again.
                delivered = isinstance(outcome, Outcome) and outcome.verdict is Verdict.DELIVERED
                shared = [
                    self._finish(twin, outcome, receipt, stored=False) if delivered else deferred(twin)
                    for twin in addressee.twins
                ]
                finishes += [
                    finish._replace(late=False, sent_fields=unsent(twin, finish.remote_id))
                    for twin, finish in zip(addressee.twins, shared, strict=True)
                ]
        return finishes

    def unsaid(self, batch: Sequence[Addressee]) -> list[Finish]:
        """The finishes of contacts whose delivery was interrupted by an error, so that nothing was said of them."""
        contacts = [addressee.contact for addressee in batch]
        receipts = zip(contacts, self._judge.receipts(contacts, unsaid=True), strict=True)
        own = [deferred(contact, sent=stored, receipt=receipt) for contact, (receipt, stored) in receipts]
        return own + [deferred(twin) for addressee in batch for twin in addressee.twins]

    def _finish(self, contact: Contact, outcome: Settled, receipt: Receipt | None, *, stored: bool) -> Finish:
        """stored: its values may be in the CRM, whatever the outcome is."""
        if outcome is None:
            return deferred(contact, sent=stored, receipt=receipt)
        if isinstance(outcome, Unsent):
            return set_aside(contact, outcome, receipt, sent=stored)
        self._judge.settled(contact)
        chance = random.random()  # noqa: S311 (jitter is not a secret)
        return self._policy.finish(contact, outcome, chance, receipt, stored=stored)

    def _may_send(self, contacts: Sequence[Contact]) -> bool:
        tokens = {one.token for one in contacts}
        return not self.stopping and self._session.holds(tokens) and all(map(self._breaker.admits, tokens))


def worth_a_claim(contacts: int, *, ahead: int, size: int, batch_size: int) -> int:
    """This many contacts may be claimed: all of them, or 0 if it is better to wait for more.

    A claim of at most batch_size contacts costs one statement, however few they are. ahead: contacts that are sent within a
    moment; 0 where the CRM is slow, so that a request that ends leaves nothing to send. While there are such contacts, a request
    (size contacts) is worth filling, and half of them are worth a claim.
    """
    enough = max(min(size, batch_size), min(ahead, batch_size) // 2) if ahead else 1
    return contacts if contacts >= enough else 0
