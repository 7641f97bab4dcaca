"""crm-sync why: why a contact is, or is not, in the CRMs."""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from crm_sync.configuration import Configuration, load
from crm_sync.errors import DatabaseTroubleError
from crm_sync.postgres.pool import Database
from crm_sync.reports.completing import crm_names
from crm_sync.reports.found_contacts import Found, find_contacts
from crm_sync.reports.http_report import harmless
from crm_sync.reports.installed import installed
from crm_sync.reports.layout import labelled, wrapped
from crm_sync.reports.named_contact import NamedContact, named_contact
from crm_sync.reports.rights import Needs, explained
from crm_sync.reports.verdict import Verdict
from crm_sync.reports.verdict_proof import proof
from crm_sync.reports.verdicts import tell_verdicts
from crm_sync.table.schema import inspect_schema

PATIENCE_S = 15.0
EXIT_NOT_FOUND = 1
EXIT_UNAVAILABLE = 69

TO_ASK = Needs(
    lacking="the role {role} of DATABASE_URL may not ask why ({refusal}). Use a worker's role: let the owner run what "
    "`crm-sync grants` prints for it",
    absent="this database has no crm_sync.why yet: run `crm-sync migrate`",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """verdicts: by key of the contact."""

    found: Found
    verdicts: Mapping[str, Sequence[Verdict]]


@click.command()
@named_contact
@click.option("--crm", metavar="CRM", shell_complete=crm_names, help="For this CRM only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with all facts, for scripts.")
def why(*, contact: NamedContact, crm: str | None, as_json: bool) -> None:
    """Says why a contact is, or is not, in each CRM: one sentence, what to do, and the proof.

    Changes nothing, and calls no CRM. With --key it takes milliseconds; --email reads the whole table if the address has no
    index. Exits 1 if there is no such contact.

    \b
    Example:
      crm-sync why --email ada@example.com
      crm-sync why --key 4711 --crm brevo
    """
    try:
        answer = asyncio.run(_why(load(), contact, crm))
    except DatabaseTroubleError as error:
        click.echo(f"crm-sync: cannot reach the database: {error}", err=True)
        sys.exit(EXIT_UNAVAILABLE)
    if as_json:
        click.echo(json.dumps(as_object(answer), indent=2))
    else:
        for line in _lines(answer, contact):
            click.echo(line)
    if not answer.verdicts:
        sys.exit(EXIT_NOT_FOUND)


async def _why(configuration: Configuration, asked: NamedContact, crm: str | None) -> Answer:
    async with Database.of(configuration.settings, size=1, timeout_s=PATIENCE_S) as database:
        schema = await inspect_schema(database, configuration.settings.contacts_table)
        tables = {**schema.lanes, **schema.countable}
        only = None if crm is None else installed(crm, [*schema.lanes, *schema.faults], "--crm")
        async with explained(database, TO_ASK):
            found = await find_contacts(database, tables, asked)
            verdicts = {key: await tell_verdicts(database, configuration, schema, key, only) for key in found.keys}
    return Answer(found, verdicts)


def as_object(answer: Answer) -> dict[str, Any]:
    """For scripts."""
    return {
        "found_by": answer.found.by,
        "looked_for": answer.found.looked_for,
        "note": answer.found.note,
        "contacts": [
            {"key": key, "verdicts": [verdict.as_object() for verdict in verdicts]} for key, verdicts in answer.verdicts.items()
        ],
    }


def _lines(answer: Answer, asked: NamedContact) -> Iterator[str]:
    for number, (key, verdicts) in enumerate(answer.verdicts.items()):
        if number:
            yield ""
        yield click.style(harmless(f"contact {key}"), bold=True)
        for verdict in verdicts:
            yield ""
            yield wrapped(harmless(f"{verdict.crm}: {verdict.sentence}"))
            if verdict.advice:
                yield labelled("to do", harmless(verdict.advice))
            if verdict.link:
                yield labelled("record", verdict.link)
            for label, text in proof(verdict):
                yield labelled(label, harmless(text))
    if not answer.verdicts:
        yield wrapped(harmless(f"{asked.absent} Looked for: {', '.join(answer.found.looked_for)}."))
    if answer.found.note:
        yield ""
        yield wrapped(harmless(answer.found.note))
