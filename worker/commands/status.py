"""crm-sync status: what is going on."""

import asyncio
import json
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from worker.database import Database
from worker.schema import read_schema
from worker.settings import Settings, read
from worker.sql import query, render

WATCH_INTERVAL_S = 2.0
PATIENCE_S = 300.0  # counting a table of many millions takes a while
STATES = ("ready", "waiting", "in_flight", "complete", "error", "skipped", "selected", "new")


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One CRM. Ages in seconds; delivered_last_minute counts contacts, a contact delivered twice once."""

    crm: str
    new: int
    selected: int
    skipped: int
    ready: int
    waiting: int
    in_flight: int
    complete: int
    error: int
    oldest_ready_s: float | None
    delivered_last_minute: int
    last_delivered_at: str | None
    last_error: str | None
    last_failed_at: str | None
    failures: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Status:
    workers: list[dict[str, Any]]
    lanes: list[LaneStatus]


@click.command()
@click.option("--watch", is_flag=True, help=f"Show it again every {WATCH_INTERVAL_S:.0f} s, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def status(*, watch: bool, as_json: bool) -> None:
    """Shows each CRM's contacts by state, the oldest one waiting, the rate, and why contacts failed."""
    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other")
    settings = read(Settings)
    if as_json:
        click.echo(json.dumps(asdict(asyncio.run(read_status(settings.database_url))), indent=2))
        return
    console = Console()
    if not watch:
        console.print(draw(asyncio.run(read_status(settings.database_url))))
        return
    with Live(console=console, auto_refresh=False) as live:
        try:
            while True:
                live.update(draw(asyncio.run(read_status(settings.database_url))), refresh=True)
                time.sleep(WATCH_INTERVAL_S)
        except KeyboardInterrupt:
            return


async def read_status(url: str) -> Status:
    """Raises ConfigurationError or DatabaseTroubleError."""
    async with Database(url, size=1, timeout_s=PATIENCE_S) as database:
        schema = await read_schema(database)
        lanes = []
        for crm, table in schema.lanes.items():
            counts = dict((await database.fetch(render("count_states", table.variables)))[0])
            last = await database.fetch(render("find_last_error", table.variables))
            error, failed_at = last[0] if last else (None, None)
            counts |= {
                "last_delivered_at": _time(counts["last_delivered_at"]),
                "last_error": error,
                "last_failed_at": _time(failed_at),
            }
            failures = await database.fetch(render("count_failures", table.variables))
            lanes.append(LaneStatus(crm=crm, failures=[dict(row) for row in failures], **counts))
        rows = await database.fetch(query("list_workers"))
    workers = [{**dict(row), "started_at": _time(row["started_at"])} for row in rows]
    return Status(workers, lanes)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def draw(current: Status) -> Group:
    """The same for people: a column for each CRM."""
    table = Table()
    table.add_column("contacts")
    for lane in current.lanes:
        table.add_column(lane.crm, justify="right")
    for state in STATES:
        table.add_row(state.replace("_", " "), *(f"{getattr(lane, state):,}" for lane in current.lanes))
    table.add_section()
    ages = ("" if lane.oldest_ready_s is None else f"{lane.oldest_ready_s:,.1f} s" for lane in current.lanes)
    table.add_row("oldest ready", *ages)
    table.add_row("delivered in the last minute", *(f"{lane.delivered_last_minute:,}" for lane in current.lanes))

    failures = Table()
    failures.add_column("CRM")
    failures.add_column("contacts", justify="right")
    failures.add_column("failed, for example", overflow="fold")
    for lane in current.lanes:
        for failure in lane.failures:
            failures.add_row(lane.crm, f"{failure['contacts']:,}", Text(failure["sample"]))

    for lane in current.lanes:
        if lane.last_error is not None:
            failures.add_section()
            failures.add_row(lane.crm, "latest", Text(f"{lane.last_failed_at}  {lane.last_error}"))

    alive = sum(worker["alive"] for worker in current.workers)
    dead = len(current.workers) - alive
    line = f"Workers alive: {alive}" + (f", dead and not yet cleaned up: {dead}" if dead else "")
    if not alive:
        line += "  (start one with `crm-sync run`)"
    return Group(table, *([failures] if failures.row_count else []), Text(line))
