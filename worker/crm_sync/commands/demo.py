"""crm-sync demo: the real thing, on a machine with only Python."""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

import aiohttp
import asyncpg
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from crm_sync.adoption.adopt import adopt
from crm_sync.adoption.table import AdoptionRequest
from crm_sync.configuration import Configuration
from crm_sync.console_settings import ConsoleSettings
from crm_sync.core.extras import installs
from crm_sync.environment import Environment
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.statements import query
from crm_sync.reports.layout import name, number
from crm_sync.sandbox.__main__ import until_stopped
from crm_sync.sandbox.comparison import Record, Row, differences, record
from crm_sync.sandbox.people import Person, people
from crm_sync.sandbox.postgres import PostgresUnavailableError, running_postgres
from crm_sync.sandbox.process import CRMS, ended_after, running_sandbox, settings
from crm_sync.settings import Settings

SEED = 7
SINGLES = 50
PATIENCE_S = 300.0
REFUSED = "Tables; Jr."  # a last name that all four refuse, in the middle of whatever batch it is in
RETRY_DELAY_MINUTES = "0.01"
NEXT = """
To look around in the console: crm-sync demo --keep (make demo KEEP=1).
To put it on a table of yours: https://github.com/crm-sync/crm-sync/blob/main/docs/tutorial/first-contact.md"""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of all contacts in one CRM. rate: contacts a second. latencies: from flip to arrival, in ms, sorted."""

    rows: list[Row]
    records: list[Record]
    requests: int
    rate: float
    latencies: list[float]


@click.command()
@click.option(
    "--contacts", default=10_000, show_default=True, metavar="N", type=click.IntRange(200, 1_000_000), help="How many contacts."
)
@click.option("--keep", is_flag=True, help="Open the console too, and keep everything running until Ctrl-C.")
def demo(*, contacts: int, keep: bool) -> None:
    """Delivers sample contacts to four sandbox CRMs, from an embedded PostgreSQL, with a real worker process.

    It is a bad day: each CRM answers one request with "too many requests", fails on one, loses one answer, and refuses some
    contacts for good. Exits 1 unless every contact ended as it should at every CRM, compared one by one with what they hold.

    \b
    Example:
      crm-sync demo --contacts 1000
    """
    console = Console()
    try:
        with tempfile.TemporaryDirectory() as folder, running_postgres() as server:
            url = server.create_database("demo")
            adopt(url, AdoptionRequest(default_crms=CRMS))
            well = asyncio.run(_show(console, url, list(people(contacts, SEED)), Path(folder), keep=keep))
    except PostgresUnavailableError as error:
        raise ConfigurationError(
            f"the demo needs PostgreSQL 18, which is not on this machine. It comes with {installs('demo')}"
        ) from error
    sys.exit(0 if well else 1)


async def _show(console: Console, url: str, everybody: list[Person], folder: Path, *, keep: bool) -> bool:
    async with AsyncExitStack() as stack:
        app = await asyncpg.connect(url)
        stack.push_async_callback(app.close)
        await _insert(app, everybody)
        console.print(f"[bold]1[/]  PostgreSQL runs, its table contacts has {len(everybody):,} rows, and all are New.")

        options = ("--misbehave", "--refuse", REFUSED)
        sandboxes = {crm: await stack.enter_async_context(running_sandbox(crm, *options)) for crm in CRMS}
        console.print("[bold]2[/]  Sandboxes of HubSpot, Brevo, Mautic and n8n listen, each on a bad day:")
        console.print("   a 429 (10 s at HubSpot), a 503, a lost answer, and people they refuse.")

        log = folder / "crm_sync.log"
        await stack.enter_async_context(_worker(url, sandboxes, log))
        await _worker_is_up(app, log)
        console.print("[bold]3[/]  The worker runs, in a process of its own. From here on there is only SQL:\n")

        flipped = await _flip_singles(console, app, everybody)
        rates = await _flip_the_rest(console, app)
        async with aiohttp.ClientSession() as http:
            results = {
                crm: await _result(
                    http, app, crm=crm, sandbox=sandboxes[crm], everybody=everybody, flipped=flipped, rate=rates[crm]
                )
                for crm in CRMS
            }
        _tell_what_became(console, results)
        well = _tell_differences(console, results)
        if keep:
            where = await stack.enter_async_context(_console(url, sandboxes))
            console.print(f"\nEverything keeps running until Ctrl-C. The console: {where}", soft_wrap=True)
            console.print(f"The database: {url}", soft_wrap=True, markup=False)
            await until_stopped()
        else:
            console.print(NEXT, soft_wrap=True, markup=False)
        return well


@asynccontextmanager
async def _console(url: str, sandboxes: Mapping[str, str]) -> AsyncIterator[str]:
    """Prints a sign-in link. sandboxes: their URLs, which the console may call as the worker does."""
    from crm_sync.console.server import make_token, running_console  # noqa: PLC0415 (an extra that the other commands do not need)

    of_crms = [settings(crm, sandbox) for crm, sandbox in sandboxes.items()]
    environment = Environment({"database_url": url} | {name.lower(): value for one in of_crms for name, value in one.items()})
    configuration = Configuration(environment.read(Settings), environment)
    token = make_token()
    async with running_console(configuration, ConsoleSettings(console_listen="127.0.0.1:0"), made_token=token) as where:
        yield f"{where}login?token={token}"


async def _insert(app: asyncpg.Connection, everybody: list[Person]) -> None:
    columns = ("email", "first_name", "last_name", "phone", "company", "job_title", "city", "country")
    records = [tuple(getattr(person, column) for column in columns) for person in everybody]
    await app.copy_records_to_table("contacts", columns=columns, records=records)


async def _flip_singles(console: Console, app: asyncpg.Connection, everybody: list[Person]) -> dict[str, float]:
    """Flips some contacts one by one on an otherwise idle system. By email: when, in seconds since 1970."""
    well = [person for person in everybody if person.kind == "ok" and person.last_name != REFUSED]
    emails = [person.email for person in well if person.email][:SINGLES]
    console.print(f"   [dim]-- {SINGLES} people, one by one[/]")
    flip = query("flip_by_address")
    console.print(_shown(flip.replace("$1", "'...'")), soft_wrap=True)
    flipped = {}
    for email in emails:
        flipped[email.lower()] = time.time()
        await app.execute(flip, email)
        async with asyncio.timeout(PATIENCE_S):
            while any((await _open(app)).values()):  # noqa: ASYNC110 (an application has no other way to find out)
                await asyncio.sleep(0.02)
    return flipped


def _shown(statement: str) -> str:
    return f"{indent(statement.strip(), '   ')};\n"


async def _open(app: asyncpg.Connection) -> dict[str, int]:
    """Contacts that are not done yet, by CRM."""
    [row] = await app.fetch(query("count_open"))
    return dict(row)


async def _flip_the_rest(console: Console, app: asyncpg.Connection) -> dict[str, float]:
    """Flips all others for all CRMs in one statement, and shows the progress. Returns contacts a second, by CRM."""
    console.print("   [dim]-- everybody else at once[/]")
    flip = query("flip_new")
    console.print(_shown(flip), soft_wrap=True)
    started = time.monotonic()
    status = await app.execute(flip)
    total = int(status.split()[-1])
    rates: dict[str, float] = {}
    columns = (TextColumn("   {task.description:8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bars = {crm: progress.add_task(crm, total=total) for crm in CRMS}
        async with asyncio.timeout(PATIENCE_S):
            while len(rates) < len(CRMS):
                await asyncio.sleep(0.1)
                for crm, left in (await _open(app)).items():
                    progress.update(bars[crm], completed=total - left)
                    if not left:
                        rates.setdefault(crm, total / (time.monotonic() - started))
    return rates


async def _result(
    http: aiohttp.ClientSession,
    app: asyncpg.Connection,
    *,
    crm: str,
    sandbox: str,
    everybody: list[Person],
    flipped: Mapping[str, float],
    rate: float,
) -> Result:
    rows = await _rows(app, crm, everybody)
    records = [record(crm, there) for there in await _get(http, sandbox, "contacts")]
    # All processes use this machine's clock.
    arrivals: dict[str, float] = dict(await _get(http, sandbox, "arrivals"))
    latencies = sorted((arrivals[email] - at) * 1000 for email, at in flipped.items())
    return Result(rows, records, (await _get(http, sandbox, "stats"))["requests"], rate, latencies)


async def _rows(app: asyncpg.Connection, crm: str, everybody: list[Person]) -> list[Row]:
    remote_id = await app.fetchval(query("find_remote_id"), crm)
    malformed = {person.phone for person in everybody if person.kind == "bad_phone"}
    return [
        Row(
            row["email"],
            row["first_name"],
            row["last_name"],
            row["phone"],
            row["phone"] not in malformed,
            row["last_name"] == REFUSED,
            row[f"{crm}_sync_status"],
            row[f"{crm}_processing_error"],
            row[remote_id],
        )
        for row in await app.fetch(query("list_outcomes"))
    ]


def _tell_what_became(console: Console, results: Mapping[str, Result]) -> None:
    table = Table(name("contacts"), *map(number, results))
    codes = {crm: Counter((row.sync_status, row.code) for row in result.rows) for crm, result in results.items()}
    for state in sorted({state for counts in codes.values() for state in counts}, key=lambda one: (one[0], one[1] or "")):
        title = f"{state[0]}: {state[1]}" if state[1] else state[0]
        table.add_row(title, *(f"{codes[crm][state]:,}" if codes[crm][state] else "" for crm in results))
    table.add_row("records in the CRM, one an address", *(f"{len(result.records):,}" for result in results.values()))
    table.add_section()
    table.add_row("requests", *(f"{result.requests:,}" for result in results.values()))
    table.add_row("contacts a second, all CRMs at once", *(f"{result.rate:,.0f}" for result in results.values()))
    medians = (statistics.median(result.latencies) for result in results.values())
    table.add_row("from flip to CRM, if idle (median, ms)", *(f"{median:.1f}" for median in medians))
    console.print(table)


def _tell_differences(console: Console, results: Mapping[str, Result]) -> bool:
    problems = [
        f"{crm}: {problem}" for crm, result in results.items() for problem in differences(crm, result.rows, result.records)
    ]
    if not problems:
        contacts = len(next(iter(results.values())).rows)
        console.print(f"[green]All {contacts:,} contacts ended as they should, at all four CRMs.[/]")
        return True
    console.print(f"[red]{len(problems):,} did not end as they should. The first of them:[/]")
    for problem in problems[:10]:
        console.print(f"  {problem}", markup=False)
    return False


@asynccontextmanager
async def _worker(url: str, sandboxes: Mapping[str, str], log: Path) -> AsyncIterator[None]:
    environment = {**os.environ, "DATABASE_URL": url, "BREVO_LIST_ID": "1"}
    for crm, sandbox in sandboxes.items():
        environment |= settings(crm, sandbox)
        environment[f"{crm.upper()}_SYNC_RETRY_DELAY_MINUTES"] = RETRY_DELAY_MINUTES
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "crm_sync", "run", env=environment, stderr=stream)
    async with ended_after(process):
        yield


async def _worker_is_up(app: asyncpg.Connection, log: Path) -> None:
    """Raises click.ClickException with the worker's log if it does not start."""
    try:
        async with asyncio.timeout(30):
            while not await app.fetchval(query("count_workers")):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        said = await asyncio.to_thread(log.read_text)
        raise click.ClickException(f"the worker did not start: {said[-2000:]}") from None


async def _get(http: aiohttp.ClientSession, sandbox: str, what: str) -> Any:
    async with http.get(f"{sandbox}/_sandbox/{what}") as response:
        return await response.json()
