"""Several real workers against sandboxes, all separate processes, and what both report afterwards."""

import asyncio
import json
import re
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import asyncpg

from tests.bench.crms import RUN, START_TIMEOUT_S
from tests.bench.ours import environment, fill
from tests.bench.peers.process import REPOSITORY, STOP_TIMEOUT_S

_NUMBER = re.compile(r"person\.(\d+)@")  # the people made by `tests.bench.ours.fill`, from 1
ONE = "id = ('00000000-0000-4000-8000-' || lpad(to_hex($1::bigint), 12, '0'))::uuid"
SOME = (
    "id BETWEEN ('00000000-0000-4000-8000-' || lpad(to_hex($1::bigint), 12, '0'))::uuid "
    "AND ('00000000-0000-4000-8000-' || lpad(to_hex($2::bigint), 12, '0'))::uuid"
)
FLIP_TIMEOUT_S = 120.0
POLL_S = 0.1


class Fleet:
    """Running workers. Their logs exist until the fleet ends; workers may end before that."""

    def __init__(self, logs: Sequence[Path], processes: Sequence[asyncio.subprocess.Process]) -> None:
        self._logs = logs
        self._processes = processes

    def said(self) -> list[dict[str, Any]]:
        """The log lines of all workers in order of time; `at` in seconds since 1970."""
        lines = [json.loads(line) for log in self._logs for line in log.read_text().splitlines() if line.startswith("{")]
        return sorted(({**line, "at": datetime.fromisoformat(line["timestamp"]).timestamp()} for line in lines), key=_at)

    def check(self) -> None:
        """Raises RuntimeError if a worker has ended by itself."""
        for process, log in zip(self._processes, self._logs, strict=True):
            if process.returncode is not None:
                raise RuntimeError(f"a worker ended with {process.returncode}: {log.read_text()[-2000:]}")

    async def stop(self) -> None:
        """Drains them all at once, and kills those that do not end. Only these, each by its own id."""
        running = [process for process in self._processes if process.returncode is None]
        for process in running:
            process.terminate()
        ends = [asyncio.create_task(process.wait()) for process in running]
        if ends:
            await asyncio.wait(ends, timeout=STOP_TIMEOUT_S)
            for process in running:
                if process.returncode is None:
                    process.kill()
            await asyncio.wait(ends)


@asynccontextmanager
async def running_fleet(workers: int, database_url: str, **settings: str) -> AsyncIterator[Fleet]:
    """This many workers with these settings, all with an open session."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crm-sync-fleet-")))
        stack.enter_context(environment(DATABASE_URL=database_url, SHUTDOWN_GRACE_S="2", **settings))
        logs = [folder / f"worker-{number}.log" for number in range(1, workers + 1)]
        processes: list[asyncio.subprocess.Process] = []
        fleet = Fleet(logs, processes)
        stack.push_async_callback(fleet.stop)
        for log in logs:
            processes.append(await _started(log))  # noqa: PERF401 (each must be stopped if the next does not start)
        for process in processes:
            await _ready(process, fleet)
        yield fleet


async def _started(log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as errors:
        return await asyncio.create_subprocess_exec(
            *RUN, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )


async def _ready(process: asyncio.subprocess.Process, fleet: Fleet) -> None:
    if process.stdout is None:
        raise RuntimeError("a worker without a standard output")
    async with asyncio.timeout(START_TIMEOUT_S):
        line = await process.stdout.readline()
    if not line.startswith(b"ready "):
        await process.wait()
        fleet.check()


async def fill_table(database_url: str, contacts: int) -> asyncpg.Connection:
    """A table of people, numbered from 1, and the application's connection to it."""
    await fill(database_url, contacts)
    application = await asyncpg.connect(database_url)
    await application.execute("VACUUM ANALYZE contacts", timeout=FLIP_TIMEOUT_S)
    return application


async def flip(application: asyncpg.Connection, crm: str, first: int, last: int) -> None:
    """The contacts with these numbers, both included, in one statement."""
    statement = f"UPDATE contacts SET {crm}_sync_status = 'Queued' WHERE {SOME}"
    await application.execute(statement, first, last, timeout=FLIP_TIMEOUT_S)


async def flip_one(application: asyncpg.Connection, crm: str, number: int) -> float:
    """Returns when its COMMIT was sent, in seconds since 1970."""
    async with application.transaction():
        await application.execute(f"UPDATE contacts SET {crm}_sync_status = 'Queued' WHERE {ONE}", number)
        committed = time.time()
    return committed  # noqa: RET504 (taken before the commit)


class Request(NamedTuple):
    """at: when it reached the CRM, by the machine's monotonic clock. took_s: time there. contacts: in its body."""

    at: float
    took_s: float
    status: int
    contacts: int


async def requests_of(sandbox_url: str) -> list[Request]:
    """In the order of their arrival."""
    rows = await _page(sandbox_url, "requests")
    return sorted(Request(row["monotonic_s"], row["took_s"], row["status"], _contacts_in(row["body"])) for row in rows)


async def arrivals_of(sandbox_url: str) -> dict[int, float]:
    """When each of the people first reached the CRM, by number, in seconds since 1970."""
    found = ((_NUMBER.match(email), at) for email, at in await _page(sandbox_url, "arrivals"))
    return {int(name[1]): at for name, at in found if name}


async def stats_of(sandbox_url: str) -> dict[str, Any]:
    stats: dict[str, Any] = await _page(sandbox_url, "stats")
    return stats


async def _page(sandbox_url: str, name: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{sandbox_url}/_sandbox/{name}") as response:
        return json.loads(await response.read())


def _contacts_in(body: Any) -> int:
    return len(body["inputs"]) if isinstance(body, dict) and "inputs" in body else 1


def _at(line: dict[str, Any]) -> float:
    return float(line["at"])
