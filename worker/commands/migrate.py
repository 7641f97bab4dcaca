"""crm-sync migrate: the schema."""

import sys

import click

from worker import migrations
from worker.settings import Settings, read


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Say what is missing, change nothing; exit 1 if anything is.")
@click.option("--rollback", is_flag=True, help="Undo everything that crm-sync added.")
@click.option("--yes", is_flag=True, help="Do not ask before a rollback.")
def migrate(*, only_check: bool, rollback: bool, yes: bool) -> None:
    """Applies the migrations of sql/migrations to the database."""
    url = read(Settings).session_url
    if only_check and rollback:
        raise click.UsageError("--check and --rollback exclude each other")
    if only_check:
        missing = migrations.pending(url)
        for name in missing:
            click.echo(f"missing  {name}")
        if missing:
            click.echo("Run `crm-sync migrate`.")
            sys.exit(1)
        click.echo("Nothing is missing.")
    elif rollback:
        if not yes:
            click.confirm(
                "This drops the columns that crm-sync added, with the sync status and CRM id of every contact, and the table "
                "contacts itself if crm-sync created it. Go on?",
                abort=True,
            )
        for name in migrations.rollback(url):
            click.echo(f"undone   {name}")
    else:
        applied = migrations.migrate(url)
        for name in applied:
            click.echo(f"applied  {name}")
        if not applied:
            click.echo("Nothing to do: the schema is up to date.")
