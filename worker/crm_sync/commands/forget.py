"""crm-sync forget: removes a contact's key from the history, at once."""

import asyncio
from collections import Counter
from collections.abc import Mapping

import click

from crm_sync.environment import read
from crm_sync.postgres.statements import render
from crm_sync.reports.layout import wrapped
from crm_sync.reports.named_contact import not_blank
from crm_sync.reports.rights import Needs, database_for
from crm_sync.settings import Settings
from crm_sync.table.one_contact import read_key
from crm_sync.table.schema import read_schema
from crm_sync.telling import deeds

PATIENCE_S = 60.0
TO_FORGET = Needs(
    "the role {role} of DATABASE_URL may not change the history ({refusal}). It needs the rights of a worker: let the owner run "
    "what `crm-sync grants {role}` prints",
    absent="there is no history in this database yet: run `crm-sync migrate`",
)


@click.command()
@click.argument("key")
def forget(*, key: str) -> None:
    """Removes the key KEY from every line of history, with the reasons and ids that may lead to the contact.

    The lines stay, without a name. The contact's row and its records in the CRMs stay too, and what is sent from now on has
    lines again. If contacts are erased (`crm-sync on-delete CRM erase`), the deletion does this.

    \b
    Example:
      crm-sync forget 4711
    """
    not_blank(key, "KEY", "a key")
    lines, problem = asyncio.run(_forget(read(Settings), key))
    if not lines:
        click.echo("Nothing to forget: no line of history has this key.")
        return
    counts = ", ".join(f"{count:,} of {crm}" for crm, count in sorted(lines.items()))
    click.echo(wrapped(f"Forgotten: {counts}. These lines no longer name anyone."))
    deeds.tell(problem)


async def _forget(settings: Settings, key: str) -> tuple[Mapping[str, int], str | None]:
    """Lines by CRM; and a sentence if this could not be recorded."""
    async with database_for(settings, TO_FORGET, timeout_s=PATIENCE_S) as database:
        table = next(iter((await read_schema(database)).lanes.values()))
        rows = await database.fetch(render("forget_contact", table.variables), [await read_key(database, table, key)])
        lines = Counter(row["crm"] for row in rows)
        problem = await deeds.note(database, deeds.CONTACT_FORGOTTEN, lines=lines.total()) if lines else None
        return lines, problem
