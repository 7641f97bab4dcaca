"""crm-sync sandbox: a fake CRM for trying out a real table."""

import asyncio

import click
import uvloop

from crm_sync.sandbox.__main__ import LIMITED, UNLIMITED, until_stopped
from crm_sync.sandbox.process import settings
from crm_sync.sandbox.server import Sandbox

SWITCHING = "https://github.com/crm-sync/crm-sync/blob/main/docs/how-to/rotate-a-key.md#a-key-of-another-account"


@click.command()
@click.argument("crm", type=click.Choice(list(UNLIMITED)))
@click.option(
    "--port",
    default=0,
    show_default=True,
    metavar="PORT",
    type=click.IntRange(0, 65_535),
    help="The port to listen on; 0 takes a free one.",
)
@click.option("--limits", is_flag=True, help="With the vendor's own limits for a free account.")
@click.option("--misbehave", is_flag=True, help="Answer some requests with 429, with an error, or not at all.")
def sandbox(*, crm: str, port: int, limits: bool, misbehave: bool) -> None:
    """Serves a fake CRM on this machine until Ctrl-C, and prints the settings a worker needs to reach it.

    It has the vendor's state, limits and quirks, and refuses what the vendor refuses. It keeps contacts in memory only.
    The ids that it writes into the rows belong to other contacts in a real account: forget them before you switch to one.

    \b
    Example:
      crm-sync sandbox brevo --port 9201
    """
    fake = (LIMITED if limits else UNLIMITED)[crm](port)
    if misbehave:
        fake.misbehave()
    try:
        uvloop.run(_serve(crm, fake, limits=limits))
    except OSError as error:
        raise click.ClickException(f"cannot listen on port {port}: {error.strerror or error}: choose another --port") from None


async def _serve(crm: str, fake: Sandbox, *, limits: bool) -> None:
    stopped = asyncio.ensure_future(until_stopped())
    async with fake:
        named = settings(crm, fake.url)
        lines = [f"{name}={value}" for name, value in named.items() if not (limits and name.endswith("_LIMITS"))]
        click.echo(
            f"A sandbox of {crm} listens at {fake.url} until Ctrl-C. It keeps what it is sent in memory only.\n"
            f"In .env, or in the environment of a worker:\n\n"
            + "\n".join(lines)
            + f"\n\nWhat it holds: {fake.url}/_sandbox/contacts"
            + f"\nBefore you switch to a real account: {SWITCHING}"
        )
        await stopped
