"""A sandbox in a separate process, and the settings with which a worker reaches it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from crm_sync.crm.registry import OWN
from crm_sync.sandbox import credentials

CRMS = tuple(OWN)
START_TIMEOUT_S = 30.0


@asynccontextmanager
async def running_sandbox(crm: str, *options: str) -> AsyncIterator[str]:
    """Yields its URL. options: of `python -m crm_sync.sandbox`."""
    arguments = (sys.executable, "-m", "crm_sync.sandbox", crm, *options)
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    async with ended_after(process):
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await process.stdout.readline()
        yield json.loads(line)["url"]


@asynccontextmanager
async def ended_after(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Ends the process at the end, and waits for it."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def settings(crm: str, url: str) -> dict[str, str]:
    """What a worker needs to deliver to a sandbox at this URL as fast as possible."""
    return {
        "hubspot": {
            "HUBSPOT_ACCESS_TOKEN": credentials.HUBSPOT_TOKEN,
            "HUBSPOT_BASE_URL": url,
            "HUBSPOT_LIMITS": "none",
        },
        "brevo": {"BREVO_API_KEY": credentials.BREVO_KEY, "BREVO_BASE_URL": f"{url}/v3", "BREVO_LIMITS": "none"},
        "mautic": {
            "MAUTIC_BASE_URL": url,
            "MAUTIC_USERNAME": credentials.MAUTIC_USERNAME,
            "MAUTIC_PASSWORD": credentials.MAUTIC_PASSWORD,
        },
        "n8n": {"N8N_WEBHOOK_URL": f"{url}/webhook/{credentials.N8N_PATH}"},
    }[crm]
