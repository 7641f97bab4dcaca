"""crm-sync trace: whether flips carry a trace context."""

import asyncio

import click

from crm_sync.core.traceparent import COLUMN
from crm_sync.core.waits import Waits
from crm_sync.environment import read
from crm_sync.postgres.pool import Database
from crm_sync.reports.rights import Needs, explained
from crm_sync.reports.table_changes import change
from crm_sync.settings import Settings
from crm_sync.table.schema import inspect_schema

TO_SET = Needs(
    lacking="only the owner of the contacts table can set this: its role in DATABASE_URL",
    absent="this database has no crm_sync.set_tracing yet: run `crm-sync migrate`",
)


@click.command()
@click.argument("state", required=False, type=click.Choice(["on", "off"]))
@click.make_pass_decorator(Waits, ensure=True)
def trace(waits: Waits, *, state: str | None) -> None:
    """Turns traces on or off; without STATE, says what is set.

    On: the contacts table gets a column, and each flip writes to it what its transaction has said: SET LOCAL crm_sync.traceparent
    = '...'. Off: the column is dropped, and a flip pays nothing. Run it as the owner of the table. It locks the table for a
    moment, and no writer waits longer than that.

    \b
    Example:
      crm-sync trace on
    """
    table, before = asyncio.run(_set(read(Settings), waits, state))
    if state is None:
        click.echo("on" if before else "off")
    elif state == "on":
        click.echo(
            f"Traces are on: flips fill {COLUMN} of {table}, and the roles of workers may read it.\n"
            "Reload the workers, so that they do: systemctl reload, or SIGHUP. They send traces where "
            "OTEL_EXPORTER_OTLP_ENDPOINT is set."
        )
    else:
        click.echo("Traces are off." if before else "Traces were off already.")


async def _set(settings: Settings, waits: Waits, state: str | None) -> tuple[str, bool]:
    """The table, and whether tracing was on. Raises ConfigurationError or DatabaseTroubleError."""
    async with Database(settings.session_url, size=1) as database, explained(database, TO_SET):
        table = (await inspect_schema(database, settings.contacts_table)).table
        before = COLUMN in table.types
        if state is not None and not (state == "off" and not before):
            await change(database, table.name, "set_tracing", state == "on", alone=True, patience_s=waits.table_patience_s)
        return table.name, before
