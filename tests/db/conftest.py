from collections.abc import AsyncIterator

import pytest

from tests.db.steps import Worker, open_worker


@pytest.fixture
async def worker(url: str) -> AsyncIterator[Worker]:
    async with open_worker(url, 1) as worker:
        yield worker


@pytest.fixture
async def other_worker(url: str) -> AsyncIterator[Worker]:
    async with open_worker(url, 2) as worker:
        yield worker
