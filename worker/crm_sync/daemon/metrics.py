"""The metrics of a process, where METRICS_LISTEN asks for some. Without it nothing is counted, served, or even imported."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from crm_sync.core.listen_address import ListenAddress
from crm_sync.core.waits import Waits

if TYPE_CHECKING:
    from crm_sync.telling.metrics_server import MetricsServer, View


class Metrics:
    """One for all workers of a process that follow each other, so that the counts go on over a reload."""

    def __init__(self) -> None:
        self._server: MetricsServer | None = None

    @asynccontextmanager
    async def shown(
        self, view: "View", address: ListenAddress | None, waits: Waits, hosts: Collection[str] = ()
    ) -> AsyncIterator[None]:
        """Those of this worker, while it runs. address: None shows them to nobody. hosts: names that METRICS_HOSTS allows."""
        if address is None:
            yield
            return
        if self._server is None:
            # An HTTP server takes memory and time to import, which a worker without metrics is spared.
            self._server = import_module("crm_sync.telling.metrics_server").MetricsServer()
        async with self._server.showing(view, address, waits, hosts=hosts):
            yield
