"""crm-sync demo: the real thing on a machine that has nothing but Python."""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from worker import migrations
from worker.sandbox.comparison import Row, differences
from worker.sandbox.people import Person, people
from worker.sandbox.postgres import running_postgres

SEED = 7
SINGLES = 100
PATIENCE_S = 300.0
KEY = "xkeysib-demo"
FLIP_ONE = "UPDATE contacts SET brevo_sync_status = 'Queued' WHERE email = $1"
FLIP_THE_REST = "UPDATE contacts SET brevo_sync_status = 'Queued' WHERE brevo_sync_status = 'New'"
OPEN = "SELECT count(*) FROM contacts WHERE brevo_sync_status IN ('Queued', 'Processing')"


@click.command()
@click.option("--contacts", default=10_000, show_default=True, type=click.IntRange(200, 1_000_000))
def demo(*, contacts: int) -> None:
    """Delivers sample contacts to a sandbox Brevo, from an embedded PostgreSQL, with a real worker process.

    Exits 1 unless every contact ended as it should: the table is compared with what the sandbox holds.
    """
    console = Console()
    with tempfile.TemporaryDirectory() as folder, running_postgres() as server:
        url = server.create_database("demo")
        migrations.migrate(url)
        well = asyncio.run(_show(console, url, list(people(contacts, SEED)), Path(folder)))
    sys.exit(0 if well else 1)


async def _show(console: Console, url: str, everybody: list[Person], folder: Path) -> bool:
    async with AsyncExitStack() as stack:
        app = await asyncpg.connect(url)
        stack.push_async_callback(app.close)
        await _insert(app, everybody)
        console.print(f"[bold]1[/]  PostgreSQL runs, its table contacts has {len(everybody):,} rows, and all are New.")

        brevo = await stack.enter_async_context(_sandbox())
        console.print("[bold]2[/]  A sandbox Brevo listens, with its rate limit off: this is to take seconds.")

        log = folder / "worker.log"
        await stack.enter_async_context(_worker(url, brevo, log))
        await _worker_is_up(app, log)
        console.print("[bold]3[/]  The worker runs, in a process of its own. From here on there is only SQL:\n")

        flipped = await _flip_singles(console, app, everybody)
        rate = await _flip_the_rest(console, app)

        async with aiohttp.ClientSession() as http:
            records = await _get(http, brevo, "contacts")
            arrivals: dict[str, float] = dict(await _get(http, brevo, "arrivals"))
        # The clocks of all processes are this machine's.
        latencies = sorted((arrivals[email] - at) * 1000 for email, at in flipped.items())
        rows = await _rows(app, everybody)
        _tell_what_became(console, rows, len(records), rate, latencies)
        return _tell_differences(console, len(rows), differences(rows, records))


async def _insert(app: asyncpg.Connection, everybody: list[Person]) -> None:
    columns = ("email", "first_name", "last_name", "phone", "company", "job_title", "city", "country")
    records = [tuple(getattr(person, column) for column in columns) for person in everybody]
    await app.copy_records_to_table("contacts", columns=columns, records=records)


async def _flip_singles(console: Console, app: asyncpg.Connection, everybody: list[Person]) -> dict[str, float]:
    """Flips some contacts one by one on an otherwise idle system. By email: when, in seconds since 1970."""
    emails = [person.email for person in everybody if person.kind == "ok" and person.email][:SINGLES]
    console.print(f"   [dim]-- {SINGLES} people, one by one[/]")
    console.print(f"   {FLIP_ONE};\n".replace("$1", "'...'"))
    flipped = {}
    for email in emails:
        flipped[email.lower()] = time.time()
        await app.execute(FLIP_ONE, email)
        await _until_done(app)
    return flipped


async def _until_done(app: asyncpg.Connection) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await app.fetchval(OPEN):  # noqa: ASYNC110 (an application has no other way to see)
            await asyncio.sleep(0.02)


