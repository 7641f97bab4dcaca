"""Steps of an adoption: a table of any shape, a worker with a worker's rights, and waiting for its effects."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from crm_sync.adoption.adopt import undo as take_off
from crm_sync.adoption.table import AdoptionRequest
from crm_sync.core.outcome import Outcome
from tests import roles
from tests.harness import TIMEOUT_S, ScriptedCrm, running


async def adopt(url: str, table: str | None = None, **request: Any) -> None:
    """Adopts, and lets workers in. request: key, email, crms."""
    await asyncio.to_thread(roles.migrate, url, AdoptionRequest(table, **request))


async def adopt_only(url: str, table: str | None = None, **request: Any) -> list[str]:
    """Adopts. Returns what was done."""
    return await asyncio.to_thread(roles.adopt, url, AdoptionRequest(table, **request))


async def undo(url: str) -> list[str]:
    return await asyncio.to_thread(take_off, url)


@asynccontextmanager
async def delivering(url: str, **settings: Any) -> AsyncIterator[ScriptedCrm]:
    """A worker, and a Brevo that it delivers to, which uses numbers as ids. Drained at the end."""
    crm = ScriptedCrm()
    numbers = itertools.count(1)
    crm.answer = lambda _: Outcome.delivered(str(next(numbers)))
    async with running(url, crm, **settings):
        try:
            yield crm
        finally:
            crm.gate.set()


async def until(app: asyncpg.Connection, table: str, condition: str) -> None:
    """Returns when a condition on aggregates of the table holds. Fails after TIMEOUT_S, and shows the rows."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not await app.fetchval(f"SELECT {condition} FROM {table}"):  # noqa: ASYNC110 (the table has no events)
                await asyncio.sleep(0.01)
    except TimeoutError:
        rows = [dict(row) for row in await app.fetch(f"SELECT * FROM {table} LIMIT 5")]
        raise AssertionError(f"never came true of {table}: {condition}; the first rows: {rows}") from None


def complete(crm: str = "brevo") -> str:
    return f"bool_and({crm}_sync_status::text = 'Complete' AND {crm}_claimed_by IS NULL)"
