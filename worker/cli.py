"""The command line."""

import sys

import click

from worker import __version__
from worker.commands.check import check
from worker.commands.demo import demo
from worker.commands.errors import errors
from worker.commands.grants import grants
from worker.commands.migrate import migrate
from worker.commands.n8n_workflow import n8n_workflow
from worker.commands.run import run
from worker.commands.status import status
from worker.commands.systemd import systemd
from worker.errors import ConfigurationError, CrmSyncError

EXIT_FAILED = 1
EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h: systemd is told not to restart on it


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="crm-sync")
def crm_sync() -> None:
    """Keeps CRMs in step with your contacts table."""


for command in (run, migrate, status, check, errors, grants, n8n_workflow, systemd, demo):
    crm_sync.add_command(command)


def main() -> None:
    """Runs a command. Errors of ours are one plain sentence, without a traceback."""
    try:
        crm_sync(prog_name="crm-sync")
    except ConfigurationError as error:
        click.echo(f"crm-sync: {error}", err=True)
        sys.exit(EXIT_CONFIGURATION)
    except CrmSyncError as error:
        click.echo(f"crm-sync: {error}", err=True)
        sys.exit(EXIT_FAILED)
