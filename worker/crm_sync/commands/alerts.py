"""crm-sync alerts: what is wrong now, and whether the channels work."""

import asyncio
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from crm_sync.cli import EXIT_FAILED
from crm_sync.configuration import load
from crm_sync.core.alert import Condition
from crm_sync.environment import Environment, read
from crm_sync.errors import ChannelError
from crm_sync.postgres.statements import query
from crm_sync.reports.alert_report import alert_lines, alert_objects
from crm_sync.reports.failure_options import ago
from crm_sync.reports.rights import Needs, database_for
from crm_sync.settings import Settings
from crm_sync.telling.alert_message import trial_message
from crm_sync.telling.channels import Channels

TO_READ = Needs(
    lacking="the role {role} of DATABASE_URL may not read alerts: let the owner run what `crm-sync grants {role}` prints",
    absent="there is no table crm_sync.alerts: run `crm-sync migrate`",
)
USUAL_SINCE = "1d"


@click.group(invoke_without_command=True)
@click.option(
    "--since", default=USUAL_SINCE, show_default=True, metavar="TIME", help="Include alerts that ended within this time."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
@click.pass_context
def alerts(context: click.Context, *, since: str, as_json: bool) -> None:
    """Lists what is wrong now, and what ended recently: since when, how many, what to do, and who was told.

    \b
    Example:
      crm-sync alerts --since 3d
      crm-sync alerts test
    """
    if context.invoked_subcommand is not None:
        return
    meant = ago(since)
    rows = asyncio.run(_read(read(Settings), 0.0 if meant is None else meant.total_seconds()))
    if as_json:
        click.echo(json.dumps({"alerts": alert_objects(rows)}, indent=2))
    else:
        click.echo("\n".join(alert_lines(rows)) or f"Nothing is wrong, and nothing was within {since}.")


@alerts.command()
def test() -> None:
    """Sends a test message to each channel that is set, and says what came of it. Exits 1 where one failed."""
    said = asyncio.run(_test(load().environment))
    if not said:
        click.echo("No channel is set: ALERT_WEBHOOK_URL, ALERT_COMMAND or ALERT_PING_URL.")
    for channel, failure in said.items():
        click.echo(f"{channel}: {failure or 'told'}")
    if not said or any(said.values()):
        sys.exit(EXIT_FAILED)


async def _read(settings: Settings, since_s: float) -> list[Mapping[str, Any]]:
    async with database_for(settings, TO_READ) as database:
        rows = await database.fetch(query("list_alerts"), since_s)
        return [dict(row) for row in rows if row["condition"] in Condition.__members__]


async def _test(environment: Environment) -> dict[str, str | None]:
    """By channel: why it could not be told, or None."""
    said: dict[str, str | None] = {}
    async with Channels.opened(environment) as channels:
        body = trial_message(datetime.now(UTC))
        telling = {channel.name: channel.tell(body) for channel in channels.told}
        if channels.ping is not None:
            telling[channels.ping.name] = channels.ping.ping(well=True)
        for name, attempt in telling.items():
            try:
                await attempt
            except ChannelError as error:
                said[name] = str(error)
            else:
                said[name] = None
    return said
