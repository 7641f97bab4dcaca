"""When a lane looks for contacts, and how it sleeps in between.

The theory of the bell is in `crm_sync.postgres.bell`. Here it is armed and disarmed:

    a claim came back full          disarm: flips no longer ring; call the other workers for help
    flips come close together       disarm: a notification for each would cost more than a look
    an empty claim                  arm, look once more, then sleep until the bell rings or a contact is due
    refused to arm, or a row held   nap, longer each time, and look again
    no claim is possible            disarm: a lane that waits for its CRM is awake
"""

import asyncio
import time

from crm_sync.lane.channel import Channel
from crm_sync.measurements import Cause, Woken, measure
from crm_sync.postgres.bell import Bell
from crm_sync.table.line import Line

LATE_S = 0.002  # a timer that fires a moment early would find nothing


class Wake:
    """The sleep of one lane. Every async method raises DatabaseTroubleError.

    asked: set while something wants the lane to look: the bell, the tick, a row that is due again. rested: set once it has found
    nothing to claim.
    """

    def __init__(self, lane_id: int, channel: Channel, line: Line) -> None:
        self.asked = asyncio.Event()
        self.rested = asyncio.Event()
        self._cause = Cause.RECOVERY
        self._channel = channel
        self._line = line
        self._bell = Bell(channel.session, lane_id)
        self._waits = channel.waits
        self._nap_s = 0.0
        self._help_after = 0.0
        self._claimed_at = 0.0

    def ask(self, cause: Cause) -> None:
        """Makes the lane look, even if it sleeps."""
        self._cause = cause
        self.asked.set()

    async def stay_awake(self) -> None:
        """Flips stop ringing, because this worker will look again anyway."""
        await self._bell.disarm()

    async def leave(self, *, for_good: bool = False) -> None:
        """Another worker answers for the bell from now on, and is called to do so. for_good: see `Bell.leave`."""
        if await self._bell.leave(for_good=for_good) or for_good:
            await self._channel.session.notify(self._channel.crm)

    async def tick(self) -> None:
        """Called at each tick: finds contacts that no bell announced, and takes over from a keeper that died."""
        # A keeper without a permit would leave no worker looking.
        may_keep = not self._bell.kept and self._channel.permits.limit
        if await self.anything_is_due() or (may_keep and await self._bell.keep()):
            self.ask(Cause.TICK)
        await self._line.tidy()

    async def rest(self, claimed: int, limit: int) -> bool:
        """After a claim of at most `limit` contacts: continues at once if more are waiting, else sleeps if that is right. Returns
        whether it slept until a flip rang.
        """
        limited = self._channel.rate_limit.limited
        if claimed:
            self._nap_s = 0.0
        more = claimed == limit and (not limited or await self.anything_is_due())
        if more or (claimed and self._flips_are_frequent()):
            await self._bell.disarm()
        if more:
            await self._call_for_help()
        elif not claimed or self._bell.armed or limited:
            return await self.sleep() is Cause.BELL
        return False

    async def anything_is_due(self) -> bool:
        due_in_s = await self._next_due_s()
        return due_in_s is not None and due_in_s <= 0

    async def sleep(self) -> Cause:
        """After an empty claim: until the bell rings, a contact is due, or something held back is worth a look. Returns which."""
        keeper = await self._bell.keep()
        if keeper and not await self._bell.arm():
            return await self._nap()  # a flip is uncommitted, and its trigger saw that a worker is awake
        due_in_s = await self._next_due_s()
        if due_in_s is not None and due_in_s <= 0:
            return await self._nap()  # it was committed before the bell was armed, or its row is locked by the application
        self._nap_s = 0.0
        self.rested.set()
        return await self._wait(None if due_in_s is None else due_in_s + LATE_S, Cause.DUE)

    async def _nap(self) -> Cause:
        nap_s = self._nap_s
        self._nap_s = min(max(nap_s * 2, self._waits.first_nap_s), self._waits.longest_nap_s)
        return await self._wait(nap_s, Cause.NAP)

    async def _wait(self, seconds: float | None, cause: Cause) -> Cause:
        """cause: why the lane wakes, unless something asks for it earlier. Returns why it woke."""
        await wait(self.asked, seconds)
        woken = Woken(self._channel.crm, self._cause if self.asked.is_set() else cause)
        measure(woken)
        return woken.cause

    async def _next_due_s(self) -> float | None:
        """Every look at the line also shows whether news of the breaker was missed."""
        due = await self._line.next_due()
        if due.revision > self._channel.breaker.revision:
            await self._channel.breaker.read()
        return due.in_s

    def _flips_are_frequent(self) -> bool:
        """An occasional flip may ring, and be claimed without touching the bell. A second one within a moment is too many."""
        now = time.monotonic()
        before, self._claimed_at = self._claimed_at, now
        return now - before < self._waits.frequent_flips_s

    async def _call_for_help(self) -> None:
        """There is more than one claim holds: the other workers are asleep, because the bell says only that
        some worker is awake.
        """
        now = time.monotonic()
        if self._bell.kept and now >= self._help_after:
            self._help_after = now + self._waits.help_interval_s
            await self._channel.session.notify(self._channel.crm)


async def wait(event: asyncio.Event, seconds: float | None) -> None:
    """Waits until the event is set or the timeout passes."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
