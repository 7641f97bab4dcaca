from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from crm_sync.core.outcome import Kind
from tests.steps import Worker, insert, open_worker, watch


@pytest.fixture
async def worker(url: str) -> AsyncIterator[Worker]:
    async with open_worker(url, 1) as worker:
        yield worker


@pytest.fixture
async def other_worker(url: str) -> AsyncIterator[Worker]:
    async with open_worker(url, 2) as worker:
        yield worker


@pytest.fixture
async def complete(app: asyncpg.Connection, worker: Worker) -> Any:
    """A contact that is in Brevo, and whose email and first name are watched."""
    await watch(app, "email", "first_name")
    contact = await insert(app, "Queued")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.DELIVERED, remote_id="7")
    return contact
