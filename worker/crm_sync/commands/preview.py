"""crm-sync preview: what would be sent of one contact, without sending."""

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import click

from crm_sync.configuration import Configuration, load
from crm_sync.core.codes import Code
from crm_sync.core.identity import addressees, check_email
from crm_sync.core.outcome import Contact, Outcome, Verdict
from crm_sync.crm.account import Account
from crm_sync.crm.exchange import Shown
from crm_sync.crm.rehearsal import Rehearsal, rehearse
from crm_sync.errors import ConfigurationError, DeclinedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.postgres.visiting import ReadOnly
from crm_sync.reports.completing import crm_names
from crm_sync.reports.contact_report import Workers, prospect, rows, state
from crm_sync.reports.http_report import harmless, request_lines
from crm_sync.reports.lane_state import LaneState, read_lane_states
from crm_sync.reports.layout import labelled
from crm_sync.reports.named_contact import NamedContact, named_contact
from crm_sync.reports.watched_columns import lane_of
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.mapping import FieldMapping, prepare_for
from crm_sync.table.one_contact import Match, Standing, read, show
from crm_sync.table.schema import Schema, read_schema
from crm_sync.table.shared_records import SharedRecords

PATIENCE_S = 60.0  # the address may have no index, and the table many millions of rows


@click.command()
@named_contact
@click.option("--crm", shell_complete=crm_names, help="At this CRM only.")
def preview(*, contact: NamedContact, crm: str | None) -> None:
    """Shows the exact request that would be sent of a contact, and what would happen. Sends nothing and changes nothing.

    Credentials are masked; what is sent of the person is not. Where the CRM is asked something first, what follows is shown for
    each answer it may give. Exits 1 if there is no such contact, or a CRM cannot be previewed.

    \b
    Example:
      crm-sync preview --email ada@example.com --crm brevo
    """
    if not asyncio.run(_preview(load(), contact, crm)):
        sys.exit(1)


async def _preview(configuration: Configuration, contact: NamedContact, crm: str | None) -> bool:
    """Whether all could be told."""
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
    """At one CRM."""

    database: Database
    schema: Schema
    configuration: Configuration
    table: LaneTable
    lane_state: LaneState
    workers: Workers

    async def tell(self, ids: Sequence[object]) -> bool:
        """Whether the request could be told, or that there is none."""
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
        sections = self.configuration.mapping
        crm, schema = self.table.crm, self.schema
        mapping = await prepare_for(self.database, crm, sections, account.default_fields, schema, forms=account.forms)
        contact = await self._contact(mapping, matches)
        if isinstance(contact, str):
            click.echo(harmless(labelled("request", f"none: it would be rejected. {contact}")))
            return True
        shared = await SharedRecords(self.database, self.table).find([contact])
        rehearsal = await rehearse(account, contact, shared=bool(shared))
        if rehearsal is None:
            raise DeclinedError("the client of this CRM has a transport of its own, so it would really send")
        only = rehearsal.then[0]
        if not rehearsal.first and not only.requests and only.outcome is not None:
            click.echo(harmless(labelled("request", f"none: {_ending(only.outcome)}")))
            return True
        click.echo(labelled("request", _heading(matches[0], rehearsal.together)))
        click.echo(harmless("\n".join(_lines(rehearsal))))
        return True

    async def _contact(self, mapping: FieldMapping, matches: Sequence[Match]) -> Contact | str:
        """What would be sent; or why it would be rejected."""
        meant, *others = matches
        # Who is in line with the same address shares its delivery, and may know the id of the record.
        twins = [one for one in others if one.standing is Standing.IN_LINE]
        claimed = await read(self.database, self.table, mapping, [meant, *twins])
        for contact, reason in claimed.unreadable:
            if contact.id == meant.id:
                return f"{Code.MAPPING_FAILED}: {reason}"
        by_id = {contact.id: contact for contact in claimed.contacts}
        if meant.id not in by_id:
            return "It was deleted just now"
        if problem := check_email(by_id[meant.id].email):
            return f"{Code.INVALID_EMAIL}: {problem}"
        people = addressees(contact for contact in claimed.contacts if check_email(contact.email) is None)
        return next(person.contact for person in people if meant.id in (person.contact.id, *(twin.id for twin in person.twins)))


def _heading(match: Match, together: int) -> str:
    if match.standing in (Standing.NOT_ASKED_FOR, Standing.SETTLED):
        case = "if it were flipped now, it would be this one"
    elif match.standing is Standing.IN_FLIGHT:
        case = "as the row is now, it would be this one"
    else:
        case = "it would be this one"
    return case if together == 1 else f"{case}; up to {together} contacts share one"


def _lines(rehearsal: Rehearsal) -> Iterator[str]:
    before: Mapping[str, str] | None = None
    for request in rehearsal.first:
        yield from _drawn(request, before)
        before = request.headers
    for run in rehearsal.then:
        if run.words:
            ending = "" if run.outcome is None or run.requests else f", nothing more is sent: {_ending(run.outcome)}"
            yield ""
            yield f"  {run.words[0].upper()}{run.words[1:]}{ending or ':'}"
        for request in run.requests:
            yield from _drawn(request, before)
            before = before or request.headers
    if not any(run.words for run in rehearsal.then) and rehearsal.first and rehearsal.first[-1].method == "GET":
        yield ""
        yield "  What follows depends on the answer."


def _drawn(request: Shown, before: Mapping[str, str] | None) -> Iterator[str]:
    yield ""
    yield from (f"  {line}".rstrip() for line in request_lines(request, before))


def _ending(outcome: Outcome) -> str:
    """What the client makes of a contact by itself."""
    if outcome.verdict is Verdict.DELIVERED:
        return "it is delivered."
    return f"it would be rejected. {outcome.code}: {outcome.reason}"
