"""Each fake CRM as a process of its own, as the demo and the benchmarks run it."""

import asyncio
import json
import signal
import sys

import aiohttp
import pytest

from crm_sync.sandbox.process import CRMS


@pytest.mark.parametrize("crm", CRMS)
async def test_a_sandbox_runs_as_a_process_of_its_own_until_sigterm(crm):
    arguments = (sys.executable, "-m", "crm_sync.sandbox", crm, "--misbehave", "--refuse", "nobody")
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    url = json.loads(await process.stdout.readline())["url"]
    async with aiohttp.ClientSession(url) as session:
        for page in ("stats", "contacts", "arrivals", "requests"):
            async with session.get(f"/_sandbox/{page}") as response:
                assert response.status == 200
                assert await response.json() is not None
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
