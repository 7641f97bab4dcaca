"""How many contacts a lane may claim now: none without a session, with full hands, or while its CRM must not be called.

A lane that waits here is awake and has the bell disarmed: flips during an outage or a backlog cost no notification.
"""

import asyncio
import time

from crm_sync.errors import ConfigurationError
from crm_sync.lane.channel import Channel
from crm_sync.lane.delivery import Deliveries
from crm_sync.lane.dispatch import Dispatch
from crm_sync.lane.in_hand import InHand
from crm_sync.lane.wake import Wake, wait
from crm_sync.measurements import Limited, measure

MOST_IN_HAND = 16_000_000  # characters of large contacts: no claim begins while more are in hand


class Room:
    """batch_size: contacts in one claim at most. made: set when there may be more room, or another reason to look again.
    turned_away: whether it waits because the CRM must not be called.
    """

    def __init__(
        self, channel: Channel, in_hand: InHand, deliveries: Deliveries, dispatch: Dispatch, wake: Wake, *, batch_size: int
    ) -> None:
        self.made = asyncio.Event()
        self.turned_away = False
        self._crm = channel.crm
        self._session = channel.session
        self._breaker = channel.breaker
        self._help_interval_s = channel.waits.help_interval_s
        self._in_hand = in_hand
        self._deliveries = deliveries
        self._dispatch = dispatch
        self._wake = wake
        self._batch_size = batch_size
        self._refusal: ConfigurationError | None = None

    def refuse(self, error: ConfigurationError) -> None:
        """The database refuses what deliveries ask: nothing more is to be claimed."""
        self._refusal = error
        self.made.set()

    async def find(self) -> int:
        """Waits until contacts may be claimed, and returns how many. 0 when stopping.

        Raises DatabaseTroubleError, and ConfigurationError: see `refuse`.
        """
        while not self._deliveries.stopping:
            await self._session.opened.wait()
            self.made.clear()
            if self._refusal is not None:
                raise self._refusal
            in_hand, capacity = self._in_hand.count, self._deliveries.capacity
            sendable = self._deliveries.sendable(self._dispatch.under_way, capacity - in_hand, self._batch_size)
            if not sendable or self._in_hand.size > MOST_IN_HAND:
                await self._wait_for_hands()
                continue
            contacts, wait_s = await (self._deliveries.room(in_hand) if self._breaker.open else self._probe())
            if contacts:
                return min(contacts, capacity - self._in_hand.count, sendable, self._batch_size)
            await self._wake.stay_awake()
            await self._wait_for_crm(wait_s)
        return 0

    async def _wait_for_hands(self) -> None:
        """They are full. If that takes a while, another worker may have room: it answers for the bell meanwhile."""
        await self._wake.stay_awake()
        await wait(self.made, self._help_interval_s)
        if not self.made.is_set() and self._session.alive > 1:
            await self._wake.leave()
        await self.made.wait()

    async def _wait_for_crm(self, wait_s: float) -> None:
        """It must not be called for this many seconds, or until there is news."""
        limited, began = self._breaker.open, time.monotonic()
        self.turned_away = True
        await wait(self.made, wait_s)
        self.turned_away = False
        if limited:
            measure(Limited(self._crm, time.monotonic() - began))

    async def _probe(self) -> tuple[int, float]:
        """The CRM must not be called. Returns 1 if this worker is to probe it, because there is something to probe with; else
        seconds to wait.
        """
        if self._breaker.wait_s > 0:
            return 0, self._breaker.wait_s
        if not await self._wake.anything_is_due():
            await self._wake.sleep()
            return 0, 0.0
        return (1, 0.0) if await self._breaker.start_probe() else (0, self._breaker.wait_s)
