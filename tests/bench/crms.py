"""From a flip to the CRM, contacts a second: the real worker against each sandbox, next to a plain loop over the vendor's SDK."""

import asyncio
import sys
import time

import asyncpg

from crm_sync.sandbox.process import running_sandbox, settings
from tests.bench.ours import environment, fill
from tests.bench.peers.process import running_worker

CONTACTS = {"hubspot": 20_000, "brevo": 10_000, "mautic": 10_000, "n8n": 10_000}
# For the loop, by the delay of the fake's answers: none, which is a race of CPUs, and 20 ms, which is fast for a CRM.
WITH_SDK = {0: 1_000, 20: 200}
SDKS = ("hubspot", "brevo")
RUN = (sys.executable, "-m", "tests.bench.run_telling")
START_TIMEOUT_S = 30
TIMEOUT_S = 300
POLL_S = 0.01


async def ours(database_url: str, crm: str, delay_ms: int) -> float:
    """Contacts a second, from the COMMIT of one statement that flips them all until the last row is Complete."""
    await fill(database_url, CONTACTS[crm])
    app = await asyncpg.connect(database_url)
    async with running_sandbox(crm, "--delay-ms", str(delay_ms)) as url:
        with environment(DATABASE_URL=database_url, **settings(crm, url)):
            async with running_worker(RUN) as worker:
                await worker.says("ready", START_TIMEOUT_S)
                await app.execute("VACUUM ANALYZE contacts")
                await app.execute(f"UPDATE contacts SET {crm}_sync_status = 'Queued'")
                started = time.perf_counter()
                async with asyncio.timeout(TIMEOUT_S):
                    while await app.fetchval(f"SELECT EXISTS (SELECT FROM contacts WHERE {crm}_due_at IS NOT NULL)"):  # noqa: ASYNC110
                        await asyncio.sleep(POLL_S)
                took_s = time.perf_counter() - started
    complete = await app.fetchval(f"SELECT count(*) FROM contacts WHERE {crm}_sync_status = 'Complete'")
    await app.close()
    if complete != CONTACTS[crm]:
        raise RuntimeError(f"only {complete} of {CONTACTS[crm]} contacts were delivered")
    return CONTACTS[crm] / took_s


async def sdk_loop(database_url: str, crm: str, delay_ms: int) -> float:
    """Contacts a second."""
    async with running_sandbox(crm, "--delay-ms", str(delay_ms)) as url:
        arguments = (sys.executable, "-m", "tests.bench.sdk_loop", crm, url, database_url, str(WITH_SDK[delay_ms]))
        process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the loop over the SDK of {crm} failed")
    return float(out)
