"""One CRM of a worker, for as long as the worker runs: it delivers while it can, and is held while only a person can help.

    opening     settings, credentials, columns, triggers, rights and mapping are read and checked; then the lane's loops run
    delivering  until the worker stops, or the database refuses a statement of the lane: then it is reopened at once
    held        the reason is logged once, and is in `crm_sync.lanes`. The lane reopens by itself after a growing pause:
                the fault may be fixed, and renamed columns are read again

None of this concerns other CRMs, so nothing is raised. Outcomes that a lane could not write are written by the next one. While it
is held, `crm_sync.daemon.recovery` recovers contacts of dead workers, if its columns are complete.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import structlog

from crm_sync import events
from crm_sync.configuration import LaneConfiguration
from crm_sync.core.outcome import Finish
from crm_sync.core.waits import Waits
from crm_sync.daemon.faults import Fault
from crm_sync.daemon.installation import LanePlan, plan_lane
from crm_sync.daemon.supervision import every, supervise
from crm_sync.daemon.wiring import Wiring
from crm_sync.errors import ConfigurationError, CrmSyncError, DatabaseTroubleError, UnreadableError
from crm_sync.lane.ending import end_tasks
from crm_sync.lane.lane import Lane
from crm_sync.lane.wake import wait
from crm_sync.log import Trouble
from crm_sync.postgres.backoff import Backoff
from crm_sync.telling.lane_progress import LaneProgress

log = structlog.get_logger()

_REOPENED = ConfigurationError("the database refused a statement: reading columns, rights and mapping again")

Read = Callable[[], LaneConfiguration | None]
Outcomes = list[Finish]


class SupervisedLane:
    """read: reads its configuration. Raises ConfigurationError. grace_s: seconds that its requests get to end."""

    def __init__(self, crm: str, read: Read, wiring: Wiring, grace_s: float, waits: Waits) -> None:
        self.crm = crm
        self._read = read
        self._wiring = wiring
        self._grace_s = grace_s
        self._waits = waits
        self._lane: Lane | None = None
        self._progress: LaneProgress | None = None
        self._failure: asyncio.Future[None] | None = None  # of the open lane
        self._renewed = asyncio.Event()
        self._left: Outcomes = []  # that a previous lane could not write
        self._unsure = False
        self.well = False  # it is open, and nothing has been refused for a moment
        self._tried_again = False  # since it last worked
        self._has_worked = False
        self._stopping = False
        self.settled = asyncio.Event()  # it has delivered what it found in line at the start, or taken its time for that
        self._fault = Fault(crm, wiring.database, wiring.session)
        self._trouble = Trouble(crm=crm, loop="lane")
        self._trouble_pause = Backoff(waits)
        self._fault_pause = Backoff.of_a_person(waits)

    @property
    def fault(self) -> str | None:
        """Why it is held."""
        return self._fault.reason

    @property
    def good(self) -> LaneConfiguration | None:
        """The configuration it delivers with, or is about to. While it is held: the one that it has worked with; None if it never
        has.
        """
        if self.fault is not None and not self._has_worked:
            return None
        try:
            return self._read()
        except ConfigurationError:  # reported when it is opened
            return None

    @property
    def unsure(self) -> bool:
        """Whether there may be claimed contacts whose outcome no worker will write."""
        return self._unsure or bool(self._left) or (self._lane is not None and (self._lane.unsure or self._lane.busy))

    def refuse(self, error: ConfigurationError) -> None:
        """Something that the worker does for this lane was refused."""
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    def renew(self) -> None:
        """Makes it reopen, because the table has changed: at once, even if it is held."""
        self._renewed.set()
        if self._failure is not None and not self._failure.done():
            self._failure.set_result(None)

    async def run(self) -> None:
        """Runs for as long as the worker does."""
        while not self._stopping:
            try:
                async with self._opened() as (lane, plan, progress):
                    await self._deliver(lane, plan, progress)
            except ConfigurationError as error:
                await self._stand(error)
            except (DatabaseTroubleError, UnreadableError) as error:
                self._trouble.tell(error)
                await asyncio.sleep(self._trouble_pause.pause_s())
            except Exception:  # the client may be a plug-in
                log.exception(events.LOOP_FAILED, loop=f"{self.crm} lane")
                await asyncio.sleep(self._fault_pause.pause_s())

    async def stop(self) -> None:
        """Stops claiming, lets requests end and outcomes be written. Raises nothing: the other lanes are to end in order, too."""
        self._stopping = True
        try:
            await self._stop()
        except Exception:
            log.exception(events.LOOP_FAILED, loop=f"{self.crm} lane, stopping")
            self._unsure = True

    async def _stop(self) -> None:
        if self._lane is not None:
            with suppress(ConfigurationError):  # the worker that recovers orphans writes what it cannot
                await self._lane.stop(self._grace_s)
        if self._progress is not None:
            with suppress(CrmSyncError):
                await self._progress.say()
        if self.fault is not None:
            await self._fault.end()

    # Opening the lane.

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[Lane, LanePlan, LaneProgress]]:
        self._renewed.clear()
        configuration = self._read()
        if configuration is None:
            raise ConfigurationError(f"{self.crm} no longer has credentials")
        plan = await plan_lane(self._wiring.database, await self._wiring.look(), configuration)
        async with self._wiring.lane(plan) as lane:
            if self._left:
                lane.carry(self._left)
                self._left = []
            try:
                await self._wiring.greet(self.crm)
                self._unsure = False
                self._lane = lane
                self._progress = LaneProgress(
                    lane, self._wiring.database, self._wiring.session, plan.account.windows, self._waits
                )
                yield lane, plan, self._progress
            finally:
                self._lane = self._progress = None
                self._left = lane.unwritten

    # Delivering.

    async def _deliver(self, lane: Lane, plan: LanePlan, progress: LaneProgress) -> None:
        """Until the database refuses a statement of the lane, or it is to be reopened.

        Raises ConfigurationError if it was already reopened for that.
        """
        if self._stopping:  # since it was being opened: what it claimed now would be left behind
            return
        self._trouble.over()
        self._trouble_pause.reset()
        self._failure = asyncio.get_running_loop().create_future()
        if self._renewed.is_set():  # while it was being opened
            self._failure.set_result(None)
        loops = [asyncio.create_task(self._loop(name, loop)) for name, loop in self._loops(lane, plan, progress)]
        try:
            await self._failure
            await self._close(lane)
        except ConfigurationError:
            self.well = False
            await self._close(lane)
            if self._tried_again:
                raise
            # Opening reports the fault better than the server does, and reads renamed columns again. The server's message can be
            # about a column of another CRM, which is part of the roll-up.
            self._tried_again = True
            self._trouble.tell(_REOPENED)
        finally:
            self._failure = None
            await end_tasks(loops)

    def _loops(self, lane: Lane, plan: LanePlan, progress: LaneProgress) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        session = self._wiring.session
        interval_s = plan.settings.sync_scheduler_interval_minutes * 60
        asked = self._wiring.recovery.asked(self.crm)
        return [
            ("lane", lane.run),
            ("writer", lane.write),
            ("breaker", lane.listen),
            ("tombstones", lane.delete),
            ("full look", partial(every, interval_s, session, partial(self._look_over, lane), asked, self._waits)),
            ("proof", self._prove),
            ("progress", progress.run),
        ]

    async def _look_over(self, lane: Lane) -> bool:
        """A backlog comes first, because the scan would compete with it."""
        await wait(lane.rested, self._waits.backlog_first_s)
        self.settled.set()
        return await self._wiring.recovery.look_over(self.crm)

    async def _loop(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        try:
            await supervise(f"{self.crm} {name}", loop, self._waits)
        except ConfigurationError as error:
            self.refuse(error)

    async def _prove(self) -> None:
        """A lane that was refused nothing for a moment works."""
        await self._wiring.session.opened.wait()
        # If there is no fault, a leftover one is removed at once: an idle lane should send no requests.
        noted = self.fault is not None or not await self._fault.withdraw()
        await asyncio.sleep(self._waits.proof_s)
        self._fault.over()
        self._fault_pause.reset()
        self._tried_again = False
        self.well = self._has_worked = True
        while noted and not await self._fault.withdraw():  # noqa: ASYNC110 (no event says when the database becomes writable)
            await asyncio.sleep(self._fault_pause.pause_s())

    async def _close(self, lane: Lane) -> None:
        """While the worker goes on: requests in flight end, and claimed contacts go back, or their outcomes are kept to be
        written later.
        """
        with suppress(ConfigurationError, TimeoutError):
            async with asyncio.timeout(self._grace_s + self._waits.finish_grace_s):
                await lane.stop(self._grace_s)
        # These are claimed but held by no worker: other workers deliver them, however long this lane is held.
        if self._wiring.session.opened.is_set():
            with suppress(CrmSyncError):
                await self._wiring.recovery.recover_unknown(self._wiring.session.known_id, self.crm)
        await lane.leave()
        self._unsure = True

    # Holding the lane.

    async def _stand(self, error: ConfigurationError) -> None:
        """Waits until it is to be tried again."""
        self._fault.tell(error)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._fault_pause.pause_s()):
                await self._wiring.session.opened.wait()
                await self._fault.note()
                await self._renewed.wait()
