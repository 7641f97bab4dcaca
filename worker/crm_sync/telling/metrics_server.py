"""GET /metrics, /livez and /readyz of one worker. A request causes no query: the answer is already known.

/metrics    for Prometheus, in its text format or in OpenMetrics
/livez      200 while the loops move; 503 asks the supervisor to restart the worker
/readyz     200 while the worker has its session with the database, and is not stopping. A lane that only a person can fix
            fails neither, because the others deliver

Against DNS rebinding, a request must name a host that is ours (`crm_sync.core.host_names`): an IP address, localhost, or, on a
network address, a name that cannot exist on the internet. METRICS_HOSTS allows further names. A Unix socket accepts any.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from crm_sync.core.host_names import is_ours
from crm_sync.core.listen_address import ListenAddress
from crm_sync.core.waits import USUAL, Waits
from crm_sync.telling.counts import Told
from crm_sync.telling.listening import serve
from crm_sync.telling.metrics import Metrics
from crm_sync.telling.pulse import Pulse
from crm_sync.telling.shared_metrics import SharedMetrics

NOT_OURS = "This host name is not one of the worker's. Add it to METRICS_HOSTS if it is meant.\n"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class View(Protocol):
    """What a worker shows of itself. Reading it costs nothing."""

    @property
    def moving(self) -> bool: ...

    @property
    def session_up(self) -> bool: ...

    @property
    def stopping(self) -> bool: ...

    @property
    def in_flight(self) -> Mapping[str, int]: ...

    @property
    def told(self) -> Told | None: ...


class MetricsServer:
    """For a process: it shows whichever worker runs, and counts across all of them."""

    def __init__(self) -> None:
        self._view: View | None = None
        self._pulse: Pulse | None = None
        self._registry = CollectorRegistry()
        self._metrics = Metrics(self._registry)
        self._registry.register(SharedMetrics(lambda: None if self._view is None else self._view.told))

    @asynccontextmanager
    async def showing(
        self, view: View, address: ListenAddress, waits: Waits = USUAL, *, hosts: Collection[str] = ()
    ) -> AsyncIterator[None]:
        """Serves this worker while it runs. hosts: further names that requests may use."""
        pulse = Pulse(lambda: view.moving, waits)
        self._view, self._pulse = view, pulse
        self._metrics.listen()
        tasks = [asyncio.create_task(pulse.run()), asyncio.create_task(serve(self._application(address, hosts), address, waits))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._metrics.cease()
            self._view = self._pulse = None

    def _application(self, address: ListenAddress, hosts: Collection[str]) -> web.Application:
        scraped = make_aiohttp_handler(self._registry)

        async def metrics(request: web.Request) -> web.StreamResponse:
            self._refresh()
            return await scraped(request)

        app = web.Application(middlewares=[] if address.path else [_for(hosts, is_loopback=address.is_loopback)])
        app.router.add_get("/metrics", metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        return app

    def _refresh(self) -> None:
        view, pulse = self._view, self._pulse
        if view is not None and pulse is not None:
            self._metrics.show(session_up=view.session_up, lag_s=pulse.lag_s, in_flight=view.in_flight)

    async def _livez(self, _request: web.Request) -> web.Response:
        alive = self._pulse is not None and self._pulse.alive
        return _said(alive, "all loops run" if alive else "a loop has not run for too long")

    async def _readyz(self, _request: web.Request) -> web.Response:
        view = self._view
        ready = view is not None and view.session_up and not view.stopping
        return _said(
            ready, "there is a session with the database" if ready else "stopping, or without a session with the database"
        )


def _for(hosts: Collection[str], *, is_loopback: bool) -> Middleware:
    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        # HTTP/1.0 need not send one; browsers always do.
        named = request.headers.get("Host")
        if named is not None and not is_ours(named, hosts, is_loopback=is_loopback):
            raise web.HTTPMisdirectedRequest(text=NOT_OURS)
        return await handler(request)

    return guarded


def _said(well: bool, sentence: str) -> web.Response:
    return web.Response(status=200 if well else 503, text=f"{sentence}\n")
