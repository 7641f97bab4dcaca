"""crm-sync run: the daemon."""

import asyncio
from contextlib import suppress

import click
import uvloop

from worker import log
from worker.crm.registry import configured
from worker.daemon import serve
from worker.settings import Settings, read


@click.command()
def run() -> None:
    """Runs the worker until it is stopped.

    SIGTERM or SIGINT drains it: requests under way get SHUTDOWN_GRACE_S seconds to end, what was not sent goes back
    in line. A second signal ends it at once; nothing is lost by that either.
    """
    log.configure()
    settings = read(Settings)
    accounts = configured()
    with suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, accounts))
