"""One worker with one configuration: what lives in what, and how it ends.

    database      the pool: claims, finishes, looks
    └─ clients    one per CRM with credentials
       └─ session one direct connection: alive, listening, awake
          └─ lanes

Inner things end first. Loops beside each other restart on their own, so that one that fails never cancels a request in flight.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, closing, suppress
from functools import partial
from typing import Any, TypeVar

import structlog

from crm_sync import __version__, events
from crm_sync.configuration import Configuration
from crm_sync.core.waits import USUAL, Waits
from crm_sync.daemon.installation import Installation, read_installation
from crm_sync.daemon.signals import Service
from crm_sync.daemon.supervision import every, supervise
from crm_sync.daemon.systemd import Notifier
from crm_sync.daemon.wiring import Wiring
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.log import Trouble
from crm_sync.postgres.backoff import Backoff
from crm_sync.postgres.listen_check import check_listening
from crm_sync.postgres.pool import Database
from crm_sync.settings import LaneSettings
from crm_sync.table.schema import Schema

COLLECT_EVERY = 50_000  # more objects made than freed

Result = TypeVar("Result")
log = structlog.get_logger()


class _StoppedError(Exception):
    """Stopped before anything ran: there is nothing to drain."""


class Daemon:
    """One worker with one configuration. Runs until `stop` is set, then drains."""

    def __init__(self, configuration: Configuration, notifier: Notifier | None = None, waits: Waits = USUAL) -> None:
        self._configuration = configuration
        self._settings = configuration.settings
        self._accounts = configuration.accounts
        self._notifier = notifier or Notifier()
        self._waits = waits
        self._installation: Installation | None = None
        self._wiring: Wiring | None = None
        self._waiting_for = ""
        self.stop = asyncio.Event()

    async def check(self) -> None:
        """Everything that would stop the start. Raises ConfigurationError, or DatabaseTroubleError where that cannot be told now.

        What was checked is what run takes.
        """
        async with self._database(size=2) as database:
            self._installation = await read_installation(database, self._configuration)
            await check_listening(self._settings.session_url, database, self._waits.listen_timeout_s)

    async def run(self) -> None:
        """Raises ConfigurationError where only a person can help."""
        with suppress(_StoppedError):
            await self._run()

    @property
    def moving(self) -> bool:
        """As `crm_sync.lane.watchdog` tells. Stopping has its own limit."""
        wiring = self._wiring
        if self.stop.is_set() or wiring is None:
            return True
        # All are asked, for a wait counts as movement when it is asked for.
        stuck = [wiring.ticking.stuck(waiting=not wiring.session.opened.is_set())]
        stuck += [lane.stuck for lane in wiring.lanes.values()]
        return not any(stuck)

    @property
    def sentence(self) -> str:
        """What it is doing, for people."""
        if self.stop.is_set():
            return "stopping: requests under way get to end"
        if self._waiting_for:
            return f"waiting for the database: {self._waiting_for}"
        if self._wiring is None or not (self._wiring.session.opened.is_set() or self._wiring.session.openings):
            return "connecting to the database"
        if not self._wiring.session.opened.is_set():
            return "waiting for the database: the session was lost, the log tells why"
        lanes = sorted(self._wiring.lanes)
        return f"delivering to {', '.join(lanes)}" if lanes else "no CRM has credentials, so contacts wait"

    def _database(self, *, size: int) -> Database:
        return Database(
            self._settings.database_url,
            size=size,
            behind_pooler=self._settings.database_behind_pooler,
            timeout_s=self._waits.statement_timeout_s,
        )

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            # A claim, a finish, a look, the breaker and the tombstones at a time for each lane, and one for recovery.
            size = 5 * len(self._accounts) + 1
            database = await stack.enter_async_context(self._database(size=size))
            installation = self._installation
            if installation is None:
                installation = await self._once_reachable(partial(read_installation, database, self._configuration))
            wiring = Wiring(installation, database, self._settings.session_url, self._waits, in_turn=True)
            for crm, account in self._accounts.items():
                await stack.enter_async_context(wiring.lane(crm, account))
            self._wiring = wiring
            self._say_started(installation.schema)
            await self._run_loops(wiring, installation.lanes)

    async def _once_reachable(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Waits for a database that is away, and says so once for each reason. Raises _StoppedError when stopped meanwhile."""
        backoff = Backoff(self._waits)
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

    async def _run_loops(self, wiring: Wiring, lane_settings: Mapping[str, LaneSettings]) -> None:
        session, recovery = wiring.session, wiring.recovery
        loops: list[tuple[str, Callable[[], Awaitable[None]]]] = [("session", session.run)]
        for crm, lane in wiring.lanes.items():
            interval_s = lane_settings[crm].sync_scheduler_interval_minutes * 60
            full_look = partial(every, interval_s, session, partial(recovery.line_up_strays, crm), self._waits)
            loops += [
                (f"{crm} lane", lane.run),
                (f"{crm} writer", lane.write),
                (f"{crm} breaker", lane.listen),
                (f"{crm} tombstones", lane.delete),
                (f"{crm} full look", full_look),
            ]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(supervise(name, loop, self._waits)) for name, loop in loops]
                self._notifier.ready()
                await self.stop.wait()
                await self._drain(wiring)
                for task in tasks:
                    task.cancel()
        except* ConfigurationError as errors:
            raise errors.exceptions[0] from None

    async def _drain(self, wiring: Wiring) -> None:
        lanes = wiring.lanes.values()
        grace_s, finish_grace_s = self._settings.shutdown_grace_s, self._waits.finish_grace_s
        log.info(events.WORKER_STOPPING, grace_s=grace_s)
        self._notifier.extend(grace_s + 2 * finish_grace_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s + finish_grace_s):
                await asyncio.gather(*(lane.stop(grace_s) for lane in lanes))
                await wiring.session.end(unsure=any(lane.unsure for lane in lanes))
        log.info(events.WORKER_STOPPED)

    def _say_started(self, schema: Schema) -> None:
        log.info(events.WORKER_STARTED, version=__version__, lanes=sorted(self._accounts))
        for crm in sorted(schema.lanes.keys() - self._accounts.keys()):
            log.info(events.LANE_WITHOUT_CREDENTIALS, crm=crm, note="no credentials, so its contacts wait")


async def serve(configuration: Configuration, read_again: Callable[[], Configuration] | None = None) -> None:
    """Runs a worker until SIGTERM or SIGINT; a second one ends it at once. SIGHUP: what read_again reads takes effect."""
    # Contacts come and go by the hundred thousand and hold no cycles: at its defaults the collector took a fifth of the time.
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 10, 10)
    again = read_again or (lambda: configuration)
    with closing(Notifier.from_environment()) as notifier:
        await Service(Daemon(configuration, notifier), lambda: Daemon(again(), notifier), notifier).run()
