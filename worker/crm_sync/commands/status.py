"""crm-sync status: the state of every CRM."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
from rich.console import Group
from rich.live import Live

from crm_sync.configuration import load
from crm_sync.core.waits import USUAL
from crm_sync.errors import DatabaseTroubleError
from crm_sync.postgres.pool import Database
from crm_sync.reports.lane_label import is_well
from crm_sync.reports.layout import console
from crm_sync.reports.rights import Needs, explained
from crm_sync.reports.status_reading import COUNTS, Status, read_status
from crm_sync.reports.status_report import Screen, draw
from crm_sync.settings import Settings
from crm_sync.telling.snapshot import count

WATCH_INTERVAL_S = 2.0  # at least
SHARE = 100  # the interval is at least this many times the duration of a query: watching takes a hundredth of a connection
PATIENCE_S = 60.0
EXIT_NEEDS_A_PERSON = 1
EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h

TO_COUNT = Needs(
    lacking="the role {role} of DATABASE_URL may not write the snapshot ({refusal}). Use a worker's: `crm-sync grants`",
    absent="there is no table crm_sync.snapshot: run `crm-sync migrate`",
)


@click.command()
@click.option("--watch", is_flag=True, help=f"Repeat every {WATCH_INTERVAL_S:.0f} s or less often, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
@click.option("--exact", is_flag=True, help="Count all contacts now, in one pass over the table.")
def status(*, watch: bool, as_json: bool, exact: bool) -> None:
    """Shows for each CRM its state, its contacts by state, its progress, when it will be done, and why contacts failed.

    Contacts in line, in flight and in Error are counted live, up to 10,000. The rest is counted by a worker from time to time,
    and the age of its numbers is shown; in a small table, all are counted live. Exits 0 if all is well, 1 if something needs a
    person (a CRM is down, its settings or columns are at fault, it is stalled, or contacts are ready and no worker runs), and 69
    if the database cannot be reached.

    \b
    Example:
      crm-sync status --watch
    """
    if watch and (as_json or exact):
        raise click.UsageError(f"--watch and {'--json' if as_json else '--exact'} exclude each other")
    configuration = load()
    asked = configuration.settings, configuration.with_credentials()
    if watch:
        with suppress(KeyboardInterrupt):
            asyncio.run(_watch(*asked))
        return
    try:
        current = asyncio.run(_look(*asked, exact=exact))
    except DatabaseTroubleError as error:
        click.echo(f"crm-sync: cannot reach the database: {error}", err=True)
        sys.exit(EXIT_UNAVAILABLE)
    if as_json:
        click.echo(json.dumps(as_objects(current), indent=2, default=_text))
    else:
        console().print(draw(current))
    if not is_well(current):
        sys.exit(EXIT_NEEDS_A_PERSON)


async def _look(settings: Settings, with_credentials: Sequence[str], *, exact: bool) -> Status:
    async with _database(settings) as database:
        if exact:
            async with explained(database, TO_COUNT):
                await count(database, USUAL.count_patience_s)
        return await read_status(database, with_credentials, exact=exact)


async def _watch(settings: Settings, with_credentials: Sequence[str]) -> None:
    """Until Ctrl-C. While the database is unreachable, the last result stays on screen."""
    current: Status | None = None
    with _shown() as show:
        async with _database(settings) as database:
            while True:
                said = None
                is_first = current is None  # it includes connecting and planning, so it is no measure of the next one
                started = time.monotonic()
                try:
                    current = await read_status(database, with_credentials)
                except DatabaseTroubleError as error:
                    said = f"{_now()}  Cannot reach the database, trying again: {error}"
                took_s = time.monotonic() - started
                show(current, said)
                await asyncio.sleep(WATCH_INTERVAL_S if said or is_first else max(WATCH_INTERVAL_S, SHARE * took_s))


@contextmanager
def _shown() -> Iterator[Callable[[Status | None, str | None], None]]:
    """In place on a terminal; elsewhere one after another, with the time of each."""
    output = console()
    if output.is_terminal:
        with Live(console=output, auto_refresh=False) as live:
            yield lambda current, said: live.update(Screen(current, said), refresh=True)
        return

    def show(current: Status | None, said: str | None) -> None:
        output.print(said if said or current is None else Group(_now(), draw(current)))

    yield show


def _now() -> str:
    return f"{datetime.now().astimezone():%H:%M:%S}"


def _database(settings: Settings) -> Database:
    return Database.of(settings, size=1, timeout_s=PATIENCE_S)


def as_objects(current: Status) -> dict[str, Any]:
    """For scripts: the columns of the lane state are merged into the lane's."""
    lanes = []
    for lane in current.lanes:
        fields = asdict(lane)
        lane_state = fields.pop("state")
        if not lane.counted:
            fields |= dict.fromkeys(COUNTS)
        lanes.append({"crm": lane_state.pop("crm"), **lane_state, **fields})
    return {"workers": current.workers, "lanes": lanes}


def _text(moment: object) -> str:
    if not isinstance(moment, datetime):
        raise TypeError(f"no JSON for {type(moment).__name__}")
    return moment.isoformat(timespec="milliseconds")
