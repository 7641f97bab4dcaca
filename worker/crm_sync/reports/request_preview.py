"""What would be sent for one contact to one CRM, for people: `crm-sync preview`, the API and the console."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.identity import addressees
from crm_sync.core.outcome import Contact, Outcome, Verdict
from crm_sync.crm.account import Account
from crm_sync.crm.client import Client, problem_of
from crm_sync.crm.exchange import Shown
from crm_sync.crm.rehearsal import Rehearsal, idle_client, rehearse
from crm_sync.postgres.pool import Database
from crm_sync.reports.http_report import request_lines
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.clearing import read_clearing
from crm_sync.table.field_options import KEEP
from crm_sync.table.mapping import FieldMapping, prepare_for
from crm_sync.table.one_contact import Match, Standing, read
from crm_sync.table.schema import Schema
from crm_sync.table.shared_records import SharedRecords


@dataclass(frozen=True, slots=True)
class Told:
    """heading: which request it is, or why there is none. lines: the request, and what follows depending on the CRM's answer.
    empty: fields of the mapping that are empty here, so that they stay unchanged in the CRM. emptied: those that are emptied
    there.

    Credentials are masked; the person's data is not.
    """

    heading: str
    lines: Sequence[str] = ()
    empty: Sequence[str] = ()
    emptied: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RequestPreview:
    """In one CRM. sections: of MAPPING_FILE. empty: for fields without their own `empty`. claims: the role is a worker's, not one
    that only reads.
    """

    database: Database
    schema: Schema
    sections: Mapping[str, Mapping[str, Any]]
    table: LaneTable
    empty: str = KEEP
    claims: bool = True

    async def of(self, account: Account, matches: Sequence[Match]) -> Told:
        """matches: the contact that is meant, and others with its address. Raises ConfigurationError, and DeclinedError if the
        client would really send.
        """
        crm, schema = self.table.crm, self.schema
        mapping = await prepare_for(
            self.database,
            crm,
            self.sections,
            account.default_fields,
            schema,
            forms=account.forms,
            claims=self.claims,
            empty=self.empty,
            required=account.required,
        )
        async with idle_client(account) as client:
            contact = await self._contact(mapping, matches, client)
            if isinstance(contact, str):
                return Told(f"none: it would be rejected. {contact}")
            if client.keeps_records:
                [contact] = await SharedRecords(self.database, self.table).apart([contact])
        rehearsal = await rehearse(account, contact, if_empty=mapping.if_empty)
        only = rehearsal.then[0]
        emptied = contact.emptied
        empty = [name for name in contact.fields if name not in contact.filled and name not in emptied]
        if not rehearsal.first and not only.requests and only.outcome is not None:
            return Told(f"none: {_ending(only.outcome)}", empty=empty)
        return Told(_heading(matches[0], rehearsal.together), [*_lines(rehearsal)], empty, emptied)

    async def _contact(self, mapping: FieldMapping, matches: Sequence[Match], client: Client) -> Contact | str:
        """What would be sent, or why it would be rejected."""
        meant, *others = matches
        # Contacts in line with the same address share its delivery, and may know the id of the record.
        twins = [one for one in others if one.standing is Standing.IN_LINE]
        clearing = await read_clearing(self.database, self.table.crm, mapping.emptied, numbering=False)
        claimed = await read(self.database, self.table, mapping, [meant, *twins], clearing)
        for contact, reason in claimed.unreadable:
            if contact.id == meant.id:
                return f"{Code.MAPPING_FAILED}: {reason}"
        by_id = {contact.id: contact for contact in claimed.contacts}
        if meant.id not in by_id:
            return "It was deleted just now"
        if problem := problem_of(client, by_id[meant.id]):
            return f"{Code.INVALID_EMAIL}: {problem}"
        valid = [contact for contact in claimed.contacts if problem_of(client, contact) is None]
        people = addressees(valid, mapping.together, client)
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
    """The client's verdict on a contact that it does not send."""
    if outcome.verdict is Verdict.DELIVERED:
        return "it is delivered."
    return f"it would be rejected. {outcome.code}: {outcome.reason}"
