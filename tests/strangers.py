"""A role that may connect, and nothing else: it can do no more to workers than Postgres allows every role."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from tests.roles import PASSWORD

STRANGER = f"stranger_{os.getpid()}"


@asynccontextmanager
async def stranger(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Its connection."""
    owner = await asyncpg.connect(url)
    try:
        if not await owner.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", STRANGER):
            await owner.execute(f"CREATE ROLE {STRANGER} LOGIN PASSWORD '{PASSWORD}'")
        parts = urlsplit(url)
        its = urlunsplit(parts._replace(netloc=f"{STRANGER}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}"))
        connection = await asyncpg.connect(its)
        try:
            yield connection
        finally:
            await connection.close()
    finally:
        await owner.execute(f"DROP ROLE IF EXISTS {STRANGER}")
        await owner.close()
