"""crm-sync status: what is going on."""

import asyncio
import json
import time
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
from rich.live import Live

from crm_sync.environment import read
from crm_sync.reports.layout import console
from crm_sync.reports.status_reading import Status, read_status
from crm_sync.reports.status_report import draw
from crm_sync.settings import Settings

WATCH_INTERVAL_S = 2.0


@click.command()
@click.option("--watch", is_flag=True, help=f"Show it again every {WATCH_INTERVAL_S:.0f} s, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def status(*, watch: bool, as_json: bool) -> None:
    """Shows each CRM's contacts by state, whether it is delivered to, how far it is, when it ends, and why contacts failed."""
    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other")
    settings = read(Settings)
    if as_json:
        click.echo(json.dumps(as_objects(asyncio.run(read_status(settings))), indent=2, default=_text))
        return
    terminal = console()
    if not watch:
        terminal.print(draw(asyncio.run(read_status(settings))))
        return
    with Live(console=terminal, auto_refresh=False) as live:
        try:
            while True:
                live.update(draw(asyncio.run(read_status(settings))), refresh=True)
                time.sleep(WATCH_INTERVAL_S)
        except KeyboardInterrupt:
            return


def as_objects(current: Status) -> dict[str, Any]:
    """For scripts: the lane_state's columns stand among the lane's."""
    lanes = []
    for lane in current.lanes:
        fields = asdict(lane)
        lane_state = fields.pop("state")
        lanes.append({"crm": lane_state.pop("crm"), **lane_state, **fields})
    return {"workers": current.workers, "lanes": lanes}


def _text(moment: object) -> str:
    if not isinstance(moment, datetime):
        raise TypeError(f"no JSON for {type(moment).__name__}")
    return moment.isoformat(timespec="milliseconds")
