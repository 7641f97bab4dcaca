"""What stays flat: under a snapshot held open, with a million waiting, and over a backfill of a million."""

import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from crm_sync.environment import read
from crm_sync.postgres import locks
from crm_sync.postgres.pool import Database
from crm_sync.postgres.session import CHANNEL
from crm_sync.reports.status_reading import read_status
from crm_sync.settings import Settings
from crm_sync.table.contacts import Contacts
from crm_sync.table.schema import read_schema
from tests.bench import ours
from tests.bench.peers.process import WorkerProcess, running_worker
from tests.bench.promises import Promise, at_most, exactly, told

DRAIN_TIMEOUT_S = 600
CLAIMS = 20
CLAIM_SIZE = 100
MOST_GROWTH = 1.1  # of the worker's memory over a backfill
ASLEEP = f"SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = {locks.BELL} AND mode = 'ExclusiveLock')"


async def under_snapshot(database_url: str, contacts: int = 100_000, tenth: int = 10_000) -> dict[str, float]:
    """Contacts a second for the first and the last tenth of a drain, while a report holds its snapshot open."""
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
    """Pages touched (hit, read or written) for each row claimed: the median of some claims, each where the one before ended."""
    await ours.fill_and_flip(database_url, waiting)
    touched = []
    async with Database(database_url, size=1) as database:
        await database.fetch("VACUUM ANALYZE")
        contacts = Contacts(database, (await read_schema(database)).lanes["brevo"], "email", ours.FIELDS)
        first = await ours.register(database)
        cursor = contacts.line._cursor
        for token in range(first, first + CLAIMS):
            statement = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {contacts._claim}"
            arguments = (CLAIM_SIZE, token, cursor, [], False, 0, None)
            plan = json.loads(await database.value(statement, *arguments))[0]["Plan"]
            if plan["Actual Rows"] != CLAIM_SIZE:
                raise RuntimeError(f"a claim of {CLAIM_SIZE} came back with {plan['Actual Rows']}")
            pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            touched.append(pages / CLAIM_SIZE)
            cursor = await database.value("SELECT max(brevo_due_at) FROM public.contacts WHERE brevo_claimed_by = $1", token)
    return statistics.median(touched)


@dataclass(frozen=True, slots=True)
class Backfill:
    """notifications: of the one statement. Memory is the worker's resident memory in MB: with a tenth
    delivered, and at its peak.
    """

    flipped_s: float
    notifications: int
    drained_s: float
    early_mb: float
    peak_mb: float
    foretold_s: float  # by `crm-sync status`, with half of them delivered
    ended_s: float  # after that

    def promises(self) -> list[Promise]:
        return [
            told("the UPDATE", self.flipped_s, "s", 1),
            exactly("notifications of it", self.notifications, 1),
            told("from its COMMIT to the last one delivered", self.drained_s, "s", 1),
            told("the worker's memory, a tenth delivered", self.early_mb, "MB"),
            at_most("its peak, at the end", self.peak_mb, MOST_GROWTH * self.early_mb, "MB"),
            told("half of them delivered, the end was", self.ended_s, "s", 1),
            told("`crm-sync status` had said", self.foretold_s, "s", 1),
        ]


async def backfill(database_url: str, contacts: int = 1_000_000) -> Backfill:
    """A million contacts, flipped in one statement while a worker sleeps."""
    await ours.fill(database_url, contacts)
    application = await asyncpg.connect(database_url)
    await application.execute("VACUUM ANALYZE contacts", timeout=DRAIN_TIMEOUT_S)
    rung: list[int] = []
    listener = await asyncpg.connect(database_url)
    await listener.add_listener(CHANNEL, lambda _, pid, *__: rung.append(pid))
    with ours.environment(DATABASE_URL=database_url):
        async with running_worker([*ours.NOOP, str(contacts)]) as worker:
            while not await application.fetchval(ASLEEP):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            started = time.monotonic()
            await application.execute(ours.FLIP, timeout=DRAIN_TIMEOUT_S)
            flipped = time.monotonic()
            early_mb = half = foretold_s = 0.0
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while left := await application.fetchval("SELECT count(*) FROM contacts WHERE brevo_due_at IS NOT NULL"):
                    if not early_mb and left < 0.9 * contacts:
                        early_mb = _resident_mb(worker, "VmRSS")
                    if not half and left < 0.5 * contacts:
                        half = time.monotonic()
                        foretold_s = await _foretold_s()
                    await asyncio.sleep(0.2)
            ended = time.monotonic()
            peak_mb = _resident_mb(worker, "VmHWM")
    await listener.close()
    notifications = rung.count(application.get_server_pid())
    await application.close()
    return Backfill(flipped - started, notifications, ended - flipped, early_mb, peak_mb, foretold_s, ended - half)


async def _foretold_s() -> float:
    async with Database.of(read(Settings), size=1) as database:
        [brevo] = [lane for lane in (await read_status(database)).lanes if lane.crm == "brevo"]
    if brevo.ends_in_s is None:
        raise RuntimeError("`crm-sync status` foretells nothing in the middle of a drain")
    return brevo.ends_in_s


async def statements_while_idle(database_url: str, log: Path, seconds: float = 30.0) -> int:
    """How many statements an idle worker sends in this many seconds. log: of a server that logs every statement."""
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
