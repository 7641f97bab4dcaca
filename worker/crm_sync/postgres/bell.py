"""The doorbell of a lane: NOTIFY costs something only when no worker is awake.

A NOTIFY in the application's transaction serialises the commits of the whole cluster. So the trigger first tries an advisory
lock, which does not depend on snapshots and so also works in REPEATABLE READ:

    trigger   tries the bell in shared mode.   Granted: a worker is awake and will look again after this transaction has ended.
                                               Refused: the bell is armed, so ring it with NOTIFY.
    keeper    about to sleep, tries the bell   Refused: a flip is uncommitted; stay awake, look again after a short growing wait.
              in exclusive mode (arms it).     Granted: look once more, for flips committed before that; then sleep.
    keeper    woken by a flip                  Occasional flips: it claims and leaves the bell armed.
                                               Flips close together, a full claim, or no claim possible (hands full, CRM
                                               down, paused): it unlocks the bell (disarms it), and flips stop ringing.

One of several workers is the keeper, named in the lane's row; the others sleep until they too hear the bell, or until the keeper
calls for help because its claim came back full. If the keeper dies, Postgres frees the bell, and the next worker to look, at its
tick at the latest, becomes the keeper. A keeper that hears nothing (`crm_sync.postgres.ear`) does not arm: it stays awake.

Any role can take an advisory lock. A stranger who holds the bell keeps the keeper awake. Flips may then ring or not, but a worker
looks in either case.
"""

import asyncio

from crm_sync.postgres.session import Session


class Bell:
    """The bell of one lane, from this worker's side. All methods raise DatabaseTroubleError when the session is lost."""

    def __init__(self, session: Session, lane_id: int) -> None:
        self._session = session
        self._lane_id = lane_id
        self._kept_in = 0  # the opening of the session in which we became the keeper
        self._armed_in = 0
        self._left = False
        self._turn = asyncio.Lock()  # a lock request in flight must be settled before it is undone

    @property
    def kept(self) -> bool:
        """Whether this worker is the lane's keeper."""
        return self._session.opened.is_set() and self._kept_in == self._session.openings

    @property
    def armed(self) -> bool:
        return self._armed_in == self._session.openings > 0

    async def keep(self) -> bool:
        """Becomes the keeper, if there is none and this lane has not left for good."""
        async with self._turn:
            if not (self._left or self.kept) and await self._session.become_keeper(self._lane_id):
                self._kept_in = self._session.openings
            return self.kept

    async def leave(self, *, for_good: bool = False) -> bool:
        """Stops being the keeper. Returns whether it was. for_good: it will not become the keeper again, whatever still runs of
        this lane.
        """
        self._left = self._left or for_good
        async with self._turn:
            await self._disarm()
            was = self.kept
            if was:
                self._kept_in = 0
                await self._session.leave_keeper(self._lane_id)
            return was

    async def arm(self) -> bool:
        """Refused while a flip is uncommitted, while no worker would hear it, and after this lane has left for good."""
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
