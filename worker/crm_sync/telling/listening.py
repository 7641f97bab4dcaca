"""The address that metrics are served at, held for as long as the worker runs.

If it is not available (the port is taken by another program, most often the previous worker), deliveries are not delayed: each
reason is logged once, and it is tried again.
"""

import asyncio
import errno
import os
import socket
from contextlib import suppress
from pathlib import Path

import structlog
from aiohttp import web

from crm_sync import events
from crm_sync.core.listen_address import ListenAddress
from crm_sync.core.waits import USUAL, Waits
from crm_sync.postgres.backoff import Backoff
from crm_sync.telling.server_log import quote_nothing

IDLE_S = 300.0  # of a connection, and for the headers of a request: a scraper comes back within that
CLOSE_S = 1.0  # for answers in flight when the worker ends
EVERYBODY = 0o666  # permissions of the socket: like a port, open to everyone on this machine; its folder can restrict that

log = structlog.get_logger()


async def serve(app: web.Application, address: ListenAddress, waits: Waits = USUAL) -> None:
    """Runs for as long as needed. Raises nothing of its own."""
    quote_nothing()
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=IDLE_S, shutdown_timeout=CLOSE_S)
    await runner.setup()
    backoff = Backoff.of_a_person(waits)
    told, served = "", False
    try:
        while True:
            try:
                await _site(runner, address).start()
                break
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else type(error).__name__
                if reason != told:
                    told = reason
                    note = "contacts are still delivered; it is tried again, and METRICS_LISTEN says where"
                    log.error(events.METRICS_UNAVAILABLE, address=str(address), reason=reason, note=note)  # noqa: TRY400 (no bug)
                await asyncio.sleep(backoff.pause_s())
        if address.path:
            Path(address.path).chmod(EVERYBODY)  # noqa: ASYNC240 (a socket in memory)
        served = True
        log.info(events.METRICS_SERVED, address=str(address))
        await asyncio.get_running_loop().create_future()
    finally:
        if served and address.path:
            with suppress(OSError):  # while it is ours: a waiting worker takes it as soon as it does not answer
                Path(address.path).unlink()  # noqa: ASYNC240
        await runner.cleanup()


def _site(runner: web.AppRunner, address: ListenAddress) -> web.BaseSite:
    """Raises OSError if another process answers on the socket: otherwise it would be taken over silently."""
    if not address.path:
        return web.TCPSite(runner, address.host, address.port)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address.path)
        except BlockingIOError:
            pass
        except OSError:
            return web.UnixSite(runner, address.path)
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
