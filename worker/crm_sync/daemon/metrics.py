"""The metrics of a process, if METRICS_LISTEN is set. Otherwise nothing is counted, served, or even imported."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from crm_sync.core.listen_address import ListenAddress
from crm_sync.core.waits import Waits

if TYPE_CHECKING:
    from crm_sync.telling.metrics_server import MetricsServer, View


class Metrics:
    """Shared by all workers of a process, so that the counts continue across a reload."""

    def __init__(self) -> None:
        self._server: MetricsServer | None = None

    @asynccontextmanager
    async def shown(
        self, view: "View", address: ListenAddress | None, waits: Waits, hosts: Collection[str] = ()
    ) -> AsyncIterator[None]:
        """Shows those of this worker while it runs. address: None serves nothing. hosts: names that METRICS_HOSTS allows."""
        if address is None:
            yield
            return
        if self._server is None:
            # Importing an HTTP server takes memory and time, which a worker without metrics saves.
            self._server = import_module("crm_sync.telling.metrics_server").MetricsServer()
        async with self._server.showing(view, address, waits, hosts=hosts):
            yield
