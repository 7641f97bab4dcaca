"""A sandbox in a process of its own, and the settings with which a worker reaches it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from crm_sync.sandbox import credentials

CRMS = ("hubspot", "brevo", "mautic", "n8n")
START_TIMEOUT_S = 30.0


@asynccontextmanager
async def running_sandbox(crm: str, *options: str) -> AsyncIterator[str]:
    """Its url. options: of `python -m crm_sync.sandbox`."""
    arguments = (sys.executable, "-m", "crm_sync.sandbox", crm, *options)
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    async with ended_after(process):
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await process.stdout.readline()
        yield json.loads(line)["url"]


@asynccontextmanager
async def ended_after(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Ends the process in the end, and waits for that."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def settings(crm: str, url: str) -> dict[str, str]:
    """What a worker needs to deliver to a sandbox at this url as fast as it can."""
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
