"""crm-sync run: the daemon."""

import asyncio
from contextlib import suppress

import click
import uvloop

from crm_sync import log
from crm_sync.configuration import load_for_worker
from crm_sync.daemon.process import serve


@click.command()
def run() -> None:
    """Runs the worker until it is stopped.

    SIGTERM or SIGINT stops it without losing anything: requests in flight have SHUTDOWN_GRACE_S seconds to finish, and what
    was not sent goes back in line. A second signal ends it immediately, and loses nothing either. SIGHUP reads .env,
    credentials and MAPPING_FILE again. If the configuration of one CRM is not valid, that lane keeps its former one; if what
    all CRMs share is not valid, nothing changes.

    \b
    Example:
      crm-sync run
    """
    log.configure()
    configuration = load_for_worker()
    with suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(configuration, load_for_worker))
