"""Worker processes, each behind two proxies to Postgres: one for its pool, one for its session."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from crm_sync.sandbox.process import CRMS, settings
from tests.faults.proxy import Proxy
from tests.roles import as_worker

GRACE_S = 3
# Retries come soon and never run out: an Error is then the contact's own fault. A full look finds flips that no trigger saw.
LANE = {
    "SYNC_RETRY_DELAY_MINUTES": "0.01",
    "SYNC_MAX_RETRIES": "100",
    "SYNC_SCHEDULER_INTERVAL_MINUTES": "0.2",
    "EMPTY": "clear",
}
PACE = {"HUBSPOT_LIMITS": "40/s", "BREVO_LIMITS": "200/s"}  # of all workers, through the database


class Worker:
    """One slot for a worker, which is restarted in it after every end. ended_by_itself: (when, exit code),
    which must not happen.
    """

    def __init__(self, number: int, url: str, crms: Mapping[str, str], folder: Path) -> None:
        """crms: the URL of each sandbox."""
        self.number = number
        self.log = folder / f"worker-{number}.log"
        self.pool, self.session = Proxy(as_worker(url)), Proxy(as_worker(url))
        self.busy = asyncio.Lock()  # one fault at a time
        self.ended_by_itself: list[tuple[float, int]] = []
        self._crms = crms
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._wanted = False

    @property
    def proxies(self) -> tuple[Proxy, Proxy]:
        return self.pool, self.session

    async def __aenter__(self) -> "Worker":
        await self.pool.__aenter__()
        await self.session.__aenter__()
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        await self.pool.__aexit__()
        await self.session.__aexit__()

    async def start(self) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_", "LISTEN_"))}
        env |= {"PYTHONPATH": str(Path.cwd() / "worker"), "DATABASE_URL": self.pool.url, "LISTEN_DATABASE_URL": self.session.url}
        env |= {"SHUTDOWN_GRACE_S": str(GRACE_S)}
        for crm in CRMS:
            env |= settings(crm, self._crms[crm])
            env |= {f"{crm.upper()}_{name}": value for name, value in LANE.items()}
        with self.log.open("ab") as log:
            # A separate session: Ctrl-C is for us, and we end the workers.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "crm_sync", "run", env=env | PACE, cwd="/", stdout=log, stderr=log, start_new_session=True
            )
        self._wanted = True
        self._watch = asyncio.create_task(self._start_again(self._process))

    async def kill(self) -> None:
        await self.end(signal.SIGKILL)

    async def end(self, *signals: int) -> None:
        """Sends these signals, one after another, and waits for the end."""
        self._wanted = False
        process = self._process
        if process is None:
            return
        for number in signals:
            with suppress(ProcessLookupError):
                process.send_signal(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(None if number == signals[-1] else 0.2):
                    await process.wait()
        if self._watch is not None:
            await self._watch

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def ids(self) -> set[int]:
        """Of its processes, one after another."""
        found = set()
        with self.log.open() as lines:
            for line in lines:
                if '"session_opened"' in line:
                    found.add(int(json.loads(line)["worker"]))
        return found

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _start_again(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        if self._wanted:
            self.ended_by_itself.append((time.time(), code))
            await asyncio.sleep(1)
            if self._wanted:
                await self.start()
