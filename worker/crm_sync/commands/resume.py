"""crm-sync resume: ends a `crm-sync pause`."""

import asyncio

import click

from crm_sync.core.durations import span
from crm_sync.environment import read
from crm_sync.postgres.statements import query
from crm_sync.reports.completing import crm_names
from crm_sync.reports.lane_state import TO_PAUSE, LaneState, read_lane_state
from crm_sync.reports.rights import database_for
from crm_sync.settings import Settings
from crm_sync.telling import deeds


@click.command()
@click.argument("crm", shell_complete=crm_names)
def resume(*, crm: str) -> None:
    """Ends the pause of CRM, for all workers: contacts are sent again, in the order of their flips.

    \b
    Example:
      crm-sync resume brevo
    """
    before, after, problem = asyncio.run(_resume(read(Settings), crm))
    if before.held_since is None:
        click.echo(f"{after.crm} is not paused by hand: nothing to do.")
    else:
        lasted = span((after.now - before.held_since).total_seconds())
        click.echo(f"{after.crm} is resumed for all workers. It was paused for {lasted}: {before.held_reason}")
    if not after.open:
        click.echo(f"It is not delivering yet: {after.sentence}")
    deeds.tell(problem)


async def _resume(settings: Settings, crm: str) -> tuple[LaneState, LaneState, str | None]:
    """The lane state before and after; and a sentence if this could not be recorded."""
    async with database_for(settings, TO_PAUSE) as database:
        before = await read_lane_state(database, crm)
        await database.fetch(query("resume_lane"), before.crm)
        problem = None
        if before.held_since is not None:
            problem = await deeds.note(database, deeds.LANE_RESUMED, before.crm, was=before.held_reason)
        return before, await read_lane_state(database, before.crm), problem
