"""The doorbell of a lane: NOTIFY is paid for only when no worker is awake.

A NOTIFY in the application's transaction serialises the commits of the whole cluster. So the trigger asks an advisory lock
first, which is subject to no snapshot and so is right in REPEATABLE READ too:

    trigger   tries the bell in shared mode.   Granted: somebody is awake and will look again after this transaction has ended.
                                               Refused: the bell is armed, so ring it with NOTIFY.
    keeper    about to sleep, tries the bell   Refused: a flip is uncommitted; stay awake, look again after a short growing wait.
              in exclusive mode (arms it).     Granted: look once more, for flips that were committed before; then sleep.
    keeper    woken by a flip                  Flips now and then: it claims and leaves the bell armed.
                                               Flips that come closely, a full claim, or none possible just now (hands full, CRM
                                               down, paused): it unlocks the bell (disarms it), and flips ring no more.

Of several workers one is the keeper, whom the lane's row names; the others sleep until they hear the bell too, or the keeper
calls for help because its claim came back full. If the keeper dies, Postgres frees the bell, and the next worker to look, at its
tick at the latest, becomes the keeper. A keeper that hears nothing (`crm_sync.postgres.ear`) does not arm: it stays awake.

What strangers can do to it, for an advisory lock is anyone's: anyone who holds the bell keeps the keeper awake, and flips ring
or not, but somebody looks in either case.
"""

import asyncio

from crm_sync.postgres.session import Session


class Bell:
    """The bell of one lane, as this worker sees it. All methods raise DatabaseTroubleError when the session is lost."""

    def __init__(self, session: Session, lane_id: int) -> None:
        self._session = session
        self._lane_id = lane_id
        self._kept_in = 0  # the opening of the session in which we became the keeper
        self._armed_in = 0
        self._left = False
        self._turn = asyncio.Lock()  # what is in flight is known before it is taken back

    @property
    def kept(self) -> bool:
        """Whether this worker is the lane's keeper."""
        return self._session.opened.is_set() and self._kept_in == self._session.openings

    @property
    def armed(self) -> bool:
        return self._armed_in == self._session.openings > 0

    async def keep(self) -> bool:
        """Becomes the keeper, if there is none, and this lane has not left for good."""
        async with self._turn:
            if not (self._left or self.kept) and await self._session.become_keeper(self._lane_id):
                self._kept_in = self._session.openings
            return self.kept

    async def leave(self, *, for_good: bool = False) -> bool:
        """Is the keeper no longer. Whether it was. for_good: nor will it be, whatever still runs of this lane."""
        self._left = self._left or for_good
        async with self._turn:
            await self._disarm()
            was = self.kept
            if was:
                self._kept_in = 0
                await self._session.leave_keeper(self._lane_id)
            return was

    async def arm(self) -> bool:
        """Refused while a flip is uncommitted, while no worker would hear it, and once this lane has left for good."""
        async with self._turn:
            if self._left or not self._session.hears:
                await self._disarm()
                return False
            if not self.armed and await self._session.try_lock("arm_bell", self._lane_id):
                self._armed_in = self._session.openings
            return self.armed

    async def disarm(self) -> None:
        async with self._turn:
            await self._disarm()

    async def _disarm(self) -> None:
        if self.armed:
            self._armed_in = 0
            await self._session.try_lock("disarm_bell", self._lane_id)
