"""crm-sync preview: shows what would be sent for one contact, without sending it."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from crm_sync.configuration import Configuration, load
from crm_sync.crm.account import Account
from crm_sync.errors import ConfigurationError, DeclinedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.postgres.visiting import ReadOnly
from crm_sync.reports.completing import crm_names
from crm_sync.reports.contact_report import Workers, prospect, rows, state
from crm_sync.reports.http_report import harmless
from crm_sync.reports.lane_state import LaneState, read_lane_states
from crm_sync.reports.layout import labelled
from crm_sync.reports.named_contact import NamedContact, named_contact
from crm_sync.reports.request_preview import RequestPreview
from crm_sync.reports.watched_columns import lane_of
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.one_contact import Match, show
from crm_sync.table.schema import Schema, read_schema

PATIENCE_S = 60.0  # the address may have no index, and the table many millions of rows


@click.command()
@named_contact
@click.option("--crm", metavar="CRM", shell_complete=crm_names, help="For this CRM only.")
def preview(*, contact: NamedContact, crm: str | None) -> None:
    """Shows the exact request that would be sent for a contact, and what would happen. Sends nothing and changes nothing.

    Credentials are masked; what is sent about the person is not. If the CRM is asked something first, what follows is shown for
    each answer it may give. Exits 1 if there is no such contact, or a CRM cannot be previewed.

    \b
    Example:
      crm-sync preview --email ada@example.com --crm brevo
    """
    if not asyncio.run(_preview(load(), contact, crm)):
        sys.exit(1)


async def _preview(configuration: Configuration, contact: NamedContact, crm: str | None) -> bool:
    """Whether every CRM could be previewed."""
    settings = configuration.settings
    async with ReadOnly.of(settings, size=1, timeout_s=PATIENCE_S) as database:
        schema = await read_schema(database, settings.contacts_table, [crm] if crm else [])
        lanes = [lane_of(schema, crm)] if crm else [*schema.lanes]
        ids = await contact.find(database, schema.lanes[lanes[0]])
        if not ids:
            click.echo(harmless(contact.absent))
            return False
        lane_states = await read_lane_states(database)
        workers = {row["id"]: dict(row) for row in await database.fetch(query("list_workers"))}
        well = True
        for number, name in enumerate(lanes):
            click.echo(("\n" if number else "") + click.style(name, bold=True))
            at_crm = _Preview(database, schema, configuration, schema.lanes[name], lane_states[name], workers)
            well = await at_crm.tell(ids) and well
    click.echo("\nNothing was sent, and nothing was changed.")
    return well


@dataclass(frozen=True, slots=True)
class _Preview:
    """In one CRM."""

    database: Database
    schema: Schema
    configuration: Configuration
    table: LaneTable
    lane_state: LaneState
    workers: Workers

    async def tell(self, ids: Sequence[object]) -> bool:
        """Whether the request could be shown, or there is none."""
        matches = await show(self.database, self.table, ids)
        if not matches:
            click.echo(labelled("row", "deleted just now"))
            return False
        try:
            account = self.configuration.account(self.table.crm)
            self._tell_state(matches, reachable=account is not None)
            return account is None or await self._tell_requests(account, matches)
        except (ConfigurationError, DeclinedError) as error:
            click.echo(harmless(labelled("request", f"not shown: {error}")))
            return False

    def _tell_state(self, matches: Sequence[Match], *, reachable: bool) -> None:
        lines = [*rows(matches), labelled("state", state(matches[0], self.workers))]
        if not self.lane_state.open:
            lines.append(labelled("lane", self.lane_state.sentence))
        lines.append(labelled("next", prospect(matches[0], self.lane_state, reachable=reachable, workers=self.workers)))
        click.echo("\n".join(map(harmless, lines)))

    async def _tell_requests(self, account: Account, matches: Sequence[Match]) -> bool:
        empty = self.configuration.lane(self.table.crm).empty
        preview = RequestPreview(self.database, self.schema, self.configuration.mapping, self.table, empty=empty)
        told = await preview.of(account, matches)
        if told.emptied:
            click.echo(harmless(labelled("empties", ", ".join(told.emptied))))
        click.echo(harmless(labelled("request", told.heading)))
        if told.lines:
            click.echo(harmless("\n".join(told.lines)))
        return True
