"""crm-sync pause: no worker calls a CRM until it is resumed."""

import asyncio

import click

from crm_sync.core.durations import clock, span
from crm_sync.core.text import clean
from crm_sync.environment import read
from crm_sync.reports.completing import crm_names
from crm_sync.reports.lane_state import TO_PAUSE, LaneState, read_lane_state
from crm_sync.reports.layout import wrapped
from crm_sync.reports.rights import database_for
from crm_sync.settings import Settings
from crm_sync.telling import deeds
from crm_sync.telling.pausing import Pause, hold


@click.command()
@click.argument("crm", shell_complete=crm_names)
@click.option("--reason", required=True, help="Why, for the next person who looks at `crm-sync status`.")
def pause(*, crm: str, reason: str) -> None:
    """Pauses deliveries to CRM, for all workers, until `crm-sync resume CRM`. Restarts do not end it.

    If it is paused already, the new reason replaces the former one. Who gave that, and when, is printed, and kept in
    crm_sync.events. One resume ends the pause for everybody.

    Requests in flight end. Contacts keep their place in line, and flips are still accepted.

    \b
    Example:
      crm-sync pause brevo --reason "key rotation"
    """
    reason = clean(reason)
    if not reason:
        raise click.BadParameter("say why: `crm-sync status` shows the reason", param_hint="--reason")
    before, after, problem = asyncio.run(_pause(read(Settings), crm, reason))
    if before is None:
        click.echo(f"{after.crm} is paused for all workers: {reason}")
    else:
        since = f"{clock(before.since, after.now)} ({span((after.now - before.since).total_seconds())})"
        click.echo(f"{after.crm} was paused already, since {since}, {before.words}")
        click.echo(f"The reason is now: {reason}\nThe former one is kept in crm_sync.events. One resume ends the pause for both.")
    click.echo(
        wrapped(
            "Requests in flight end, and no new one is started, even after a restart. Contacts keep their place in line, and "
            "flips are still accepted."
        )
    )
    click.echo(f"To go on: crm-sync resume {after.crm}")
    deeds.tell(problem)


async def _pause(settings: Settings, crm: str, reason: str) -> tuple[Pause | None, LaneState, str | None]:
    """The previous pause and the lane as it is now; and a sentence if this could not be recorded."""
    async with database_for(settings, TO_PAUSE) as database:
        name = (await read_lane_state(database, crm)).crm
        before, problem = await hold(database, name, reason)
        return before, await read_lane_state(database, name), problem
