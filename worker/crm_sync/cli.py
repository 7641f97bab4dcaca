"""The command line."""

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

import click
from click.shell_completion import CompletionItem

from crm_sync import __version__
from crm_sync.errors import ConfigurationError, CrmSyncError, ForbiddenError
from crm_sync.exit_codes import ENDS_WITH_ITS_READER
from crm_sync.standard_streams import StandardStreams

EXIT_FAILED = 1
EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h: systemd is told not to restart on it

# What commands do not say themselves of the right that they need.
LACKING = (
    "The role of DATABASE_URL lacks a right: use the owner of the table, or let the owner run what `crm-sync grants ROLE` prints"
)

# Each with a summary that fits next to it at 80 columns, so that the list imports none of the commands.
SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Run": {
        "run": "Run the worker until it is stopped.",
        "console": "Serve the web console and the API.",
        "demo": "Watch it work: an embedded PostgreSQL and sandbox CRMs.",
        "sandbox": "Run a fake CRM to try your table with.",
    },
    "Look": {
        "status": "Show what each CRM is doing, and why contacts failed.",
        "check": "Check settings, database, rights, mapping and credentials.",
        "settings": "List every setting, its value and where it comes from.",
        "why": "Say why a contact is, or is not, in each CRM.",
        "alerts": "List what is wrong, since when, and who was told.",
        "failed": "List failed contacts, a page at a time.",
        "history": "List the deliveries of a contact, with their outcomes.",
        "compare": "Say which delivered contacts differ in a CRM.",
        "preview": "Show the request a contact would cause, without sending.",
        "errors": "Explain a failure code, and what to do about it.",
    },
    "Repair": {
        "retry": "Send failed contacts again.",
        "sync": "Send one contact now, and show request and answer.",
        "pause": "Stop calling a CRM, for all workers.",
        "resume": "End a pause.",
    },
    "Set up": {
        "init": "Write a .env and a mapping for your table, then check.",
        "adopt": "Put crm-sync on a table in use, or take it off again.",
        "migrate": "Bring the database up to date with this version.",
        "grants": "Print the GRANTs of a worker, an application or a console.",
        "token": "Make a token for the console or the API.",
        "match": "Fill in the ids of contacts that a CRM already has.",
        "watch": "Send contacts again whenever certain columns change.",
        "unwatch": "End a watch.",
        "forget": "Remove a contact's key from the history.",
        "on-delete": "Set what happens to the record when a row is deleted.",
        "trace": "Turn the trace ids of flips on or off.",
        "clearing": "Empty fields in a CRM once they are empty in the row.",
        "n8n-workflow": "Print a workflow to import into n8n.",
        "systemd": "Print a hardened systemd unit.",
        "completion": "Print the completion script of a shell.",
    },
}
COMMANDS = tuple(name for section in SECTIONS.values() for name in section)


class _Commands(click.Group):
    """Each command is imported when it is used: without the others' dependencies a worker starts sooner, and is 11 MB smaller."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"crm_sync.commands.{name}"), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            near = _hints().nearest(name, COMMANDS)
            ctx.fail(f"No such command '{name}'. " + (f"Did you mean {near}?" if near else "`crm-sync --help` lists them."))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if found := _hints().hint(error):
                raise click.UsageError(f"{error.message.rstrip('.')}. {found}", error.ctx) from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(map(len, COMMANDS))
        for heading, commands in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:{longest}}", summary) for name, summary in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        summaries = {name: summary for section in SECTIONS.values() for name, summary in section.items()}
        found = [CompletionItem(name, help=summary) for name, summary in summaries.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


def _hints() -> ModuleType:
    """Imported when something was typed wrong only."""
    return import_module("crm_sync.reports.usage_hints")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="crm-sync")
@click.pass_context
def crm_sync(context: click.Context) -> None:
    """Keeps CRMs in step with your contacts table.

    `crm-sync COMMAND --help` explains a command, with an example.
    """
    streams = context.find_object(StandardStreams)
    if streams is not None and context.invoked_subcommand in ENDS_WITH_ITS_READER:
        streams.end_with_the_reader()


def main() -> None:
    """Runs a command. Our own errors are printed as one plain sentence, without a traceback."""
    streams = StandardStreams()
    code = _run(streams)
    if problem := streams.lost():
        click.echo(f"crm-sync: {problem}", err=True)
        code = code or EXIT_FAILED
    sys.exit(code)


def _run(streams: StandardStreams) -> int | str | None:
    """The exit code."""
    try:
        crm_sync(prog_name="crm-sync", obj=streams)
    except SystemExit as end:
        return end.code
    except ForbiddenError as error:
        click.echo(f"crm-sync: {error}. {LACKING}", err=True)
        return EXIT_CONFIGURATION
    except ConfigurationError as error:
        click.echo(f"crm-sync: {error}", err=True)
        return EXIT_CONFIGURATION
    except CrmSyncError as error:
        click.echo(f"crm-sync: {error}", err=True)
    return EXIT_FAILED
