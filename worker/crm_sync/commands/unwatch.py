"""crm-sync unwatch: the end of `crm-sync watch`."""

import asyncio

import click

from crm_sync.reports.table_changes import change
from crm_sync.reports.watched_columns import Watch, database_of_the_owner, lane_of, read_watches
from crm_sync.settings import Settings, read
from crm_sync.table.schema import read_schema


@click.command()
@click.argument("crm")
def unwatch(*, crm: str) -> None:
    """Ends the watch of CRM: its contacts go out again only when they are flipped. Only the owner of the table may do this."""
    name, before = asyncio.run(_unwatch(read(Settings), crm))
    if before is None:
        click.echo(f"{name} watches no column: nothing to do.")
        return
    click.echo(
        f"{name} no longer watches {', '.join(before.columns)}: a changed contact is sent when it is flipped. "
        "What the watch has flipped so far is still delivered.\n"
        f"To watch again: crm-sync watch {name} --columns {','.join(before.columns)}"
    )


async def _unwatch(settings: Settings, crm: str) -> tuple[str, Watch | None]:
    """The CRM, and what was watched for it."""
    async with database_of_the_owner(settings) as database:
        schema = await read_schema(database)
        name = lane_of(schema, crm)
        before = (await read_watches(database, schema)).get(name)
        if before is not None:
            await change(database, schema.table.name, "SELECT crm_sync.unwatch($1::text)", name, alone=True)
        return name, before
