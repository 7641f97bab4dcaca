"""The command line."""

import os
import sys
from importlib import import_module

import click

from crm_sync import __version__
from crm_sync.errors import ConfigurationError, CrmSyncError

EXIT_FAILED = 1
EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h: systemd is told not to restart on it

COMMANDS = (
    *(
        "run",
        "adopt",
        "migrate",
        "status",
        "failed",
        "history",
        "retry",
        "preview",
        "sync",
        "pause",
        "resume",
        "watch",
        "unwatch",
        "on-delete",
        "forget",
    ),
    *("check", "errors", "grants", "n8n-workflow", "systemd", "demo"),
)


class _Commands(click.Group):
    """Each is imported when it is asked for: without what the others need a worker starts sooner, and is 11 MB smaller."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"crm_sync.commands.{name}"), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="crm-sync")
def crm_sync() -> None:
    """Keeps CRMs in step with your contacts table."""


def _open_closed_streams() -> None:
    """A standard stream that whoever started us has closed leads nowhere. Else the first file or socket would get its number."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def main() -> None:
    """Runs a command. Errors of ours are one plain sentence, without a traceback."""
    _open_closed_streams()
    try:
        crm_sync(prog_name="crm-sync")
    except ConfigurationError as error:
        click.echo(f"crm-sync: {error}", err=True)
        sys.exit(EXIT_CONFIGURATION)
    except CrmSyncError as error:
        click.echo(f"crm-sync: {error}", err=True)
        sys.exit(EXIT_FAILED)
