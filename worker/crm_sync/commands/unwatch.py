"""crm-sync unwatch: ends a `crm-sync watch`."""

import asyncio

import click

from crm_sync.core.waits import Waits
from crm_sync.environment import read
from crm_sync.reports.completing import crm_names
from crm_sync.reports.rights import database_for
from crm_sync.reports.table_changes import change
from crm_sync.reports.watched_columns import TO_WATCH, Watch, lane_of, read_watches
from crm_sync.settings import Settings
from crm_sync.table.schema import read_schema
from crm_sync.telling import deeds


@click.command()
@click.argument("crm", shell_complete=crm_names)
@click.make_pass_decorator(Waits, ensure=True)
def unwatch(waits: Waits, *, crm: str) -> None:
    """Ends the watch of CRM: its contacts are sent again only when they are flipped. Only the owner of the table may do this.

    \b
    Example:
      crm-sync unwatch brevo
    """
    name, before = asyncio.run(_unwatch(read(Settings), waits, crm))
    if before is None:
        click.echo(f"{name} watches no column: nothing to do.")
        return
    click.echo(
        f"{name} no longer watches {', '.join(before.columns)}: a changed contact is sent when it is flipped. "
        "What the watch has flipped so far is still delivered.\n"
        f"To watch again: crm-sync watch {name} --columns {','.join(before.columns)}"
    )


async def _unwatch(settings: Settings, waits: Waits, crm: str) -> tuple[str, Watch | None]:
    """The CRM, and the columns that were watched for it."""
    async with database_for(settings, TO_WATCH) as database:
        schema = await read_schema(database, crms=[crm])
        name = lane_of(schema, crm)
        before = (await read_watches(database, schema)).get(name)
        if before is not None:
            await change(database, schema.table.name, "unwatch_columns", name, alone=True, patience_s=waits.table_patience_s)
            deeds.tell(await deeds.note(database, deeds.COLUMNS_UNWATCHED, name, columns=[*before.columns]))
        return name, before
