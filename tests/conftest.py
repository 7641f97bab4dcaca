"""A real PostgreSQL, and a fresh database for each test, copied from a migrated template."""

import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator

import asyncpg
import pytest

from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.postgres import Postgres, Server
from tests import (
    examples,  # noqa: F401 (loads its profile)
    roles,
)
from tests.photograph import take
from tests.process import FORKS, KEY
from tests.servers import missing_server, running_server

# A shell that runs the tests in the background makes its children ignore Ctrl-C, and so would the commands interrupted here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.durations"]

TEMPLATE = f"crm_sync_template_{os.getpid()}"  # others may run their tests on the same server
_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """One sentence instead of failing every test."""
    if not hasattr(config, "workerinput") and (missing := missing_server()):
        raise pytest.UsageError(missing)


@pytest.fixture(scope="session", autouse=True)
def forks() -> Iterator[None]:
    """Ends the server of forked commands, if one was started."""
    yield
    FORKS.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of TEST_DATABASE_URL, else an embedded one of version PG."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        with Server(url).staying_connected() as theirs:
            yield theirs
        roles.forget_roles(url)
        return
    with running_server() as own, own.staying_connected():
        yield own


@pytest.fixture(scope="session")
def migrated(server: Server) -> Iterator[str]:
    """A database with crm-sync on its contacts table, and the rights of a worker."""
    server.drop_database(TEMPLATE)
    roles.migrate(server.create_database(TEMPLATE))
    yield TEMPLATE
    server.drop_database(TEMPLATE)


@pytest.fixture(scope="session")
def with_console(server: Server, migrated: str) -> Iterator[str]:
    """A copy of it, with exactly the rights that `crm-sync grants --console` prints."""
    name = f"{migrated}_console"
    roles.granted(server.create_database(name, migrated), roles.CONSOLE, "--console")
    yield name
    server.drop_database(name)


@pytest.fixture(scope="session")
def template(migrated: str) -> str:
    """What `url` is a copy of."""
    return migrated


@pytest.fixture
def empty_url(server: Server) -> Iterator[str]:
    """An empty database."""
    name = f"crm_sync_test_{os.getpid()}_{next(_numbers)}"
    yield server.create_database(name)
    server.drop_database(name)


@pytest.fixture
async def owner(empty_url: str) -> AsyncIterator[asyncpg.Connection]:
    """In an empty database: the owner of the table, who writes to it as the application does."""
    connection = await asyncpg.connect(empty_url)
    yield connection
    await connection.close()


@pytest.fixture
def photograph(server: Server, empty_url: str) -> Callable[[], str]:
    """Takes the schema of that database as it is now."""
    if not isinstance(server, Postgres):
        pytest.skip("a photograph is taken with the pg_dump of the embedded server")
    return lambda: take(server, empty_url.rpartition("/")[2])


@pytest.fixture
def url(server: Server, template: str) -> Iterator[str]:
    """A migrated database."""
    name = f"crm_sync_test_{os.getpid()}_{next(_numbers)}"
    yield server.create_database(name, template)
    server.drop_database(name)


@pytest.fixture
async def app(url: str) -> AsyncIterator[asyncpg.Connection]:
    """The application: an ordinary connection that knows nothing about crm-sync."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture
async def other_app(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A second session of the application."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture
async def brevo() -> AsyncIterator[BrevoSandbox]:
    """A fake Brevo without limits."""
    async with BrevoSandbox(key=KEY, contacts_per_second=None, contacts_per_hour=None) as sandbox:
        yield sandbox


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times are shown in the reader's time zone."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()
