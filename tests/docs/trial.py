"""Runs the blocks of a page in order: SQL as the table's owner, shell commands in one folder, with sandboxes as the CRMs."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg

from crm_sync.sandbox import credentials
from crm_sync.sandbox.__main__ import UNLIMITED
from crm_sync.sandbox.postgres import Server, binaries
from crm_sync.sandbox.process import CRMS, settings
from tests import roles
from tests.docs.blocks import Block
from tests.harness import TIMEOUT_S, until
from tests.process import process
from tests.roles import database_of
from tests.servers import VERSION

# Placeholders on a page for the reader's own values. Whatever follows them stays, so that app_restored is a database of its own.
PORT = "8025"
OWNER, WORKER = "postgresql://owner@localhost/app", "postgresql://crm_worker@localhost/app"
RESTORED, WORKER_ROLE = "app_restored", "crm_worker"
KEYS = {
    "xkeysib-your-key": credentials.BREVO_KEY,
    "pat-your-token": credentials.HUBSPOT_TOKEN,
    "mautic-user": credentials.MAUTIC_USERNAME,
    "mautic-password": credentials.MAUTIC_PASSWORD,
}


class Trial:
    """folder: of the shell. urls: of the sandboxes, by CRM. others: more placeholders."""

    def __init__(self, url: str, folder: Path, urls: Mapping[str, str], others: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._folder = folder
        names = {RESTORED: f"{database_of(url)}_restored", WORKER_ROLE: roles.WORKER}
        self._words = {OWNER: url, WORKER: roles.as_worker(url), **(others or {}), **names, **KEYS, PORT: str(_free_port())}
        self._state = folder / ".state"
        self._groups: list[int] = []
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_", *map(str.upper, CRMS)))
        }
        self._environment |= {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), str(binaries(VERSION)), os.environ["PATH"])),
            "DATABASE_URL": url,
            "PYTHONPATH": str(Path.cwd() / "worker"),
            "HOME": str(folder),
            "COLUMNS": "120",
        }
        for crm, sandbox in urls.items():
            self._environment |= settings(crm, sandbox)
        self._app: asyncpg.Connection | None = None

    async def run(self, block: Block) -> None:
        """Raises AssertionError with the output if it does not end as it should."""
        code = block.code
        for word, ours in self._words.items():
            code = code.replace(word, ours)
        if block.language == "sh":
            await self._shell(code, block)
        elif block.language == "sql":
            await self._sql(code)
        elif block.language == "then":
            await until(await self._connection(), code)

    async def close(self) -> None:
        for group in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        if self._app is not None:
            await self._app.close()
        await asyncio.to_thread(Server(self._url).drop_database, self._words[RESTORED])

    async def _connection(self) -> asyncpg.Connection:
        if self._app is None:
            self._app = await asyncpg.connect(self._url)
        return self._app

    async def _sql(self, code: str) -> None:
        app = await self._connection()
        await app.execute(code.replace("'...'", "gen_random_uuid()"))

    async def _shell(self, code: str, block: Block) -> None:
        resumed = self._state.exists()  # with what earlier blocks have exported, and without what they have unset
        script = f"set -eo pipefail\n{f'. {self._state}' if resumed else ''}\n{code}\nexport -p > {self._state}\n"
        said = self._folder / ".said"
        with said.open("wb") as stream:  # a file, because background processes keep it open
            shell = await asyncio.create_subprocess_exec(
                "bash", "-c", script, cwd=self._folder, env={} if resumed else self._environment,
                stdin=asyncio.subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True,
            )  # fmt: skip
            self._groups.append(shell.pid)
            async with asyncio.timeout(TIMEOUT_S):
                ended = await shell.wait()
        text = await asyncio.to_thread(said.read_text)
        assert ended == block.exit, f"line {block.line} exited with {ended}, not {block.exit}:\n{block.code}\n{text}"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@asynccontextmanager
async def trial(url: str, folder: Path, *, with_worker: bool, others: Mapping[str, str] | None = None) -> AsyncIterator[Trial]:
    """With sandboxes of all CRMs, and a worker that delivers to them if the page assumes one. others: see Trial."""
    await asyncio.to_thread(roles.make_worker, url)
    async with AsyncExitStack() as stack:
        sandboxes = {crm: await stack.enter_async_context(UNLIMITED[crm](0)) for crm in CRMS}
        urls = {crm: sandbox.url for crm, sandbox in sandboxes.items()}
        if with_worker:
            env = {"DATABASE_URL": roles.as_worker(url), "PATH": os.environ["PATH"]}
            for crm, sandbox in urls.items():
                env |= settings(crm, sandbox)
            await stack.enter_async_context(process(env))
        trying = Trial(url, folder, urls, others)
        stack.push_async_callback(trying.close)
        yield trying
