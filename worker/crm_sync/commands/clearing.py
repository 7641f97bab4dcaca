"""crm-sync clearing: turns on or off the columns that record which fields were sent, without which no field is cleared."""

import asyncio

import click

from crm_sync.core.waits import Waits
from crm_sync.environment import read
from crm_sync.postgres.pool import Database
from crm_sync.reports.completing import crm_names
from crm_sync.reports.rights import Needs, explained
from crm_sync.reports.table_changes import change
from crm_sync.reports.watched_columns import lane_of
from crm_sync.settings import Settings
from crm_sync.table.clearing import column_of, record_column_of
from crm_sync.table.schema import inspect_schema

TO_SET = Needs(
    lacking="only the owner of the contacts table can set this: its role in DATABASE_URL",
    absent="this database has no crm_sync.set_clearing yet: run `crm-sync migrate`",
)


@click.command()
@click.argument("crm", shell_complete=crm_names)
@click.argument("state", required=False, type=click.Choice(["on", "off"]))
@click.make_pass_decorator(Waits, ensure=True)
def clearing(waits: Waits, *, crm: str, state: str | None) -> None:
    """Turns clearing on or off for a CRM; without STATE, prints what is set.

    On adds two columns to the contacts table in which deliveries record which fields they have sent, and to which record. A
    field that becomes empty in the row is then emptied in the CRM, if the mapping says so: empty = "clear". Off drops the
    columns, and what was recorded; take empty = "clear" out of the mapping and reload the workers before that.

    Run it as the owner of the table. It locks the table for a moment, and no writer waits longer. The roles of workers get the
    rights that they need; for the role of a console, run crm-sync grants ROLE --console again.

    \b
    Example:
      crm-sync clearing brevo on
    """
    name, table, before = asyncio.run(_set(read(Settings), waits, crm, state))
    if state is None:
        click.echo("on" if before else "off")
    elif state == "on":
        click.echo(
            f"Clearing is on for {name}. Deliveries record in {column_of(name)} of {table} which fields they sent, and to which "
            f"record in {record_column_of(name)}. The workers' roles may write both; for a console, run "
            "`crm-sync grants ROLE --console` again.\n"
            f'Choose the fields: empty = "clear" in MAPPING_FILE, or {name.upper()}_EMPTY=clear for all. Then reload the workers '
            "(systemctl reload, or SIGHUP). Values sent before that are never cleared."
        )
    else:
        click.echo(f"Clearing is off for {name}." if before else f"Clearing is already off for {name}.")


async def _set(settings: Settings, waits: Waits, crm: str, state: str | None) -> tuple[str, str, bool]:
    """The CRM, the table, and whether it was on. Raises ConfigurationError or DatabaseTroubleError."""
    async with Database(settings.session_url, size=1) as database, explained(database, TO_SET):
        schema = await inspect_schema(database, settings.contacts_table)
        name, table = lane_of(schema, crm), schema.table
        before = column_of(name) in table.types
        if state is not None and not (state == "off" and not before):
            await change(database, table.name, "set_clearing", name, state == "on", alone=True, patience_s=waits.table_patience_s)
        return name, table.name, before
