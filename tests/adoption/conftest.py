from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from tests.photograph import take
from worker.sandbox.postgres import Postgres, Server

Photograph = Callable[[], str]


@pytest.fixture
async def owner(empty_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Who owns the table, and writes to it as the application does, in a database with nothing in it."""
    connection = await asyncpg.connect(empty_url)
    yield connection
    await connection.close()


@pytest.fixture
def photograph(server: Server, empty_url: str) -> Photograph:
    """Takes the schema of the database as it is now."""
    if not isinstance(server, Postgres):
        pytest.skip("a photograph is taken with the pg_dump of the embedded server")
    return lambda: take(server, empty_url.rpartition("/")[2])
