"""`python -m crm_sync.sandbox hubspot`: a fake CRM as a separate process.

It prints one JSON line with its url, and serves until SIGTERM.
"""

import asyncio
import json
import signal
from collections.abc import Callable, Mapping

import click
import uvloop

from crm_sync import __version__
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.hubspot.sandbox import HubSpotSandbox
from crm_sync.sandbox.mautic.sandbox import MauticSandbox
from crm_sync.sandbox.n8n.sandbox import N8nSandbox
from crm_sync.sandbox.server import Fault, Sandbox

# Without their limits: for benchmarks and demos, which should take seconds.
UNLIMITED: Mapping[str, Callable[[int], Sandbox]] = {
    "hubspot": lambda port: HubSpotSandbox(port=port, requests_per_ten_seconds=None, requests_per_day=None),
    "brevo": lambda port: BrevoSandbox(
        port=port, list_ids={1}, contacts_per_second=None, contacts_per_hour=None, others_per_hour=None
    ),
    "mautic": lambda port: MauticSandbox(port=port),
    "n8n": lambda port: N8nSandbox(port=port),
}
# With the limits of a free account.
LIMITED: Mapping[str, Callable[[int], Sandbox]] = {
    **UNLIMITED,
    "hubspot": lambda port: HubSpotSandbox(port=port),
    "brevo": lambda port: BrevoSandbox(port=port, list_ids={1}),
}


async def until_stopped() -> None:
    """Until Ctrl-C or SIGTERM."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()


async def _serve_until_stopped(sandbox: Sandbox) -> None:
    stopped = asyncio.ensure_future(until_stopped())
    async with sandbox:
        click.echo(json.dumps({"url": sandbox.url}))
        await stopped


@click.command()
@click.version_option(__version__, prog_name="crm-sync sandbox")
@click.argument("crm", type=click.Choice(list(UNLIMITED)))
@click.option("--port", default=0, help="0 takes a free one.", show_default=True)
@click.option("--limits", is_flag=True, help="With the vendor's own limits, of an account that pays nothing.")
@click.option("--misbehave", is_flag=True, help="A bad day: one request too many, an error, a lost answer.")
@click.option("--delay-ms", default=0, help="Before each answer.", show_default=True)
@click.option(
    "--at-a-time", default=0, help="Requests that wait out their delay at once; the others queue. 0: all.", show_default=True
)
@click.option("--refuse", metavar="TEXT", help="Requests with this text in their body are refused as a whole.")
def main(*, crm: str, port: int, limits: bool, misbehave: bool, delay_ms: int, at_a_time: int, refuse: str | None) -> None:
    """Serves a fake CRM on loopback, without the vendor's limits unless told otherwise."""
    sandbox = (LIMITED if limits else UNLIMITED)[crm](port)
    if misbehave:
        sandbox.misbehave()
    if refuse:
        sandbox.refuse(refuse)
    if delay_ms:
        places = asyncio.Semaphore(at_a_time) if at_a_time else None
        sandbox.standing_faults.append(Fault(delay_s=delay_ms / 1000, places=places))
    uvloop.run(_serve_until_stopped(sandbox))


if __name__ == "__main__":
    main()
