"""crm-sync adopt: puts crm-sync on a table that is in use, and removes it again."""

import asyncio
import re
import shlex
import time
from collections.abc import Iterator, Sequence

import click
import psycopg

from crm_sync import __version__
from crm_sync.adoption import migrations
from crm_sync.adoption.adopt import Plan, Undoing, undo_plan
from crm_sync.adoption.adopt import adopt as put_on
from crm_sync.adoption.adopt import plan as make_plan
from crm_sync.adoption.adopt import undo as take_off
from crm_sync.adoption.steps import Step
from crm_sync.adoption.table import AdoptionRequest, Table
from crm_sync.core.durations import span
from crm_sync.crm.registry import OWN, known
from crm_sync.environment import read
from crm_sync.errors import CrmSyncError
from crm_sync.postgres.lock_patience import LOCK_TIMEOUT_MS
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import folder, query
from crm_sync.reports.completing import crm_names
from crm_sync.reports.layout import shortened, width, wrapped
from crm_sync.settings import Settings
from crm_sync.telling import deeds

MOMENT_S = 0.1

LOCKS = {
    "none": "No lock on the table",
    "ACCESS SHARE": "ACCESS SHARE blocks no one",
    "ROW EXCLUSIVE": "ROW EXCLUSIVE, as any UPDATE",
    "SHARE UPDATE EXCLUSIVE": "SHARE UPDATE EXCLUSIVE blocks neither readers nor writers",
    "SHARE": "SHARE holds up writers",
    "SHARE ROW EXCLUSIVE": "SHARE ROW EXCLUSIVE blocks writers",
    "ACCESS EXCLUSIVE": "ACCESS EXCLUSIVE blocks everybody",
}
LOCKING = f"A lock that holds up others is requested for {LOCK_TIMEOUT_MS} ms at a time until it is granted, and held briefly."

_WORD = re.compile(r"""(?:"(?:[^"]|"")*"|'(?:[^']|'')*'|[^\s"'])+""")

UNDO_HINT = "To take it off again: crm-sync adopt --undo"


@click.command()
@click.option("--plan", is_flag=True, help="Print what was found and what would be run, and change nothing.")
@click.option("--undo", is_flag=True, help="Remove what was added, and nothing else. With --plan, print what that is.")
@click.option(
    "--crm",
    "crms",
    multiple=True,
    metavar="CRM",
    shell_complete=crm_names,
    help="Add this CRM only; repeat it for several.",
)
@click.option("--yes", is_flag=True, help="Do not ask before undoing.")
def adopt(*, plan: bool, undo: bool, crms: tuple[str, ...], yes: bool) -> None:
    """Puts crm-sync on the table that CONTACTS_TABLE names (contacts), while it is in use.

    No writer waits longer than a moment: a step that needs the table for itself asks for the lock for 0.1 s at a time, and
    indexes are built concurrently. You can interrupt it at any point and run it again. CONTACTS_KEY and CONTACTS_EMAIL name the
    columns that identify a row and hold its address, if they are not the primary key and email. Existing columns, types and
    equivalent indexes are kept, and --undo leaves them in place.

    \b
    Example:
      crm-sync adopt --plan
    """
    settings = read(Settings)
    url = settings.session_url
    if undo and crms:
        raise click.UsageError(
            f"--undo takes all of crm-sync off. For one CRM, while no worker runs: SELECT crm_sync.remove_crm('{crms[0]}')"
        )
    if undo:
        _undo(url, only_plan=plan, yes=yes)
        return
    for crm in crms:
        if crm.strip().lower() not in known():
            click.echo(f"No client for {crm} is installed here, so no worker of this installation will send to it.")
    named = [crm.strip().lower() for crm in crms]
    request = request_of(settings, named)
    planned = make_plan(url, request, say)
    if plan:
        for line in _plan(planned, named):
            click.echo(line)
        return
    for line in _found(planned):
        click.echo(line)
    started = time.monotonic()
    done = put_on(url, request, say)
    if not done:
        click.echo("Nothing to do: everything is in place.")
        return
    note_adoption(url, planned.table.name, len(done))
    click.echo(
        f"\nDone, in {span(time.monotonic() - started)}. Next: crm-sync grants ROLE for the worker's role, check, and run."
    )
    click.echo(UNDO_HINT)


def note_adoption(url: str, table: str | None, changes: int) -> None:
    """Records who changed what on the table. Raises nothing."""
    arguments = deeds.arguments(deeds.TABLE_ADOPTED, table=table, changes=changes, version=__version__)
    try:
        with migrations.translated(), migrations.connect(url) as connection:
            psycopg.RawCursor(connection).execute(query("write_events").encode(), arguments)
    except CrmSyncError as error:
        deeds.tell(deeds.problem(error))


def request_of(settings: Settings, crms: Sequence[str] = ()) -> AdoptionRequest:
    return AdoptionRequest(settings.contacts_table, settings.contacts_key, settings.contacts_email, crms, tuple(OWN))


