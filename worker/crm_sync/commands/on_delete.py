"""crm-sync on-delete: what happens to a deleted contact's record in a CRM."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import click

from crm_sync.core.waits import Waits
from crm_sync.environment import read
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.reports.completing import crm_names
from crm_sync.reports.lane_state import read_lane_state
from crm_sync.reports.rights import Needs, explained
from crm_sync.reports.table_changes import change
from crm_sync.reports.table_notes import delete_rule_notes
from crm_sync.settings import Settings
from crm_sync.telling import deeds

COUNTED_TO = 10_000  # by count_tombstones.sql
POLICIES = ("keep", "delete", "erase")
MEANINGS = {
    "keep": "The record of a deleted contact stays in {crm}.",
    "delete": "The record of a contact that is deleted from now on is deleted in {crm} too.",
    "erase": "The record of a contact that is deleted from now on is erased in {crm} for good.",
}


TO_SET = Needs("only the owner of the contacts table can set this: its role in DATABASE_URL")


class Policy(NamedTuple):
    """tombstones: deletions still to be sent to the CRM, including those given up, whatever the policy is now.

    notes: why there may never be any deletion.
    """

    on_delete: str
    tombstones: int
    notes: Sequence[str]


@click.command()
@click.argument("crm", shell_complete=crm_names)
@click.argument("policy", required=False, type=click.Choice(POLICIES))
@click.make_pass_decorator(Waits, ensure=True)
def on_delete(waits: Waits, *, crm: str, policy: str | None) -> None:
    """Sets what happens to the record in CRM when a contact's row is deleted; without a policy, shows the current one.

    keep: it stays. delete: it is deleted; HubSpot can restore it for 90 days. erase: for good. Run it as the owner of the table:
    it adds a trigger or drops it, and no writer waits longer than a moment.

    \b
    Example:
      crm-sync on-delete hubspot erase
    """
    name, before, after = asyncio.run(_set(read(Settings), waits, crm, policy))
    if policy is None:
        click.echo(f"{name}: {after.on_delete}")
    else:
        click.echo(MEANINGS[policy].format(crm=name) + (" As before." if before.on_delete == policy else ""))
    for note in after.notes:
        click.echo(f"But {note}.")
    if after.tombstones:
        many = f"more than {COUNTED_TO:,}" if after.tombstones > COUNTED_TO else f"{after.tombstones:,}"
        click.echo(f"{name} has not been told yet of {many} contacts that were deleted before: `crm-sync status`.")


async def _set(settings: Settings, waits: Waits, crm: str, policy: str | None) -> tuple[str, Policy, Policy]:
    """The CRM's name, and the policy before and after. Raises click.BadParameter, ConfigurationError or DatabaseTroubleError."""
    async with Database(settings.session_url, size=1) as database:
        name = (await read_lane_state(database, crm)).crm
        before = await _read(database, name)
        if policy is None:
            return name, before, before
        adopted = (await database.fetch(query("read_adoption")))[0]
        async with explained(database, TO_SET):
            await change(database, adopted["name"], "set_on_delete", name, policy, alone=False, patience_s=waits.table_patience_s)
        deeds.tell(await deeds.note(database, deeds.ON_DELETE_SET, name, policy=policy, before=before.on_delete))
        return name, before, await _read(database, name)


async def _read(database: Database, crm: str) -> Policy:
    row = (await database.fetch(render("count_tombstones", {"crm": crm})))[0]
    notes = [] if row["on_delete"] == "keep" else await delete_rule_notes(database)
    return Policy(row["on_delete"], row["deletions_waiting"] + row["deletions_failed"], notes)
