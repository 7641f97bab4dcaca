"""One worker with one configuration: its parts, their lifetimes, and how it ends.

    database      the pool: claims, finishes, looks
    ├─ session    one direct connection: shows that the worker is alive, listening, awake
    └─ lanes      one per CRM with credentials, each with its client: `crm_sync.daemon.supervised_lane`

A fault of one CRM stops only its lane, while the others deliver. Only faults in what they share end the worker: the database, the
contacts table, an unreadable file. Parallel loops restart individually, so a failing loop never cancels a request in flight.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import structlog

from crm_sync import __version__, events
from crm_sync.configuration import Configuration, LaneConfiguration
from crm_sync.core.waits import USUAL, Waits
from crm_sync.daemon.fleet_counts import FleetCounts
from crm_sync.daemon.metrics import Metrics
from crm_sync.daemon.reachable import StoppedError, once_reachable
from crm_sync.daemon.supervised_lane import Read, SupervisedLane
from crm_sync.daemon.supervision import supervise
from crm_sync.daemon.systemd import Notifier
from crm_sync.daemon.takeover import kept_configurations
from crm_sync.daemon.wiring import Wiring
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.lane.ending import end_tasks
from crm_sync.log import set_level
from crm_sync.postgres.listen_check import check_listening
from crm_sync.postgres.pool import Database
from crm_sync.reports.rights import with_advice
from crm_sync.setting_types import listed
from crm_sync.table.rights import require_worker_rights
from crm_sync.table.schema import Schema, inspect_schema
from crm_sync.telling.alerts import Alerts
from crm_sync.telling.channels import Channels, require_channels
from crm_sync.telling.counts import Teller, Told
from crm_sync.telling.telling import Telling
from crm_sync.telling.traces import traces

log = structlog.get_logger()


class Daemon:
    """One worker with one configuration. Runs until `stop` is set, then drains.

    former: the worker that this one replaces. Its valid lane configurations are kept where the new ones are wrong.
    """

    def __init__(
        self,
        configuration: Configuration,
        notifier: Notifier | None = None,
        waits: Waits = USUAL,
        former: "Daemon | None" = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._configuration = configuration
        self._settings = configuration.settings
        self._notifier = notifier or Notifier()
        self._waits = waits
        self._former = former
        self._follows = former is not None
        self._metrics = metrics or Metrics()
        self._teller: Teller | None = None
        self._kept: dict[str, LaneConfiguration] = {}  # from the former worker
        self._wiring: Wiring | None = None
        self.lanes: dict[str, SupervisedLane] = {}
        self._waiting_for = ""
        self.stop = asyncio.Event()

    async def check(self) -> None:
        """To be called before this worker takes over. A lane whose new configuration is wrong keeps its current one; if it is
        held, only if that is valid.

        Raises ConfigurationError if something is wrong that every lane needs, or DatabaseTroubleError if that cannot be
        determined now.
        """
        require_channels(self._configuration.environment)
        async with self._database(size=2) as database:
            schema = await self._look(database)
            await check_listening(self._settings.session_url, database, self._waits.listen_timeout_s)
            if self._former is not None:
                self._kept = await kept_configurations(database, schema, self._configuration, self._former.lanes)
        self._former = None

    async def run(self) -> None:
        """Raises ConfigurationError if only a person can fix the problem and no lane could run."""
        set_level(self._settings.log_number)
        async with self._metrics.shown(
            self, self._settings.metrics_address, self._waits, hosts=listed(self._settings.metrics_hosts)
        ):
            await self._run()

    async def _run(self) -> None:
        readers = self._readers()
        environment = self._configuration.environment
        # At the same time, for each lane: a claim, two finishes, a look, the breaker and the tombstones; besides these:
        # recovery, counting, and reporting.
        async with (
            traces(environment, self._waits),
            Channels.opened(environment) as channels,
            self._database(size=6 * len(readers) + 3) as database,
        ):
            with suppress(StoppedError):
                schema = await once_reachable(partial(self._look, database), self.stop, self._waits, self._say_waiting)
                self._waiting_for = ""
                self._wiring = self._wired(database, schema)
                self.lanes = {crm: self._lane(crm, read, self._wiring) for crm, read in readers.items()}
                telling = self._telling(self._wiring, channels)
                with telling.listening():
                    self._say_started(schema)
                    await self._run_loops(self._wiring, telling)

    @property
    def moving(self) -> bool:
        """See `crm_sync.lane.watchdog`. Stopping has its own limit, and a stopped lane need not move."""
        wiring = self._wiring
        if self.stop.is_set() or wiring is None:
            return True
        # All are asked, because waiting counts as movement only when asked about.
        stuck = [wiring.ticking.stuck(waiting=not wiring.session.opened.is_set())]
        stuck += [lane.stuck for lane in wiring.lanes.values()]
        return not any(stuck)

    @property
    def session_up(self) -> bool:
        """Whether it has its session."""
        return self._wiring is not None and self._wiring.session.opened.is_set()

    @property
    def stopping(self) -> bool:
        """Whether it was told to."""
        return self.stop.is_set()

    @property
    def end_s(self) -> float:
        """Seconds from being stopped to its end, at most: requests, outcomes, what is told about them."""
        return self._settings.shutdown_grace_s + 2 * self._waits.finish_grace_s

    @property
    def in_flight(self) -> Mapping[str, int]:
        """Contacts that it has claimed and not finished, by CRM."""
        return {} if self._wiring is None else {crm: lane.in_flight for crm, lane in self._wiring.lanes.items()}

    @property
    def told(self) -> Told | None:
        """What it has counted for all workers, if it is the one that counts."""
        return None if self._teller is None else self._teller.told

    @property
    def sentence(self) -> str:
        """What it is doing, in words."""
        if self.stop.is_set():
            return "stopping: waiting for requests in flight"
        if self._waiting_for:
            return f"waiting for the database: {self._waiting_for}"
        if self._wiring is None or not (self._wiring.session.opened.is_set() or self._wiring.session.openings):
            return "connecting to the database"
        if not self._wiring.session.opened.is_set():
            return "waiting for the database: the session was lost, see the log"
        if not self.lanes:
            return "no CRM has credentials, so contacts wait"
        delivering = ", ".join(sorted(crm for crm, lane in self.lanes.items() if lane.fault is None))
        faults = [f"not to {crm}: {lane.fault}" for crm, lane in sorted(self.lanes.items()) if lane.fault is not None]
        return "; ".join([f"delivering to {delivering or 'no CRM'}", *faults])

    def _database(self, *, size: int) -> Database:
        return Database.of(self._settings, size=size, timeout_s=self._waits.statement_timeout_s)

    async def _look(self, database: Database) -> Schema:
        """What the schema contains, after checking that a worker with this role may run on it. Raises as Database.fetch does."""
        schema = await inspect_schema(database, self._settings.contacts_table)
        await require_worker_rights(database)
        return schema

    def _readers(self) -> dict[str, Read]:
        """How to read the configuration of each lane; CRMs without credentials have none. A CRM with a wrong
        one has a lane, too.
        """
        readers: dict[str, Read] = {}
        for crm in self._configuration.crms:
            read = partial(self._read, crm)
            with suppress(ConfigurationError):
                if read() is None:
                    continue
            readers[crm] = read
        return readers

    def _read(self, crm: str) -> LaneConfiguration | None:
        return self._kept.get(crm) or self._configuration.of_lane(crm)

    def _wired(self, database: Database, schema: Schema) -> Wiring:
        wiring = Wiring(
            database,
            self._settings.session_url,
            self._waits,
            in_turn=True,
            contacts_table=self._settings.contacts_table,
            history=self._settings.history,
            on_refused=lambda crm, error: self.lanes[crm].refuse(error),
            on_outdated=self._open_anew,
        )
        wiring.learn(schema)
        return wiring

    def _open_anew(self, crm: str) -> None:
        if lane := self.lanes.get(crm):
            lane.renew()

    def _lane(self, crm: str, read: Read, wiring: Wiring) -> SupervisedLane:
        return SupervisedLane(crm, read, wiring, self._settings.shutdown_grace_s, self._waits)

    def _telling(self, wiring: Wiring, channels: Channels) -> Telling:
        windows = {}
        for crm in self.lanes:
            with suppress(ConfigurationError):  # the lane reports it
                if account := self._configuration.account(crm):
                    windows[crm] = account.windows
        database, session, waits = wiring.database, wiring.session, self._waits
        alerts = Alerts(database, session, channels, tables=wiring.tables, windows=windows, advised=with_advice, waits=waits)
        settled = [lane.settled for lane in self.lanes.values()]
        return Telling(database, session, wiring.tallies, alerts, days=self._settings.history_days, settled=settled, waits=waits)

    async def _run_loops(self, wiring: Wiring, telling: Telling) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(supervise("session", partial(self._keep_session, wiring), self._waits))]
                tasks += [group.create_task(lane.run()) for lane in self.lanes.values()]
                tasks += [group.create_task(supervise(name, loop, self._waits)) for name, loop in telling.loops]
                if self._settings.metrics_address is not None:
                    self._teller = Teller(wiring.session, FleetCounts(wiring), self._waits)
                    tasks.append(group.create_task(supervise("metrics", self._teller.run, self._waits)))
                self._notifier.ready()
                await self.stop.wait()
                await self._drain(wiring)
                await telling.end()
                await end_tasks(tasks)
        except* ConfigurationError as errors:
            raise errors.exceptions[0] from None

    async def _keep_session(self, wiring: Wiring) -> None:
        """A fault that only a person can fix ends a worker that has just started, but never one that has worked."""
        try:
            await wiring.session.run()
        except ConfigurationError as error:
            if not self._follows and not wiring.session.openings:
                raise
            raise DatabaseTroubleError(with_advice(error)) from error

    async def _drain(self, wiring: Wiring) -> None:
        lanes = self.lanes.values()
        grace_s, finish_grace_s = self._settings.shutdown_grace_s, self._waits.finish_grace_s
        log.info(events.WORKER_STOPPING, grace_s=grace_s)
        self._notifier.extend(self.end_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s + finish_grace_s):
                await asyncio.gather(*(lane.stop() for lane in lanes))
                await wiring.session.end(unsure=any(lane.unsure for lane in lanes))
        log.info(events.WORKER_STOPPED)

    def _say_waiting(self, reason: str) -> None:
        self._waiting_for = reason
        self._notifier.status(self.sentence)
        self._notifier.ready()

    def _say_started(self, schema: Schema) -> None:
        log.info(events.WORKER_STARTED, version=__version__, lanes=sorted(self.lanes))
        for found in self._configuration.names_without_effect():
            log.warning(events.UNKNOWN_SETTING, name=found.name, nearest=found.nearest, note=found.note)
        for crm in sorted({*schema.lanes, *schema.faults} - self.lanes.keys()):
            log.info(events.LANE_WITHOUT_CREDENTIALS, crm=crm, note="no credentials, so its contacts wait")
