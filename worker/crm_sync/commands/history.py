"""crm-sync history: the outcomes of one contact."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime

import click

from crm_sync.environment import read
from crm_sync.errors import DeclinedError
from crm_sync.postgres.statements import query, render
from crm_sync.reports.found_contacts import find_contacts
from crm_sync.reports.history_report import Attempt
from crm_sync.reports.http_report import harmless
from crm_sync.reports.installed import installed
from crm_sync.reports.layout import wrapped
from crm_sync.reports.named_contact import NamedContact, named_contact
from crm_sync.reports.rights import Needs, database_for
from crm_sync.settings import Settings
from crm_sync.table.one_contact import read_key
from crm_sync.table.schema import inspect_schema

PATIENCE_S = 60.0  # the address may have no index, and the table many millions of rows
PAGE, LARGEST_PAGE = 50, 10_000
TO_READ = Needs(
    "the role {role} of DATABASE_URL may not read the history ({refusal}). It needs the rights of a worker: let the owner run "
    "what `crm-sync grants {role}` prints",
    absent="there is no history in this database yet: run `crm-sync migrate`",
)


@click.command()
@named_contact
@click.option("--crm", metavar="CRM", help="For this CRM only.")
@click.option(
    "--limit",
    default=PAGE,
    show_default=True,
    metavar="N",
    type=click.IntRange(1, LARGEST_PAGE),
    help="How many lines, the latest first.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def history(*, contact: NamedContact, crm: str | None, limit: int, as_json: bool) -> None:
    """Lists what became of one contact, the latest first: outcome, reason, how long it took, and the CRM's id of the request.

    --key takes an id in a CRM too, and the key of a contact that is deleted. HISTORY_DAYS says how long lines are kept. Exits 1
    if there is no such contact, and history has nothing of the key either.

    \b
    Example:
      crm-sync history --email ada@example.com --crm brevo
    """
    attempts, now = asyncio.run(_history(read(Settings), contact, crm, limit))
    if as_json:
        click.echo(json.dumps({"history": [attempt.as_object() for attempt in attempts]}, indent=2))
        return
    for attempt in attempts:
        for line in attempt.lines(now):
            click.echo(line)
    if not attempts:
        click.echo(wrapped("History has nothing on this contact: it was not sent in the days that are kept, or was forgotten."))


async def _history(settings: Settings, contact: NamedContact, crm: str | None, limit: int) -> tuple[Sequence[Attempt], datetime]:
    async with database_for(settings, TO_READ, timeout_s=PATIENCE_S) as database:
        schema = await inspect_schema(database, settings.contacts_table)
        tables = {**schema.lanes, **schema.countable}
        name = installed(crm, [*schema.lanes, *schema.faults], "--crm") if crm else None
        if not tables:
            raise DeclinedError("no CRM's columns are complete, so no contact can be found: run `crm-sync check`")
        found = await find_contacts(database, tables, contact, look_s=PATIENCE_S)
        # A key means the same in every CRM. A key that no row has any more may still have a history.
        table, keys = next(iter(tables.values())), list(found.keys)
        if not keys and contact.key is not None:
            keys = [contact.key]
        try:
            ids = [await read_key(database, table, key) for key in keys]
        except DeclinedError:  # not a possible key of this table
            ids = []
        rows = await database.fetch(render("list_history", table.variables), ids, name, limit) if ids else []
        is_in_history = rows or (contact.key is not None and found.note is not None)
        if not found.keys and not is_in_history:
            looked_for = ", ".join([*found.looked_for, "a line of history"] if contact.key is not None else found.looked_for)
            raise click.ClickException(harmless(f"{contact.absent} Looked for: {looked_for}."))
        now: datetime = await database.value(query("read_clock"))
        return [Attempt(dict(row)) for row in rows], now
