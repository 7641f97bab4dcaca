"""pgbouncer in transaction mode in front of a server: it gives a connection to a client for one statement, and then takes it
back.
"""

import asyncio
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from crm_sync.sandbox.postgres import free_port
from tests.harness import TIMEOUT_S
from tests.roles import PASSWORD, WORKER

PROGRAM = shutil.which("pgbouncer")
ABSENT = "pgbouncer is not installed"
CONFIGURATION = """
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 5
logfile = {folder}/log
"""


class Pooler:
    """Five connections to the server for each role. url: of the same database, through it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        port = free_port()
        self.url = urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}"))
        self._folder = Path(tempfile.mkdtemp(prefix="crm-sync-pgbouncer-"))
        self._configuration = self._folder / "pgbouncer.ini"
        self._configuration.write_text(
            CONFIGURATION.format(host=parts.hostname, port=parts.port, own_port=port, folder=self._folder)
        )
        # It lets both in without a password, and logs in to the server with these.
        users = self._folder / "users"
        users.write_text(f'"{parts.username}" "{parts.password or ""}"\n"{WORKER}" "{PASSWORD}"\n')
        # It refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            for path in (self._folder, self._configuration, users):
                shutil.chown(path, self._user)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "Pooler":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        shutil.rmtree(self._folder)

    async def start(self) -> None:
        """Returns when it accepts connections."""
        assert PROGRAM is not None
        silence = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            PROGRAM, "-q", self._configuration, user=self._user, stdout=silence, stderr=silence
        )
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                with suppress(OSError, asyncpg.PostgresError):
                    connection = await asyncpg.connect(self.url, statement_cache_size=0)
                    await connection.close()
                    return
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """SIGKILL: all connections break."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
