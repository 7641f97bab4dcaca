"""The console on a contacts table whose key is a text: any text, including an address."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg

from crm_sync.adoption.table import AdoptionRequest
from tests.console.running import Visit, visiting
from tests.roles import adopt, granted

TABLE = "CREATE TABLE contacts (id {key} PRIMARY KEY, email text, first_name text)"
INSERT = "INSERT INTO contacts (id, email, first_name) VALUES ($1, $2, 'Ada')"


@asynccontextmanager
async def keyed(
    owner: asyncpg.Connection, url: str, *, key: str = "text", options: str = "--console", **settings: object
) -> AsyncIterator[Visit]:
    """key: the type of the key."""
    await owner.execute(TABLE.format(key=key))
    await asyncio.to_thread(adopt, url, AdoptionRequest(crms=("brevo", "hubspot")))
    its_url = granted(url, f"crm_sync_keyed_{os.getpid()}", options)
    async with visiting(its_url, **settings) as visit:
        await visit.sign_in()
        yield visit


async def add(owner: asyncpg.Connection, key: object, email: str = "ada@example.com", /, **columns: object) -> None:
    """As written by an application that may write all columns."""
    await owner.execute(INSERT, key, email)
    await change(owner, key, columns)


async def change(owner: asyncpg.Connection, key: object, columns: Mapping[str, object]) -> None:
    """Bypassing the triggers."""
    if columns:
        changes = ", ".join(f"brevo_{name} = ${number}" for number, name in enumerate(columns, 2))
        await owner.execute("SET session_replication_role = replica")
        await owner.execute(f"UPDATE contacts SET {changes} WHERE id = $1", key, *columns.values())
        await owner.execute("RESET session_replication_role")
