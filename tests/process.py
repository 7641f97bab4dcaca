"""The real worker process: how tests start it, read its log and wait for its end."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from tests.forked import Forked, ForkServer
from tests.harness import TIMEOUT_S
from tests.roles import as_worker

KEY = "xkeysib-a-test-key"
FORKS = ForkServer()
EARLY = ("PYTHON", "LD_", "SSL_")  # aiohttp trusts what OpenSSL trusts at import time
Process = Forked | asyncio.subprocess.Process


def _network() -> str:
    """The network namespace of this thread; always the same if there are none."""
    with suppress(OSError):
        return str(Path("/proc/thread-self/ns/net").readlink())
    return ""


HOME = _network()


def environment(url: str, brevo: BrevoSandbox | None = None, *, owner: bool = False, **settings: str) -> dict[str, str]:
    """For a worker with a worker's rights, or a command run by the owner of the table."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("BREVO_", "DATABASE_"))}
    env["DATABASE_URL"] = url if owner else as_worker(url)
    if brevo is not None:
        env |= {"BREVO_API_KEY": KEY, "BREVO_BASE_URL": f"{brevo.url}/v3", "BREVO_LIMITS": "none"}
    return env | settings


@asynccontextmanager
async def process(env: dict[str, str], *arguments: str, fresh: bool = False) -> AsyncIterator[Process]:
    """`crm-sync` with these arguments, in a folder without a .env; killed at the end if it still runs.

    fresh: an interpreter of its own, as a person has it, which takes a second; else one that is forked with everything imported.
    In a network namespace it is always fresh, for what is forked lives in the network of the server that it is forked from.
    """
    arguments = arguments or ("run",)
    alone = fresh or _for_the_interpreter(env) or _network() != HOME
    if alone:
        running: Process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "crm_sync", *arguments,
            env={"PYTHONPATH": str(Path.cwd() / "worker"), **env}, cwd="/",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    else:
        running = await FORKS.start(arguments, env)
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            running.kill()
        if alone:
            # Processes that it started hold its pipes, and would be waited for forever.
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
        await running.communicate()


def _for_the_interpreter(env: dict[str, str]) -> bool:
    """Whether it contains a variable that is read only at interpreter start or import."""
    return any(name.startswith(EARLY) and name != "PYTHONPATH" and os.environ.get(name) != value for name, value in env.items())


async def ended(running: Process) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)"""
    async with asyncio.timeout(TIMEOUT_S):
        out, err = await running.communicate()
    assert running.returncode is not None
    return running.returncode, out.decode(), err.decode()


async def said(running: Process, event: str) -> dict[str, object]:
    """The first log line with this event."""
    assert running.stderr is not None
    async with asyncio.timeout(TIMEOUT_S):
        while line := await running.stderr.readline():
            entry: dict[str, object] = json.loads(line)
            if entry["event"] == event:
                return entry
    raise AssertionError(f"the process ended without {event}")
