"""crm-sync run: the daemon."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import click
import uvloop

from crm_sync import log
from crm_sync.crm.account import Account
from crm_sync.crm.registry import configured, known
from crm_sync.daemon.daemon import serve
from crm_sync.settings import Settings, read, read_lane


@click.command()
def run() -> None:
    """Runs the worker until it is stopped.

    SIGTERM or SIGINT drains it: requests under way get SHUTDOWN_GRACE_S seconds to end, what was not sent goes back
    in line. A second signal ends it at once; nothing is lost by that either. SIGHUP reads .env, credentials and MAPPING_FILE
    again; what is wrong is refused, and the worker goes on as before.
    """
    log.configure()
    settings, accounts = configuration()
    with suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, accounts, configuration))


def configuration() -> tuple[Settings, Mapping[str, Account]]:
    """Everything that is read without the database. Raises ConfigurationError."""
    for crm in known():
        read_lane(crm)
    return read(Settings), configured()
