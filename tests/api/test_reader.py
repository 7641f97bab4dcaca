"""One query for all viewers, at a bounded share of the time, and never shared across rights."""

import asyncio

import pytest

from crm_sync.api.reader import SHARE, SHORTEST_S, SharedReading
from crm_sync.postgres.visiting import rights_of, role_in_force


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Database:
    """takes_s: for one query, by the clock."""

    def __init__(self, clock, takes_s=0.0):
        self.clock, self.takes_s, self.read = clock, takes_s, []

    async def __call__(self):
        self.read.append(role_in_force())
        await asyncio.sleep(0)
        self.clock.now += self.takes_s
        return len(self.read)


@pytest.fixture
def clock():
    return Clock()


async def test_those_who_come_together_wait_for_the_same(clock):
    database = Database(clock)
    shared = SharedReading(database, clock=clock)
    assert await asyncio.gather(*(shared.value() for _ in range(50))) == [1] * 50
    assert len(database.read) == 1


@pytest.mark.parametrize("takes_s", [0.0, 0.001, 0.5, 1.9])
async def test_of_an_hour_that_a_tab_is_open_the_database_is_asked_for_a_hundredth(clock, takes_s):
    database = Database(clock, takes_s)
    shared = SharedReading(database, clock=clock)
    while clock.now < 3700.0:
        await shared.value()
        clock.now += 1.0
    assert len(database.read) * takes_s <= SHARE * 3600.0 + takes_s
    assert len(database.read) <= 3600.0 / SHORTEST_S + 1


async def test_a_reading_that_failed_is_not_repeated_for_nothing(clock):
    async def fail():
        raise ValueError("away")

    shared = SharedReading(fail, clock=clock)
    with pytest.raises(ValueError, match="away"):
        await shared.value()
    with pytest.raises(ValueError, match="away"):
        await shared.value()


async def test_what_the_rights_of_a_role_have_read_nobody_else_sees(clock):
    database = Database(clock)
    shared = SharedReading(database, clock=clock)
    assert await shared.value() == 1
    for _ in range(2):
        with rights_of("support"):
            assert await shared.value() == 2
    assert database.read == [None, "support"]


async def test_who_goes_away_ends_it_for_nobody(clock):
    database = Database(clock)
    shared = SharedReading(database, clock=clock)
    gone, stays = asyncio.ensure_future(shared.value()), asyncio.ensure_future(shared.value())
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == 1


class Slow:
    """Its first reading ends when it is told to, and by an error if it fails. What it reads is what was written as it began."""

    def __init__(self, *, fails=False):
        self.written, self.read, self.fails, self.ends = "old", [], fails, asyncio.Event()

    async def __call__(self):
        seen = self.written
        self.read.append(seen)
        if len(self.read) == 1:
            await self.ends.wait()
            if self.fails:
                raise ValueError("away")
        return seen


async def begun(shared):
    """Somebody who waits for a reading that is under way."""
    waits = asyncio.ensure_future(shared.value())
    for _ in range(3):
        await asyncio.sleep(0)
    return waits


async def test_who_has_just_changed_something_sees_it_though_a_reading_was_under_way(clock):
    database = Slow()
    shared = SharedReading(database, clock=clock)
    before = await begun(shared)
    database.written = "new"
    shared.forget()
    after = await begun(shared)
    database.ends.set()
    assert await asyncio.gather(before, after) == ["old", "new"]
    assert await shared.value() == "new", "also after the reading of before has ended"
    assert database.read == ["old", "new"]


async def test_a_reading_of_before_the_change_that_fails_fails_for_nobody_after_it(clock):
    database = Slow(fails=True)
    shared = SharedReading(database, clock=clock)
    before = await begun(shared)
    shared.forget()
    after = await begun(shared)
    database.ends.set()
    with pytest.raises(ValueError, match="away"):
        await before
    assert await after == await shared.value() == "old"
    assert len(database.read) == 2


async def test_a_change_is_seen_by_those_with_other_rights_too(clock):
    database = Database(clock)
    shared = SharedReading(database, clock=clock)
    await shared.value()
    with rights_of("support"):
        await shared.value()
        shared.forget()
        assert await shared.value() == 3
    assert await shared.value() == 4
