"""Everything that faults can break: a server, three workers behind proxies, four CRMs, eight applications."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from crm_sync.sandbox.postgres import Postgres
from crm_sync.sandbox.process import CRMS
from tests.chaos import audit
from tests.chaos.application import AWAY, Application
from tests.chaos.crms import Watched, sandboxes
from tests.chaos.ledger import Ledger
from tests.chaos.workers import Worker
from tests.roles import migrate

WORKERS = 3
APPLICATIONS = 8
STEPS_PER_S = 80.0  # of all applications together
START_TIMEOUT_S = 60.0
OPTIONS = {"max_connections": "200", "log_lock_waits": "on"}


@dataclass
class Stage:
    """crashes: when the server ended without writing everything to disk. serving: one fault of the server at a time."""

    seed: int
    server: Postgres
    url: str
    folder: Path
    crms: Mapping[str, Watched]
    workers: list[Worker]
    ledger: Ledger = field(default_factory=Ledger)
    crashes: list[float] = field(default_factory=list)
    serving: asyncio.Lock = field(default_factory=asyncio.Lock)
    moods: Mapping[str, asyncio.Lock] = field(default_factory=dict)
    keeps_logs: bool = False

    @asynccontextmanager
    async def application(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection that bypasses the workers' proxies. Raises as asyncpg does."""
        connection = await asyncpg.connect(self.url, timeout=10)
        try:
            yield connection
        finally:
            connection.terminate()

    async def execute(self, *statements: str) -> None:
        """One after another, each in a transaction; silently skipped if the server is unreachable."""
        with suppress(*AWAY, asyncpg.PostgresError):
            async with self.application() as app:
                for statement in statements:
                    await app.execute(statement)

    async def accepting(self) -> None:
        """Returns when the server accepts connections."""
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                try:
                    async with self.application() as app:
                        await app.fetchval("SELECT 1")
                        return
                except (*AWAY, asyncpg.PostgresError):
                    await asyncio.sleep(0.02)

    def applications(self) -> list[Application]:
        rate = STEPS_PER_S / APPLICATIONS
        return [Application(number, self.seed, self.url, self.ledger, rate) for number in range(1, APPLICATIONS + 1)]


@asynccontextmanager
async def staged(seed: int) -> AsyncIterator[Stage]:
    """Everything, running; ended at the end in whatever state it is, with only the logs kept."""
    folder = Path(tempfile.mkdtemp(prefix="crm-sync-chaos-"))
    server = Postgres(options=OPTIONS)
    async with AsyncExitStack() as stack:
        stack.callback(server.destroy)
        await asyncio.to_thread(server.create)
        url = server.create_database("chaos")
        await asyncio.to_thread(migrate, url)
        crms = {crm: await stack.enter_async_context(sandbox) for crm, sandbox in sandboxes().items()}
        urls = {crm: sandbox.url for crm, sandbox in crms.items()}
        stage = Stage(seed, server, url, folder, crms, [], moods={crm: asyncio.Lock() for crm in crms})
        stack.callback(lambda: None if stage.keeps_logs else shutil.rmtree(folder, ignore_errors=True))
        async with stage.application() as app:
            await audit.install(app)
            for crm in CRMS:
                await app.execute("SELECT crm_sync.set_clearing($1, true)", crm)
        for number in range(1, WORKERS + 1):
            stage.workers.append(await stack.enter_async_context(Worker(number, url, urls, folder)))
        await _up(stage)
        yield stage


async def _up(stage: Stage) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    async with stage.application() as app:
        while await app.fetchval("SELECT count(*) FROM crm_sync.workers") < WORKERS:
            if time.monotonic() > deadline:
                stage.keeps_logs = True
                raise RuntimeError(f"the workers do not start, see {stage.folder}")
            await asyncio.sleep(0.05)
