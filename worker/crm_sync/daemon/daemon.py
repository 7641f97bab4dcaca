"""The composition root: what lives in what, and how it ends.

    database      the pool: claims, finishes, looks
    └─ clients    one per CRM with credentials
       └─ session one direct connection: alive, listening, awake
          └─ lanes

Inner things end first. Loops beside each other restart on their own, so that one that fails never cancels a request in flight.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, closing, suppress
from functools import partial
from typing import Any, TypeVar

import structlog

from crm_sync import __version__, events
from crm_sync.crm.account import Account
from crm_sync.daemon.configuration import Plan, make_plan
from crm_sync.daemon.recovery import Charge, Recovery
from crm_sync.daemon.signals import Service
from crm_sync.daemon.supervision import every, supervise
from crm_sync.daemon.systemd import Notifier
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.lane.lane import Lane
from crm_sync.lane.watchdog import Progress
from crm_sync.log import Trouble
from crm_sync.postgres.backoff import Backoff
from crm_sync.postgres.listen_check import prove_ear
from crm_sync.postgres.pool import Database
from crm_sync.postgres.session import Session
from crm_sync.settings import LaneSettings, Settings
from crm_sync.table.contacts import Contacts
from crm_sync.table.schema import Schema

COLLECT_EVERY = 50_000  # more objects made than freed
FINISH_GRACE_S = 5.0  # after the requests: for the outcomes to be written

Result = TypeVar("Result")
log = structlog.get_logger()


class _StoppedError(Exception):
    """Stopped before anything ran: there is nothing to drain."""


class Daemon:
    """One worker with one configuration. Runs until `stop` is set, then drains."""

    def __init__(self, settings: Settings, accounts: Mapping[str, Account], notifier: Notifier | None = None) -> None:
        self._settings = settings
        self._accounts = accounts
        self._notifier = notifier or Notifier()
        self._lanes: dict[str, Lane] = {}
        self._plan: Plan | None = None
        self._session: Session | None = None
        self._ticking = Progress()
        self._waiting_for = ""
        self.stop = asyncio.Event()

    async def check(self) -> None:
        """Everything that would stop the start. Raises ConfigurationError, or DatabaseTroubleError where that cannot be told now.

        What was checked is what run takes.
        """
        async with Database(self._settings.database_url, size=2, behind_pooler=self._settings.database_behind_pooler) as database:
            self._plan = await make_plan(database, self._settings, self._accounts)
            await prove_ear(self._settings.session_url, database)

    async def run(self) -> None:
        """Raises ConfigurationError where only a person can help."""
        with suppress(_StoppedError):
            await self._run()

    @property
    def moving(self) -> bool:
        """As `crm_sync.lane.watchdog` tells. Stopping has its own limit."""
        if self.stop.is_set() or self._session is None:
            return True
        stuck = [self._ticking.stuck(waiting=not self._session.opened.is_set())]
        stuck += [lane.stuck for lane in self._lanes.values()]
        return not any(stuck)

    @property
    def sentence(self) -> str:
        """What it is doing, for people."""
        if self.stop.is_set():
            return "stopping: requests under way get to end"
        if self._waiting_for:
            return f"waiting for the database: {self._waiting_for}"
        if self._session is None or not (self._session.opened.is_set() or self._session.openings):
            return "connecting to the database"
        if not self._session.opened.is_set():
            return "waiting for the database: the session was lost, the log tells why"
        return f"delivering to {', '.join(sorted(self._lanes))}" if self._lanes else "no CRM has credentials, so contacts wait"

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            # A claim, a finish, a look, the gate and the tombstones at a time for each lane, and one for recovery.
            size = 5 * len(self._accounts) + 1
            database = await stack.enter_async_context(
                Database(
                    self._settings.database_url,
                    size=size,
                    behind_pooler=self._settings.database_behind_pooler,
                )
            )
            plan = self._plan
            if plan is None:
                plan = await self._once_reachable(partial(make_plan, database, self._settings, self._accounts))
            charges = {
                crm: Charge(
                    Contacts(database, table, plan.mappings[crm].email, plan.mappings[crm].fields), plan.lanes[crm].policy
                )
                for crm, table in plan.schema.lanes.items()
            }
            recovery = Recovery(database, charges, on_found=self._wake, knows=self._knows)
            session = Session(
                self._settings.session_url,
                database,
                on_bell=self._wake,
                on_gate=self._hear,
                on_open=lambda dead: self._open(recovery, session, dead),
                on_tick=lambda dead: self._tick(recovery, session, dead),
                on_lost=self._release,
            )
            for crm, account in self._accounts.items():
                client, pace = await stack.enter_async_context(account.open(database))
                self._lanes[crm] = Lane(
                    plan.schema.lanes[crm],
                    database=database,
                    contacts=charges[crm].contacts,
                    client=client,
                    session=session,
                    pace=pace,
                    policy=charges[crm].policy,
                    batch_size=plan.lanes[crm].sync_scheduler_batch_size,
                )
            self._session = session
            self._say_started(plan.schema)
            await self._run_loops(session, recovery, plan.lanes)

    async def _once_reachable(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Waits for a database that is away, and says so once for each reason. Raises _StoppedError when stopped meanwhile."""
        backoff = Backoff()
        trouble = Trouble(note="waiting for the database")
        while True:
            try:
                result = await work()
            except DatabaseTroubleError as error:
                trouble.tell(error)
                self._waiting_for = str(error)
            else:
                self._waiting_for = ""
                return result
            self._notifier.status(self.sentence)
            self._notifier.ready()
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.pause_s()):
                    await self.stop.wait()
                raise _StoppedError

    async def _run_loops(self, session: Session, recovery: Recovery, lane_settings: Mapping[str, LaneSettings]) -> None:
        loops: list[tuple[str, Callable[[], Awaitable[None]]]] = [("session", session.run)]
        for crm, lane in self._lanes.items():
            interval_s = lane_settings[crm].sync_scheduler_interval_minutes * 60
            loops += [
                (f"{crm} lane", lane.run),
                (f"{crm} writer", lane.write),
                (f"{crm} gate", lane.watch),
                (f"{crm} tombstones", lane.bury),
                (
                    f"{crm} full look",
                    partial(every, interval_s, session, partial(recovery.line_up_strays, crm)),
                ),
            ]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(supervise(name, loop)) for name, loop in loops]
                self._notifier.ready()
                await self.stop.wait()
                await self._drain(session)
                for task in tasks:
                    task.cancel()
        except* ConfigurationError as errors:
            raise errors.exceptions[0] from None

    async def _open(self, recovery: Recovery, session: Session, dead: Sequence[int]) -> None:
        """A new session has heard nothing of what happened before it: every lane looks."""
        await recovery.recover(dead)
        for crm, lane in self._lanes.items():
            if session.openings:
                await recovery.recover_unknown(session.known_id, crm)
            lane.wake.set()
            lane.hear()
        self._ticking.moved()

    async def _tick(self, recovery: Recovery, session: Session, dead: Sequence[int]) -> None:
        self._ticking.moved()
        await recovery.recover(dead)
        for crm, lane in self._lanes.items():
            self._ticking.moved()
            if lane.unsure:
                await recovery.recover_unknown(session.known_id, crm)
            await lane.look()

    async def _drain(self, session: Session) -> None:
        grace_s = self._settings.shutdown_grace_s
        log.info(events.WORKER_STOPPING, grace_s=grace_s)
        self._notifier.extend(grace_s + 2 * FINISH_GRACE_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s + FINISH_GRACE_S):
                await asyncio.gather(*(lane.stop(grace_s) for lane in self._lanes.values()))
                await session.end(unsure=any(lane.unsure for lane in self._lanes.values()))
        log.info(events.WORKER_STOPPED)

    def _knows(self, crm: str, contact_id: object, token: int) -> bool:
        lane = self._lanes.get(crm)
        return lane is not None and lane.knows(contact_id, token)

    def _release(self) -> None:
        for lane in self._lanes.values():
            lane.release()

    def _wake(self, crm: str) -> None:
        lane = self._lanes.get(crm)
        if lane is not None:
            lane.wake.set()

    def _hear(self, crm: str) -> None:
        lane = self._lanes.get(crm)
        if lane is not None:
            lane.hear()

    def _say_started(self, schema: Schema) -> None:
        log.info(events.WORKER_STARTED, version=__version__, lanes=sorted(self._lanes))
        for crm in sorted(schema.lanes.keys() - self._lanes.keys()):
            log.info(events.LANE_WITHOUT_CREDENTIALS, crm=crm, note="no credentials, so its contacts wait")


async def serve(
    settings: Settings,
    accounts: Mapping[str, Account],
    read_again: Callable[[], tuple[Settings, Mapping[str, Account]]] | None = None,
) -> None:
    """Runs a worker until SIGTERM or SIGINT; a second one ends it at once. SIGHUP: what read_again reads takes effect."""
    # Contacts come and go by the hundred thousand and hold no cycles: at its defaults the collector took a fifth of the time.
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 10, 10)
    again = read_again or (lambda: (settings, accounts))
    with closing(Notifier.from_environment()) as notifier:
        await Service(Daemon(settings, accounts, notifier), lambda: Daemon(*again(), notifier), notifier).run()
