"""crm-sync failed: which contacts have failed, a page at a time."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import click

from crm_sync.core.codes import NO_CODE, OF_DELIVERED
from crm_sync.environment import read
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.reports.failed_report import FailedContact
from crm_sync.reports.failure_options import ago, failure_options, keys_option, meant_codes, named_codes, named_crms
from crm_sync.reports.installed import installed
from crm_sync.reports.layout import wrapped
from crm_sync.settings import Settings
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.failed_contacts import FailedContacts
from crm_sync.table.one_contact import read_key
from crm_sync.table.schema import read_schema

PATIENCE_S = 60.0  # all failed contacts of a CRM are sorted for one page
PAGE, LARGEST_PAGE = 50, 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asks for. crms, codes, keys: empty means all. after: CRM:KEY of the last contact of the previous page."""

    crms: Sequence[str]
    codes: Sequence[str]
    ago: timedelta | None
    keys: Sequence[str]
    limit: int
    after: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The same, as the database takes it. codes: those in the rows. since: by its clock. codes, keys: empty means all."""

    codes: Sequence[str]
    since: datetime | None
    keys: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Page:
    """following: CRM:KEY of its last contact, if there are more. now: the database's clock."""

    contacts: Sequence[FailedContact]
    following: str | None
    now: datetime


@click.command()
@failure_options
@keys_option
@click.option(
    "--limit", default=PAGE, show_default=True, metavar="N", type=click.IntRange(1, LARGEST_PAGE), help="Contacts per page."
)
@click.option("--after", metavar="CRM:KEY", help="The page after this contact, as the previous page prints it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def failed(
    *,
    crms: Sequence[str],
    codes: Sequence[str],
    since: str | None,
    keys: Sequence[str],
    limit: int,
    after: str | None,
    as_json: bool,
) -> None:
    """Lists failed contacts in the order of their keys: their state, since when, and why.

    These are contacts in Error and contacts that wait for a retry; with --code FIELD_NOT_SENT or ALREADY_THERE, contacts that are
    Complete. `crm-sync retry` sends them again.

    \b
    Example:
      crm-sync failed --crm brevo --code DUPLICATE --since 2d
      crm-sync failed --key 4711
    """
    asked = Asked(named_crms(crms), named_codes(codes), ago(since), keys, limit, after)
    page = asyncio.run(_failed(read(Settings), asked))
    if as_json:
        found = [contact.as_object() for contact in page.contacts]
        click.echo(json.dumps({"failed": found, "next": page.following}, indent=2))
        return
    for contact in page.contacts:
        for line in contact.lines(page.now):
            click.echo(line)
    if not page.contacts:
        click.echo("No failed contacts." if after is None else "No further failed contacts.")
    elif page.following is not None:
        click.echo("\n" + wrapped(f"There are more. For the next page, add --after {page.following}"))


async def _failed(settings: Settings, asked: Asked) -> Page:
    async with Database.of(settings, size=1, timeout_s=PATIENCE_S) as database:
        tables = (await read_schema(database, crms=asked.crms)).lanes
        for crm in asked.crms:
            installed(crm, tables, "--crm")
        now: datetime = await database.value(query("read_clock"))
        lanes = {crm: table for crm, table in tables.items() if crm in asked.crms or not asked.crms}
        crm, key = await _start(database, lanes, asked.after)
        codes = await _meant(database, lanes, asked.codes, now)
        # A key means the same in every CRM.
        keys = [await read_key(database, lanes[crm], one) for one in asked.keys]
        wanted = Wanted(codes, None if asked.ago is None else now - asked.ago, keys)
        found: list[FailedContact] = []
        for name in [*lanes][[*lanes].index(crm) :]:
            # One more than fits shows whether there is another page.
            room = asked.limit + 1 - len(found)
            found += await _page(database, lanes[name], wanted, key if name == crm else None, room)
            if len(found) > asked.limit:
                last = found[asked.limit - 1]
                return Page(found[: asked.limit], f"{last.crm}:{last.key}", now)
        return Page(found, None, now)


async def _start(database: Database, lanes: Mapping[str, LaneTable], after: str | None) -> tuple[str, Any]:
    """The CRM to begin with, and the key to begin after."""
    if after is None:
        return next(iter(lanes)), None
    crm, separator, key = after.partition(":")
    if crm not in lanes or not separator:
        raise click.BadParameter("expected CRM:KEY, as the previous page ends", param_hint="--after")
    return crm, await read_key(database, lanes[crm], key)


async def _meant(database: Database, lanes: Mapping[str, LaneTable], codes: Sequence[str], now: datetime) -> list[str]:
    """Other programs write their own codes, so codes found in the rows are valid too; they are looked up only if needed. Reasons
    without a code match by their beginning.
    """
    meant: list[str] = []
    try:
        meant = meant_codes(codes, ())
    except click.BadParameter:
        pass
    else:
        if NO_CODE not in meant:
            return meant
    counts = [await FailedContacts(database, table.variables, now).count() for table in lanes.values()]
    entries = [entry for failures in counts for entry in failures]
    meant = meant_codes(codes, {entry.code for entry in entries})
    return [*meant, *(prefix for entry in entries if entry.code == NO_CODE and NO_CODE in meant for prefix in entry.prefixes)]


async def _page(database: Database, table: LaneTable, wanted: Wanted, after: Any, most: int) -> list[FailedContact]:
    """after: the key to begin after."""
    of_delivered = not OF_DELIVERED.isdisjoint(wanted.codes)
    arguments = (wanted.codes or None, wanted.since, after, most, of_delivered, wanted.keys or None)
    rows = await database.fetch(render("list_failed_contacts", table.variables), *arguments)
    return [FailedContact(table.crm, *tuple(row)) for row in rows]
