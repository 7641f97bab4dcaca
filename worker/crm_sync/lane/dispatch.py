"""From a claim to its deliveries: which contacts are rejected without a request, share one, or wait for an address."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

import structlog

from crm_sync import events
from crm_sync.core.codes import Code
from crm_sync.core.identity import Addressee, addressees
from crm_sync.core.outcome import Contact, Finish, Outcome
from crm_sync.core.retry import RetryPolicy, deferred
from crm_sync.crm.client import problem_of
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.lane.channel import Channel
from crm_sync.lane.delivery import Deliveries
from crm_sync.lane.ending import end_tasks
from crm_sync.log import Trouble
from crm_sync.table.shared_records import SharedRecords, apart
from crm_sync.table.unreadable_rows import Claimed

log = structlog.get_logger()

TURNS_TO_SEND = 2  # of the event loop: in the first a request is made, in the second aiohttp writes it

Look = asyncio.Task[frozenset[str]]


class Dispatch:
    """The deliveries of one lane in flight. put: takes the finishes they produce. on_refused: called if the database refuses what
    a delivery asks.
    """

    def __init__(
        self,
        channel: Channel,
        deliveries: Deliveries,
        shared: SharedRecords,
        *,
        put: Callable[[Sequence[Finish]], None],
        on_refused: Callable[[ConfigurationError], None],
    ) -> None:
        self._channel = channel
        self._deliveries = deliveries
        self._shared = shared
        self._put = put
        self._on_refused = on_refused
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: dict[str, asyncio.Task[None]] = {}  # by address and key: the last delivery with it
        self._log = log.bind(crm=channel.crm)
        self._trouble = Trouble(crm=channel.crm, loop="delivery")

    def __bool__(self) -> bool:
        """Whether any delivery is in flight."""
        return bool(self._tasks)

    @property
    def under_way(self) -> int:
        """Deliveries, including those waiting for their turn."""
        return len(self._tasks)

    def start(self, claimed: Claimed) -> int:
        """Starts the deliveries of the claimed contacts, and rejects those that cannot be sent. Returns how many will be sent."""
        if claimed.returned:
            # Contacts behind a slow one come back later, or they would be the fresh ones of the next claim.
            delay_s = self._channel.waits.slow_again_s if claimed.slow else 0.0
            self._put([deferred(contact, delay_s) for contact in claimed.returned])
        valid, rejected = sorted_out(self._channel, claimed)
        if rejected:
            self._put(rejected)
        size = self._channel.client.batch_limit
        looked = self._look(valid)
        for group in self._in_turn(addressees(valid, self._channel.together, self._channel.client)):
            for first in range(0, len(group), size):
                self._start(group[first : first + size], looked)
        return len(valid)

    async def go_first(self) -> None:
        """Lets the deliveries that were just started send their requests before the caller goes on, if nothing holds them up."""
        if self._tasks:
            for _ in range(TURNS_TO_SEND):
                await asyncio.sleep(0)

    async def ended(self, grace_s: float) -> None:
        """Returns when every delivery that has begun has ended. Those that take longer than grace_s are cancelled.

        Deliveries that begin meanwhile are left alone: one that is cancelled before its first step would leave no outcome.
        """
        begun = set(self._tasks)
        if not begun:
            return
        try:
            await asyncio.wait(begun, timeout=grace_s)
        finally:  # also where nothing is waited for any more
            await end_tasks(begun)

    def _look(self, contacts: Sequence[Contact]) -> Look | None:
        """Looks up records shared with other contacts, once for all contacts claimed together."""
        if not self._channel.client.keeps_records or not any(contact.remote_id for contact in contacts):
            return None
        return asyncio.create_task(self._shared.find(contacts))

    def _in_turn(self, people: Iterable[Addressee]) -> list[list[Addressee]]:
        """Those that can be sent at once, then those that wait for what is in flight, or for another of these with the same key:
        never two of one person in a request.
        """
        turns: list[list[Addressee]] = [[], []]
        last: dict[str, int] = {}  # by address and key: the turn of the last one that has it
        has_keys = bool(self._channel.client.matched_by)
        for one in people:
            turn = 0 if self._under_way.keys().isdisjoint(one.identities) else 1
            if has_keys:
                turn = max(turn, *(last.get(known_by, -1) + 1 for known_by in one.identities))
                last.update(dict.fromkeys(one.identities, turn))
                if turn == len(turns):
                    turns.append([])
            turns[turn].append(one)
        return turns

    def _start(self, batch: Sequence[Addressee], looked: Look | None) -> None:
        """A person is never in two requests at once: a contact whose address or key is in flight waits for that delivery."""
        identities = [known_by for one in batch for known_by in one.identities]
        earlier = {self._under_way[known_by] for known_by in identities if known_by in self._under_way}
        delivery = asyncio.create_task(self._deliver(batch, earlier, looked))
        self._under_way.update(dict.fromkeys(identities, delivery))
        self._tasks.add(delivery)

    async def _deliver(self, batch: Sequence[Addressee], earlier: Collection[asyncio.Task[None]], looked: Look | None) -> None:
        """One delivery and its finishes. Whatever happens, every contact gets one."""
        finishes = None
        try:
            if earlier:
                await asyncio.wait(earlier)
            if looked is not None:
                await asyncio.wait([looked])  # other deliveries wait for it too: cancelling this one must not cancel it
                shared = looked.result()
                batch = [one._replace(contact=apart(one.contact, shared)) for one in batch]
            finishes = await self._deliveries.deliver(batch)
            self._trouble.over()
        except DatabaseTroubleError as error:
            self._trouble.tell(error)
        except ConfigurationError as error:
            self._on_refused(error)
        except Exception:  # noqa: BLE001 (logged with its traceback; every contact goes back)
            # A bug of ours, not a fault of the contact or the CRM. It is logged loudly, and the lane pauses before it tries
            # again.
            self._log.exception(events.LOOP_FAILED)
            with suppress(DatabaseTroubleError):
                await self._deliveries.fail()
        finally:
            if finishes is None:
                finishes = self._deliveries.unsaid(batch)
            self._put(finishes)
            self._end(batch)

    def _end(self, batch: Sequence[Addressee]) -> None:
        delivery = asyncio.current_task()
        for known_by in (known_by for one in batch for known_by in one.identities):
            if self._under_way.get(known_by) is delivery:
                del self._under_way[known_by]
        if delivery is not None:
            self._tasks.discard(delivery)


def sorted_out(channel: Channel, claimed: Claimed) -> tuple[list[Contact], list[Finish]]:
    """(contacts that can be sent, the finishes of those that cannot)."""
    policy = channel.policy
    rejected = [_rejected(policy, contact, Code.MAPPING_FAILED, reason) for contact, reason in claimed.unreadable]
    valid = []
    for contact in claimed.contacts:
        problem = problem_of(channel.client, contact)
        if problem is None:
            valid.append(contact)
        else:
            rejected.append(_rejected(policy, contact, Code.INVALID_EMAIL, problem))
    return valid, rejected


def _rejected(policy: RetryPolicy, contact: Contact, code: Code, reason: str) -> Finish:
    """The finish of a contact that is rejected without a request."""
    return policy.finish(contact, Outcome.rejected(code, reason), 0.5)._replace(sent=False)
