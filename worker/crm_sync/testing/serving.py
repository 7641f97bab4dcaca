"""A fake CRM as a separate process, for `crm-sync check`, `sync`, and for watching."""

import asyncio
import signal

from crm_sync.sandbox.server import Sandbox


def serve(sandbox: Sandbox) -> None:
    """Prints its URL, and serves until Ctrl-C or SIGTERM."""
    asyncio.run(_serve(sandbox))


async def _serve(sandbox: Sandbox) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with sandbox:
        print(sandbox.url, flush=True)  # noqa: T201 (the purpose of this command)
        await stopped.wait()
