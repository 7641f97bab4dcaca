"""crm-sync migrate: brings schema and table up to this version."""

import asyncio
import sys
from dataclasses import replace

import click

from crm_sync.adoption import migrations
from crm_sync.adoption.adopt import adopt
from crm_sync.commands.adopt import note_adoption, request_of, say, worker_roles
from crm_sync.environment import read
from crm_sync.postgres.pool import Database
from crm_sync.settings import Settings
from crm_sync.table.schema import read_schema


@click.command()
@click.option("--create", is_flag=True, help="Create the table contacts if there is none and CONTACTS_TABLE is not set.")
@click.option("--check", "only_check", is_flag=True, help="Print what is missing and change nothing; exit 1 if anything is.")
def migrate(*, only_check: bool, create: bool) -> None:
    """Brings the database up to date with this version: the schema crm_sync, and what is on the contacts table.

    It is `crm-sync adopt` with less output, for a deployment. It creates no contacts table unless asked. For a plan, or to
    undo it: crm-sync adopt --help.

    \b
    Example:
      crm-sync migrate --check
    """
    settings = read(Settings)
    if only_check:
        missing = migrations.pending(settings.session_url)
        for name in missing:
            click.echo(f"missing  {name}")
        if missing:
            click.echo("Run `crm-sync migrate`.")
            sys.exit(1)
        asyncio.run(_check_table(settings))
        click.echo("Nothing is missing.")
        return
    done = adopt(settings.session_url, replace(request_of(settings), create=create), say)
    if not done:
        click.echo("Nothing to do: the schema is up to date.")
        return
    note_adoption(settings.session_url, None, len(done))
    click.echo(f"Done: {len(done)} changes.")
    for role in asyncio.run(worker_roles(settings.session_url)):
        click.echo(f"Next, run what `crm-sync grants {role}` prints: a worker of this role needs rights on what is new.")


async def _check_table(settings: Settings) -> None:
    """Raises ConfigurationError that names what is missing."""
    async with Database(settings.session_url, size=1) as database:
        await read_schema(database, settings.contacts_table)