async def _flip_the_rest(console: Console, app: asyncpg.Connection) -> float:
    """Flips everybody else in one statement and shows how it goes. Contacts a second."""
    console.print("   [dim]-- everybody else at once[/]")
    console.print(f"   {FLIP_THE_REST};\n", soft_wrap=True)
    started = time.monotonic()
    status = await app.execute(FLIP_THE_REST)
    total = int(status.split()[-1])
    columns = (TextColumn("   delivering"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=total)
        async with asyncio.timeout(PATIENCE_S):
            while left := await app.fetchval(OPEN):
                progress.update(bar, completed=total - left)
                await asyncio.sleep(0.1)
    return total / (time.monotonic() - started)


async def _rows(app: asyncpg.Connection, everybody: list[Person]) -> list[Row]:
    malformed = {person.phone for person in everybody if person.kind == "bad_phone"}
    return [
        Row(
            row["email"],
            row["first_name"],
            row["last_name"],
            row["phone"],
            row["phone"] not in malformed,
            row["brevo_sync_status"],
            row["brevo_processing_error"],
            row["brevo_contact_id"],
        )
        for row in await app.fetch("SELECT * FROM contacts")
    ]


def _tell_what_became(console: Console, rows: list[Row], records: int, rate: float, latencies: list[float]) -> None:
    table = Table(show_header=False)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=66)
    table.add_column(justify="right", no_wrap=True)
    for title, state in (("delivered", "Complete"), ("rejected", "Error")):
        there = [row for row in rows if row.sync_status == state]
        table.add_row(title, f"{len(there):,}")
        for error, count in Counter(row.error for row in there if row.error).most_common():
            table.add_row(f"  {error}", f"{count:,}")
    table.add_row("records in the CRM (an address twice in the table is one)", f"{records:,}")
    table.add_section()
    table.add_row("contacts a second", f"{rate:,.0f}")
    table.add_row("from a flip to the CRM, idle system: median", f"{statistics.median(latencies):.1f} ms")
    table.add_row("from a flip to the CRM, idle system: 99 % within", f"{latencies[int(len(latencies) * 0.99)]:.1f} ms")
    console.print(table)


def _tell_differences(console: Console, contacts: int, problems: list[str]) -> bool:
    if not problems:
        console.print(f"[green]All {contacts:,} contacts ended as they should, compared one by one with what the CRM holds.[/]")
        return True
    console.print(f"[red]{len(problems):,} did not end as they should. The first of them:[/]")
    for problem in problems[:10]:
        console.print(f"  {problem}", markup=False)
    return False


@asynccontextmanager
async def _sandbox() -> AsyncIterator[str]:
    arguments = ("-m", "worker.sandbox.brevo", "--port", "0", "--key", KEY, "--no-limit", "--list", "1")
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    async with _ended_after(process):
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        async with asyncio.timeout(PATIENCE_S):
            yield json.loads(await process.stdout.readline())["url"]


@asynccontextmanager
async def _worker(url: str, brevo: str, log: Path) -> AsyncIterator[None]:
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "BREVO_API_KEY": KEY,
        "BREVO_BASE_URL": f"{brevo}/v3",
        "BREVO_LIST_ID": "1",
        "BREVO_REQUESTS_PER_SECOND": "0",
    }
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "worker", "run", env=environment, stderr=stream)
    async with _ended_after(process):
        yield


@asynccontextmanager
async def _ended_after(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _worker_is_up(app: asyncpg.Connection, log: Path) -> None:
    """Raises click.ClickException with its log when it does not come up."""
    try:
        async with asyncio.timeout(30):
            while not await app.fetchval("SELECT count(*) FROM crm_sync.workers"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        said = await asyncio.to_thread(log.read_text)
        raise click.ClickException(f"the worker did not start: {said[-2000:]}") from None


async def _get(http: aiohttp.ClientSession, brevo: str, what: str) -> Any:
    async with http.get(f"{brevo}/_sandbox/{what}") as response:
        return await response.json()
