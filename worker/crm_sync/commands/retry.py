"""crm-sync retry: sends failed contacts again."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import click

from crm_sync.core.codes import NO_CODE
from crm_sync.core.durations import clock
from crm_sync.environment import read
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.reports.failure_options import ago, failure_options, keys_option, meant_codes, named_codes, named_crms
from crm_sync.reports.installed import installed
from crm_sync.reports.lane_state import read_lane_states
from crm_sync.reports.layout import console, wrapped
from crm_sync.reports.retry_report import beside, closing, contacts, counts, lacking, notes
from crm_sync.reports.rights import Needs, database_for
from crm_sync.settings import Settings
from crm_sync.table.failed_contacts import FailedContacts, Failures
from crm_sync.table.one_contact import read_key
from crm_sync.table.schema import read_schema
from crm_sync.table.short_flips import Bounds, Flipped
from crm_sync.telling import deeds

PATIENCE_S = 300.0  # counting a table of many millions takes a while
PROGRESS_S = 10.0  # between two progress lines
TO_FLIP = Needs(
    "the role {role} of DATABASE_URL may not flip failed contacts ({refusal}). It needs the rights of a worker: let the owner "
    "run what `crm-sync grants {role}` prints"
)
EXIT_LEFT = 1
EXIT_INTERRUPTED = 130


@dataclass(slots=True)
class Retry:
    """What the user asks for, and the progress. done: by CRM. codes, keys: empty means all. yes: without a question."""

    crms: Sequence[str]
    codes: Sequence[str]
    since: str | None
    ago: timedelta | None
    keys: Sequence[str]
    preview: bool
    yes: bool
    done: dict[str, Flipped] = field(default_factory=dict)

    @property
    def flipped(self) -> int:
        return sum(done.flipped for done in self.done.values())

    @property
    def left(self) -> bool:
        """Whether some could not be flipped."""
        return any(done.locked or done.refused for done in self.done.values())


@click.command()
@failure_options
@keys_option
@click.option("--preview", is_flag=True, help="Only count.")
@click.option("--yes", is_flag=True, help="Do not ask before contacts are flipped.")
@click.make_pass_decorator(Bounds, ensure=True)
def retry(
    bounds: Bounds,
    *,
    crms: Sequence[str],
    codes: Sequence[str],
    since: str | None,
    keys: Sequence[str],
    preview: bool,
    yes: bool,
) -> None:
    """Sends failed contacts again: counts them by CRM and code, asks, then flips them.

    It sends contacts in Error, and contacts that wait for a retry, which go now. Contacts that are withdrawn or in flight stay as
    they are. Complete contacts are included with --code FIELD_NOT_SENT (delivered without a field) or --code ALREADY_THERE (left
    as the CRM has them). --code NO_CODE means reasons that begin with no code.

    You can interrupt it at any point and run it again: it continues.

    \b
    Example:
      crm-sync retry --crm hubspot --code TIMEOUT --since 2h --preview
    """
    asked = Retry(named_crms(crms), named_codes(codes), since and since.strip(), ago(since), keys, preview, yes)
    try:
        asyncio.run(_retry(read(Settings), asked, bounds))
    except KeyboardInterrupt:
        flipped = f"{contacts(asked.flipped)} flipped so far" if asked.flipped else "nothing was flipped"
        click.echo(f"\nInterrupted: {flipped}. The same command continues.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except DatabaseTroubleError as error:
        if not asked.flipped:
            raise
        raise DatabaseTroubleError(f"{error}. Before, {contacts(asked.flipped)} flipped; the same command continues") from error
    if asked.left:
        sys.exit(EXIT_LEFT)


async def _retry(settings: Settings, asked: Retry, bounds: Bounds) -> None:
    async with database_for(settings, TO_FLIP, timeout_s=PATIENCE_S) as database:
        tables = (await read_schema(database, crms=asked.crms)).lanes
        for crm in asked.crms:
            installed(crm, tables, "--crm")
        now: datetime = await database.value(query("read_clock"))
        since = None if asked.ago is None else now - asked.ago
        # A key means the same in every CRM.
        keys = [await read_key(database, next(iter(tables.values())), key) for key in asked.keys] or None
        failed = {
            crm: FailedContacts(database, table.variables, now, since, bounds, keys=keys)
            for crm, table in tables.items()
            if crm in asked.crms or not asked.crms
        }
        present = {crm: await one.count() for crm, one in failed.items()}
        codes = meant_codes(asked.codes, {entry.code for failures in present.values() for entry in failures})
        if not codes or NO_CODE in codes:
            present = {crm: [*present[crm], *await one.count_silent()] for crm, one in failed.items()}
        if since is not None:
            click.echo(f"Failed within {asked.since}, so since {clock(since, now)} by the clock of the database:\n")
        chosen = _tell_counts(present, codes, asked)
        counted = sum(entry.contacts for failures in chosen.values() for entry in failures)
        if asked.preview and counted:
            click.echo(f"\nA preview: nothing was flipped. Without --preview {contacts(counted)} would go out.")
        if asked.preview or not counted:
            return
        if not asked.yes:
            _ask(counted)
        click.echo()
        try:
            await _flip(failed, {crm: failures for crm, failures in chosen.items() if failures}, asked)
        finally:
            await _note(database, asked)
        click.echo(f"\nTo follow {'it' if asked.flipped == 1 else 'them'}: crm-sync status --watch")
        await _tell_lane_states(database, asked)


async def _note(database: Database, asked: Retry) -> None:
    """Records how many were flipped, and the selection; for single keys only their number, because keys are not recorded."""
    for crm, done in asked.done.items():
        if done.flipped:
            meant: dict[str, Any] = {"codes": [*asked.codes], "since": asked.since, "keys": len(asked.keys) or None}
            deeds.tell(await deeds.note(database, deeds.CONTACTS_RETRIED, crm, contacts=done.flipped, **meant))


def _ask(counted: int) -> None:
    """Raises click.Abort, and click.UsageError if there is no terminal to ask on."""
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"Nothing was flipped: there is no terminal to ask on. To flip {contacts(counted)}, run the same command with --yes."
        )
    click.confirm(f"\nFlip {contacts(counted)}?", abort=True)


def _tell_counts(present: Mapping[str, Sequence[Failures]], codes: Sequence[str], asked: Retry) -> dict[str, list[Failures]]:
    """Prints the counts, and returns those that are selected."""
    meant = {
        crm: [_meant(entry, codes) for entry in failures if not codes or entry.code in codes] for crm, failures in present.items()
    }
    table = counts(meant)
    if table:
        console().print(table)
    said = notes(meant, asked.since)
    if not codes:
        said += [*([] if table else [f"Nothing to flip at {', '.join(meant)}."]), *beside(present)]
    told = {entry.code for failures in meant.values() for entry in failures if entry.contacts or entry.undated}
    in_rows = {entry.code for failures in present.values() for entry in failures}
    said += [lacking(meant, code, in_rows=code in in_rows, since=asked.since) for code in codes if code not in told]
    for line in said:
        click.echo(wrapped(line))
    return {crm: [entry for entry in failures if entry.contacts] for crm, failures in meant.items()}


def _meant(entry: Failures, codes: Sequence[str]) -> Failures:
    return entry if entry.code in codes else replace(entry, complete=0)


async def _flip(failed: Mapping[str, FailedContacts], chosen: Mapping[str, Sequence[Failures]], asked: Retry) -> None:
    for crm in chosen:
        await failed[crm].may_flip()  # checked for all before the first one, so that a missing right leaves nothing half done
    for crm, failures in chosen.items():
        counted = sum(entry.contacts for entry in failures)
        done = asked.done[crm] = Flipped()
        telling = asyncio.create_task(_tell_progress(crm, counted, done))
        try:
            await failed[crm].flip(failures, done)
        finally:
            telling.cancel()
        for line in closing(crm, counted, done):
            click.echo(wrapped(line))


async def _tell_progress(crm: str, counted: int, done: Flipped) -> None:
    while True:
        await asyncio.sleep(PROGRESS_S)
        click.echo(f"{crm}: {done.flipped:,} of {counted:,} so far", err=True)


async def _tell_lane_states(database: Database, asked: Retry) -> None:
    """Says where flipped contacts have to wait. An application may not know."""
    try:
        lane_states = await read_lane_states(database)
    except ConfigurationError:
        return
    for crm, done in asked.done.items():
        if done.flipped and crm in lane_states and not lane_states[crm].open:
            click.echo(wrapped(f"{crm} is not called now, so they wait in line: {lane_states[crm].sentence}"))
