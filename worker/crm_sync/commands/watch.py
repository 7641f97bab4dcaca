"""crm-sync watch: makes the database flip contacts by itself."""

import asyncio
from collections.abc import Collection, Sequence

import asyncpg
import click

from crm_sync.configuration import Configuration, load
from crm_sync.core.waits import Waits
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.translation import reason
from crm_sync.reports.completing import crm_names
from crm_sync.reports.layout import wrapped
from crm_sync.reports.mapped_columns import columns_read
from crm_sync.reports.rights import database_for
from crm_sync.reports.table_changes import change
from crm_sync.reports.watched_columns import TO_WATCH, lane_of, read_watches
from crm_sync.table.schema import Schema, read_schema
from crm_sync.telling import deeds

_WRONG_COLUMN = (asyncpg.UndefinedColumnError, asyncpg.InvalidColumnReferenceError)

HAPPENS_NOW = (
    "From now on, a contact that is Complete is sent again when one of these changes, no matter who changes it. Several changes "
    "while it is in line are one delivery; a change while it is in flight is delivered after it. What changed before now is not "
    "sent: set those contacts to Queued."
)


@click.command()
@click.argument("crm", shell_complete=crm_names)
@click.option("--columns", required=True, metavar="NAMES", help="Comma-separated columns whose changes are sent to CRM.")
@click.make_pass_decorator(Waits, ensure=True)
def watch(waits: Waits, *, crm: str, columns: str) -> None:
    """Sends contacts to CRM again whenever one of these columns changes, until `crm-sync unwatch CRM`.

    The database itself flips them, in the UPDATE that changes them. Contacts that were never wanted in CRM, were withdrawn or are
    in Error stay as they are. Running it again replaces the watched columns. Only the owner of the table may do this.

    \b
    Example:
      crm-sync watch brevo --columns email,first_name
    """
    wanted = list(dict.fromkeys(name for part in columns.split(",") if (name := part.strip())))
    for line in asyncio.run(_watch(load(), waits, crm, wanted)):
        click.echo(line)


async def _watch(configuration: Configuration, waits: Waits, crm: str, columns: Sequence[str]) -> list[str]:
    """The messages to the user."""
    settings = configuration.settings
    async with database_for(settings, TO_WATCH) as database:
        schema = await read_schema(database, crms=[crm])
        name = lane_of(schema, crm)
        sent = await columns_read(database, schema, configuration, name)
        before = (await read_watches(database, schema)).get(name)
        await _change(database, schema, name, columns, waits.table_patience_s)
        deeds.tell(await deeds.note(database, deeds.COLUMNS_WATCHED, name, columns=[*columns]))
    formerly = f" Before, it watched {', '.join(before.columns)}." if before else ""
    return [
        f"{name} watches {', '.join(columns)}.{formerly}",
        wrapped(HAPPENS_NOW),
        *_notes(columns, sent, "MAPPING_FILE" if settings.mapping_file else "the built-in mapping"),
        f"To end it: crm-sync unwatch {name}",
    ]


async def _change(database: Database, schema: Schema, crm: str, columns: Sequence[str], patience_s: float) -> None:
    try:
        await change(database, schema.table.name, "watch_columns", crm, columns, alone=False, patience_s=patience_s)
    except ConfigurationError as error:
        if isinstance(error.__cause__, _WRONG_COLUMN):
            raise click.BadParameter(reason(error.__cause__), param_hint="--columns") from error
        raise


def _notes(columns: Sequence[str], sent: Collection[str], mapping: str) -> list[str]:
    """Where the watched columns and those that the mapping sends differ."""
    unsent = [column for column in columns if column not in sent]
    unwatched = [column for column in sent if column not in columns]
    notes = []
    if unsent:
        notes.append(f"Note: {mapping} does not read {', '.join(unsent)}: a change there sends what was sent before.")
    if unwatched:
        notes.append(f"Note: {mapping} also reads {', '.join(unwatched)}: a change there alone sends nothing.")
    return notes