def _plan(planned: Plan, crms: Sequence[str]) -> Iterator[str]:
    yield from _found(planned)
    if not planned.migrations and not planned.steps:
        yield "\nNothing to do: everything is in place."
        return
    if planned.migrations:
        yield "\n" + _comment(
            f"First the schema crm_sync, with tables and functions of its own. No lock on the table. The files are in {folder()}:"
        )
        yield from (f"--     migrations/{name}.sql" for name in planned.migrations)
        if planned.table.created:
            yield "--     adopt/create_contacts.sql"
    yield from _statements(planned.steps, planned.pace)
    total_s = sum(_seconds(step, planned.pace) for step in planned.steps)
    yield "\n" + wrapped(
        f"{len(planned.steps)} steps, {_lasts(total_s)} in all. An index waits for the transactions that are open. {LOCKING}"
    )
    command = " ".join(["crm-sync adopt", *(f"--crm {shlex.quote(crm)}" for crm in crms)])
    yield f"Nothing was changed. To do it: {command}"


def _found(planned: Plan) -> Iterator[str]:
    table = planned.table
    parts = f" in {table.partitions} partition{'s'[: table.partitions != 1]}" if table.partitions else ""
    yield (
        "There is no table contacts, so one is made."
        if table.created and planned.migrations
        else f"Found {table.name}: {_rows(table)}{_size(table.bytes)}{parts}, PostgreSQL {table.server.split()[0]}."
    )
    yield f"A row is identified by {table.key} ({table.key_type}), its address is {table.email} ({table.email_type})."
    for note in planned.notes:
        yield wrapped(f"{note}.", further="    ")


def _rows(table: Table) -> str:
    """Empty where PostgreSQL has no estimate yet, because the table was not analyzed."""
    return f"about {table.rows:,} rows, " if table.rows or not table.bytes else ""


def _statements(steps: Sequence[Step], pace: float | None) -> Iterator[str]:
    for number, step in enumerate(steps, 1):
        what = f"{number}. {step.crm or 'all CRMs'}: {step.kind}, {_lasts(_seconds(step, pace))}. {LOCKS[step.lock]}."
        yield f"\n{_comment(what)}"
        yield from _sql_lines(f"{step.statement};")


def _comment(text: str) -> str:
    return wrapped(text, first="-- ", further="--    ")


def _sql_lines(statement: str) -> Iterator[str]:
    """Wrapped for a terminal, but still valid SQL: quoted text is not broken."""
    line, most = "", width()
    for word in _WORD.findall(statement):
        if line and len(line) + 1 + len(word) > most:
            yield line
            line = f"    {word}"
        else:
            line = f"{line} {word}" if line else word
    yield line


def _lasts(seconds: float) -> str:
    return "a moment" if seconds <= MOMENT_S else "about a second" if seconds < 2 else f"about {span(seconds)}"


def _seconds(step: Step, pace: float | None) -> float:
    return MOMENT_S if pace is None else max(MOMENT_S, step.reads / pace)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _undo(url: str, *, only_plan: bool, yes: bool) -> None:
    planned = undo_plan(url, say)
    if planned is None:
        click.echo("Nothing to undo: crm-sync is not in this database.")
        return
    for line in _losses(planned):
        click.echo(wrapped(line, further="    "))
    if only_plan:
        for line in _statements(planned.steps, None):
            click.echo(line)
        click.echo("\n-- Last the schema crm_sync, with all that is in it.")
        click.echo("\n" + wrapped(f"{len(planned.steps)} steps on the table, each a moment, and the schema. {LOCKING}"))
        click.echo("Nothing was changed. To do it: crm-sync adopt --undo")
        return
    if not yes:
        click.confirm("This cannot be undone. Go on?", abort=True)
    roles = asyncio.run(worker_roles(url))
    take_off(url, say)
    click.echo("\nDone: nothing of crm-sync is left in this database.")
    for role in roles:
        click.echo(
            wrapped(
                f"The role {role} keeps what it was granted on your table. If it is for crm-sync only: DROP OWNED BY {role}; "
                f"DROP ROLE {role}"
            )
        )


async def worker_roles(url: str) -> list[str]:
    """With the rights of a worker; none if there is no schema crm_sync."""
    async with Database(url, size=1) as database:
        return [row["role"] for row in await database.fetch(query("list_worker_roles"))]


def _losses(planned: Undoing) -> Iterator[str]:
    if not planned.table:
        yield "The adopted table is gone. What is left of crm-sync is removed too."
    if planned.workers:
        yield f"These workers run, and have to be stopped first: {', '.join(planned.workers)}."
    if planned.table:
        yield f"The columns, indexes and triggers that crm-sync added to {planned.table} are removed; existing ones stay."
    if planned.created and planned.table:
        drops = any(step.kind == "table" for step in planned.steps)
        yield (
            f"crm-sync made {planned.table}, and it is empty: it is dropped."
            if drops
            else f"crm-sync made {planned.table}, but it has rows: it stays, with its first columns."
        )
    yield (
        "What is lost:" if planned.lost else "Nothing is lost but settings: pauses, watched columns, what is used of the limits."
    )
    yield from (f"  {sentence}" for sentence in planned.lost)


def say(sentence: str) -> None:
    # What it waits for is printed in full.
    click.echo(wrapped(sentence) if sentence.startswith("Waiting") else shortened(sentence, width()))
