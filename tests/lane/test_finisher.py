"""Writing outcomes at the end of a lane: all that was put is written, or stays at hand for whoever comes next."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from crm_sync.core.moves import Moves
from crm_sync.core.outcome import Finish, Kind
from crm_sync.core.tally import Tally
from crm_sync.core.waits import Waits
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.lane.finisher import Finisher
from crm_sync.table.finishing import Finished
from tests.harness import TIMEOUT_S

QUICK = Waits(first_write_again_s=0.01, longest_write_again_s=0.01, gather_s=0.0)


class Table:
    """Writes outcomes: each statement waits for `answers`. locked: by id; refuses: raised once, instead of an answer."""

    def __init__(self):
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = asyncio.Event()
        self.written = []
        self.noted = []
        self.locked = set()
        self.refuses = []

    async def finish(self, batch):
        self.asked.set()
        await self.answers.wait()
        if self.refuses:
            raise self.refuses.pop()
        written = [finish for finish in batch if finish.id not in self.locked]
        self.written += [finish.id for finish in written]
        return Finished(written, [], frozenset())

    async def note(self, finishes):
        self.noted += [finish.id for finish in finishes if finish.id not in self.written]

    async def still_claimed(self, finishes):
        return {finish.id for finish in finishes}


class NothingOverwritten:
    unseen = ()

    def __bool__(self):
        return False

    def add(self, lost, written):
        pass


@asynccontextmanager
async def writing():
    table = Table()
    finisher = Finisher(
        "brevo",
        table,
        NothingOverwritten(),
        table,
        in_hand=lambda: 0,
        on_written=lambda *_: None,
        on_lost=lambda: None,
        tally=Tally(),
        moves=Moves(lambda: None),
        waits=QUICK,
    )
    running = asyncio.create_task(finisher.run())
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield table, finisher
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError, ConfigurationError):
            await running


def outcomes(*ids):
    return [Finish(one, 1, Kind.DELIVERED) for one in ids]


async def test_it_is_drained_once_what_was_put_during_a_statement_is_written_too():
    async with writing() as (table, finisher):
        table.answers.clear()
        finisher.put(outcomes(1))
        await table.asked.wait()
        drained = asyncio.create_task(finisher.drained())
        finisher.put(outcomes(2))
        assert [one.id for one in finisher.unwritten] == [1, 2]
        table.answers.set()
        await drained
        assert (table.written, finisher.unwritten, finisher.idle) == ([1, 2], [], True)


async def test_with_nothing_put_it_is_drained():
    async with writing() as (_, finisher):
        await finisher.drained()


async def test_a_row_that_is_locked_is_written_once_it_is_free():
    async with writing() as (table, finisher):
        table.locked = {1}
        finisher.put(outcomes(1, 2))
        while table.written != [2]:  # noqa: ASYNC110 (the table tells nobody)
            await asyncio.sleep(0)
        assert not finisher.idle
        assert [one.id for one in finisher.unwritten] == [1]
        table.locked = set()
        await finisher.drained()
        assert table.written == [2, 1]


async def test_a_database_that_is_away_is_waited_for():
    async with writing() as (table, finisher):
        table.refuses = [DatabaseTroubleError("away")]
        finisher.put(outcomes(1))
        await finisher.drained()
        assert table.written == [1]


async def test_what_was_sent_is_noted_before_it_is_written():
    async with writing() as (table, finisher):
        finisher.put(outcomes(1, 2))
        await finisher.drained()
        assert (table.noted, table.written) == ([1, 2], [1, 2])


async def test_what_only_a_person_can_mend_ends_the_wait_and_the_outcomes_stay():
    async with writing() as (table, finisher):
        table.refuses = [ConfigurationError("a column is gone")]
        finisher.put(outcomes(1))
        with pytest.raises(ConfigurationError, match="a column is gone"):
            await finisher.drained()
        finisher.put(outcomes(2))
        with pytest.raises(ConfigurationError):
            await finisher.drained()
        assert [one.id for one in finisher.unwritten] == [1, 2]
