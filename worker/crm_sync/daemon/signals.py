"""The process: its signals, and what it reports to systemd.

SIGTERM, SIGINT    drains and ends; a second one ends it at once
SIGHUP             reads the configuration again, and checks the new one while the old worker runs. If something is wrong that
                   every lane needs, or this cannot be determined because the database is unreachable, the old configuration
                   stays as a whole; if something is wrong with one CRM, that CRM keeps its old configuration. Otherwise the
                   old worker drains as for a stop, its unsent contacts go back in line without an attempt, and the new worker
                   starts
"""

import asyncio
import signal
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import structlog

from crm_sync import events
from crm_sync.daemon.systemd import Notifier
from crm_sync.errors import CrmSyncError

log = structlog.get_logger()


class Worker(Protocol):
    """One configuration at work: a Daemon."""

    stop: asyncio.Event

    @property
    def moving(self) -> bool: ...

    @property
    def sentence(self) -> str: ...

    async def check(self) -> None: ...

    async def run(self) -> None: ...


CurrentWorker = TypeVar("CurrentWorker", bound=Worker)


class Service(Generic[CurrentWorker]):
    """read_again: returns a worker with the current configuration, to replace the running one. Raises ConfigurationError.
    on_stop: called with the running worker when it is told to stop, and whether it was told before: at once, in the middle of
    anything, and then by the event loop.
    """

    def __init__(
        self,
        first: CurrentWorker,
        read_again: Callable[[CurrentWorker], CurrentWorker],
        notifier: Notifier,
        on_stop: Callable[[CurrentWorker, bool], None] = lambda worker, now: None,
    ) -> None:
        self._worker = first
        self._next: CurrentWorker | None = None
        self._read_again = read_again
        self._on_stop = on_stop
        self._notifier = notifier
        self._stopping = False
        self._told = False
        self._asked = asyncio.Event()

    async def run(self) -> None:
        """Until stopped. Raises ConfigurationError, and CancelledError after a second signal."""
        loop = asyncio.get_running_loop()
        running = asyncio.current_task()

        def stop() -> None:
            if self._stopping and running is not None:
                running.cancel()
            self._stop()

        def told(*_: object) -> None:
            before, self._told = self._told, True  # first: the next signal may come in the middle of this one
            self._on_stop(self._worker, before)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
            # The loop comes to its handler only if nothing keeps it busy. Python runs this one in the middle of anything.
            signal.signal(number, told)
        loop.add_signal_handler(signal.SIGHUP, self._asked.set)
        beside = [
            asyncio.create_task(self._notifier.keep_informed(lambda: self._worker.moving, lambda: self._worker.sentence)),
            asyncio.create_task(self._reload_when_asked()),
        ]
        try:
            await self._worker.run()
            while self._next is not None and not self._stopping:
                self._worker, self._next = self._next, None
                log.info(events.CONFIGURATION_RELOADED)
                await self._worker.run()
        finally:
            for task in beside:
                task.cancel()

    def _stop(self) -> None:
        self._on_stop(self._worker, self._stopping)
        self._stopping = True
        self._worker.stop.set()
        self._notifier.stopping()

    async def _reload_when_asked(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._notifier.reloading()
            try:
                candidate = self._read_again(self._worker)
                await candidate.check()
            except CrmSyncError as error:
                self._refuse(str(error))
            except Exception as error:  # plug-ins read their settings too
                log.exception(events.LOOP_FAILED, loop="reload")
                self._refuse(type(error).__name__)
            else:
                self._next = candidate
                self._worker.stop.set()

    def _refuse(self, reason: str) -> None:
        log.error(events.CONFIGURATION_REFUSED, reason=reason, note="the worker keeps its former configuration")
        self._notifier.ready()
