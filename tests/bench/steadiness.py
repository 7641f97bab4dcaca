"""What stays flat: under a snapshot held open, with a million waiting, and in memory."""

import asyncio
import json
import statistics
import sys
from pathlib import Path

import asyncpg

from tests.bench import ours
from tests.bench.peers.process import WorkerProcess, running_worker
from worker.contacts import Contacts
from worker.database import Database
from worker.schema import read_schema

DRAIN_TIMEOUT_S = 600
CLAIMS = 20
CLAIM_SIZE = 100


async def under_snapshot(database_url: str, contacts: int = 100_000, tenth: int = 10_000) -> dict[str, float]:
    """Contacts a second of the first and of the last tenth of a drain, while a report holds its snapshot open."""
    await ours.fill_and_flip(database_url, contacts)
    report = await asyncpg.connect(database_url)
    async with report.transaction(isolation="repeatable_read"):
        await report.fetchval("SELECT count(*) FROM contacts")
        await _drain(database_url, contacts)
    await report.close()
    connection = await asyncpg.connect(database_url)
    times = [row[0] for row in await connection.fetch("SELECT brevo_synced_at FROM contacts ORDER BY 1")]
    await connection.close()
    first = (times[tenth] - times[0]).total_seconds()
    last = (times[-1] - times[-1 - tenth]).total_seconds()
    return {"first": tenth / first, "last": tenth / last}


async def pages_per_claimed_row(database_url: str, waiting: int) -> float:
    """Pages touched (hit, read or written) for each row claimed, the median of some claims in the middle of the backlog."""
    await ours.fill_and_flip(database_url, waiting)
    touched = []
    async with Database(database_url, size=1) as database:
        await database.fetch("VACUUM ANALYZE contacts")
        contacts = Contacts(database, (await read_schema(database)).lanes["brevo"], "email", ours.FIELDS)
        for token in range(1, CLAIMS + 1):
            statement = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {contacts._claim}"
            plan = json.loads(await database.value(statement, CLAIM_SIZE, token, contacts._cursor, []))[0]["Plan"]
            if plan["Actual Rows"] != CLAIM_SIZE:
                raise RuntimeError(f"a claim of {CLAIM_SIZE} came back with {plan['Actual Rows']}")
            pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            touched.append(pages / CLAIM_SIZE)
    return statistics.median(touched)


async def memory_of_a_drain(database_url: str, contacts: int = 300_000) -> dict[str, float]:
    """Resident memory of the worker in MB: when a tenth is done, and its peak at the end."""
    await ours.fill_and_flip(database_url, contacts)
    early = 0.0
    connection = await asyncpg.connect(database_url)
    with ours.environment(DATABASE_URL=database_url):
        async with running_worker([*ours.NOOP, str(contacts)]) as worker:
            await worker.says("first", 60)
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while left := await connection.fetchval("SELECT count(*) FROM contacts WHERE brevo_due_at IS NOT NULL"):
                    if not early and left < 0.9 * contacts:
                        early = _resident_mb(worker, "VmRSS")
                    await asyncio.sleep(0.2)
            peak = _resident_mb(worker, "VmHWM")
    await connection.close()
    return {"early": early, "peak": peak}


async def statements_while_idle(database_url: str, log: Path, seconds: float = 30.0) -> int:
    """How many statements an idle worker sends in so many seconds. log: of a server that logs every statement."""
    await ours.fill(database_url, 1000)
    with ours.environment(DATABASE_URL=database_url, BREVO_API_KEY="bench", BREVO_BASE_URL="http://127.0.0.1:9"):
        async with running_worker((sys.executable, "-m", "tests.bench.run_telling")) as worker:
            await worker.says("ready", 60)
            await asyncio.sleep(3)
            before = _statements(log)
            await asyncio.sleep(seconds)
            return _statements(log) - before


def _statements(log: Path) -> int:
    """Lines of the worker's connections that log a statement. The server's prefix is the application's name and a bar."""
    return sum(line.startswith("crm-sync") and ("execute" in line or "statement:" in line) for line in log.open())


async def _drain(database_url: str, contacts: int) -> None:
    connection = await asyncpg.connect(database_url)
    with ours.environment(DATABASE_URL=database_url):
        async with running_worker([*ours.NOOP, str(contacts)]) as worker:
            await worker.says("last", DRAIN_TIMEOUT_S)
            async with asyncio.timeout(60):
                while await connection.fetchval(ours.UNFINISHED):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    await connection.close()


def _resident_mb(worker: WorkerProcess, field: str) -> float:
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024
