"""The real worker process: how tests start it, read its log and wait for its end."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from tests.harness import TIMEOUT_S
from tests.roles import as_worker

KEY = "xkeysib-a-test-key"


def environment(url: str, brevo: BrevoSandbox | None = None, *, owner: bool = False, **settings: str) -> dict[str, str]:
    """Of a worker with a worker's rights, or of a command that the owner of the table runs."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("BREVO_", "DATABASE_"))}
    env["DATABASE_URL"] = url if owner else as_worker(url)
    if brevo is not None:
        env |= {"BREVO_API_KEY": KEY, "BREVO_BASE_URL": f"{brevo.url}/v3", "BREVO_LIMITS": "none"}
    return env | settings


@asynccontextmanager
async def process(env: dict[str, str], *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`crm-sync` with these arguments, in a folder without a .env; killed at the end if it still runs."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crm_sync", *(arguments or ("run",)),
        env={"PYTHONPATH": str(Path.cwd() / "worker"), **env}, cwd="/",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            running.kill()
        await running.communicate()


async def ended(running: asyncio.subprocess.Process) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)"""
    async with asyncio.timeout(TIMEOUT_S):
        out, err = await running.communicate()
    assert running.returncode is not None
    return running.returncode, out.decode(), err.decode()


async def said(running: asyncio.subprocess.Process, event: str) -> dict[str, object]:
    """The first log line with this event."""
    assert running.stderr is not None
    async with asyncio.timeout(TIMEOUT_S):
        while line := await running.stderr.readline():
            entry: dict[str, object] = json.loads(line)
            if entry["event"] == event:
                return entry
    raise AssertionError(f"the process ended without {event}")
