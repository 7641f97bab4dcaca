"""A worker is alone, and gives that up, in one session or over two of them."""

import asyncio

import pytest

from crm_sync.postgres.company import Company
from tests.harness import TIMEOUT_S

ANSWERS = {"join_company": [{"is_joined": True, "is_to_wait": False}], "be_alone": [(True,)], "end_alone": [(True,)]}


class Alone:
    """A worker without others. It locks its addresses for one that joins once `locked` is set."""

    def __init__(self):
        self.sent = []
        self.locking, self.locked = asyncio.Event(), asyncio.Event()
        self.company = Company(self._fetch, ask=self._ask, hears=lambda: True, on_company=self._lock)

    async def _fetch(self, statement):
        self.sent.append(statement)
        return ANSWERS[statement]

    async def _ask(self):
        raise AssertionError("no other worker is alone")

    async def _lock(self):
        self.locking.set()
        await self.locked.wait()


@pytest.fixture
async def worker():
    one = Alone()
    await one.company.open()
    assert one.company.alone
    return one


async def seen(event):
    async with asyncio.timeout(TIMEOUT_S):
        await event.wait()


async def test_it_stays_alone_while_no_other_comes(worker):
    await worker.company.tick(1)
    assert worker.company.alone
    assert worker.sent == ["join_company", "be_alone"]


async def test_the_lock_is_released_once_the_addresses_in_flight_are_locked(worker):
    worker.company.asked()
    assert not worker.company.alone
    await seen(worker.locking)
    assert "end_alone" not in worker.sent
    worker.locked.set()
    await settled(worker)
    assert worker.sent[-1] == "end_alone"


async def test_in_a_new_session_it_is_not_alone_before_it_has_let_in_whoever_came_in_the_last(worker):
    """Else the end of that would release the new session's lock, and it would go on believing that it is alone."""
    worker.company.asked()
    await seen(worker.locking)
    worker.company.lost()
    await worker.company.open()
    await worker.company.tick(1)
    assert not worker.company.alone
    worker.locked.set()
    await settled(worker)
    await worker.company.tick(1)
    assert worker.company.alone
    assert worker.sent[-2:] == ["end_alone", "be_alone"]


async def settled(worker):
    """It has let in whoever came."""
    async with asyncio.timeout(TIMEOUT_S):
        while "end_alone" not in worker.sent:  # noqa: ASYNC110 (nothing says when)
            await asyncio.sleep(0)
    await asyncio.sleep(0)
