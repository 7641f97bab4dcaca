"""Writing outcomes at the end of a lane: all that was put is written, or stays at hand for whoever comes next."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from crm_sync.core.moves import Moves
from crm_sync.core.outcome import Finish, Kind
from crm_sync.core.tally import Tally
from crm_sync.core.waits import Waits
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.lane.finisher import LARGEST_BATCH, Finisher
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
        self.statements = []  # their sizes
        self.noted = []
        self.gone = set()
        self.recorded = asyncio.Event()
        self.recorded.set()
        self.locked = set()
        self.refuses = []
        self.overwritten = NothingOverwritten()

    async def finish(self, batch):
        self.statements.append(len(batch))
        self.asked.set()
        await self.answers.wait()
        if self.refuses:
            raise self.refuses.pop()
        written = [finish for finish in batch if finish.id not in self.locked | self.gone]
        self.written += [finish.id for finish in written]
        return Finished(written, [], frozenset())

    async def note(self, finishes):
        self.noted += [finish.id for finish in finishes if finish.id not in self.written]

    async def still_claimed(self, finishes):
        return {finish.id for finish in finishes} - self.gone

    async def record_lost(self, finishes):
        await self.recorded.wait()
        return 0


class NothingOverwritten:
    unseen = ()

    def __init__(self):
        self.added = []

    def __bool__(self):
        return False

    def add(self, lost, written):
        self.added += [finish.id for finish in lost]


@asynccontextmanager
async def writing():
    table = Table()
    finisher = Finisher(
        "brevo",
        table,
        table.overwritten,
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


async def settled():
    """Returns when whoever had something to do has done it."""
    for _ in range(20):
        await asyncio.sleep(0)


async def two_statements(table, finisher):
    """Neither is answered: one with outcome 1, and one with a full batch of those that follow."""
    table.answers.clear()
    finisher.put(outcomes(1))
    await table.asked.wait()
    finisher.put(outcomes(*range(2, 2 + LARGEST_BATCH)))
    await settled()


async def test_a_full_batch_is_written_while_another_statement_is_not_answered_yet():
    async with writing() as (table, finisher):
        table.answers.clear()
        finisher.put(outcomes(1))
        await table.asked.wait()
        finisher.put(outcomes(*range(2, 2 + 2 * LARGEST_BATCH)))
        await settled()
        assert table.statements == [1, LARGEST_BATCH]  # no third one
        assert len(finisher.unwritten) == 1 + 2 * LARGEST_BATCH
        assert not finisher.idle
        table.answers.set()
        await finisher.drained()
        assert table.statements == [1, LARGEST_BATCH, LARGEST_BATCH]
        assert sorted(table.written) == [*range(1, 2 + 2 * LARGEST_BATCH)]
        assert finisher.unwritten == []


async def test_fewer_outcomes_wait_for_the_answer_and_are_written_together():
    async with writing() as (table, finisher):
        table.answers.clear()
        finisher.put(outcomes(1))
        await table.asked.wait()
        finisher.put(outcomes(*range(2, 1 + LARGEST_BATCH)))
        await settled()
        assert table.statements == [1]
        table.answers.set()
        await finisher.drained()
        assert table.statements == [1, LARGEST_BATCH - 1]


async def test_while_the_database_is_away_two_statements_lose_no_outcome():
    async with writing() as (table, finisher):
        await two_statements(table, finisher)
        table.refuses = [DatabaseTroubleError("away"), DatabaseTroubleError("away")]
        table.answers.set()
        await finisher.drained()
        assert sorted(table.written) == [*range(1, 2 + LARGEST_BATCH)]


async def test_what_ends_the_second_statement_ends_the_writing_and_the_outcomes_of_both_stay():
    async with writing() as (table, finisher):
        await two_statements(table, finisher)
        table.refuses = [ConfigurationError("a column is gone"), ConfigurationError("a column is gone")]
        table.answers.set()
        with pytest.raises(ConfigurationError, match="a column is gone"):
            await finisher.drained()
        assert sorted(one.id for one in finisher.unwritten) == [*range(1, 2 + LARGEST_BATCH)]
        assert table.written == []


async def test_it_is_not_drained_before_the_second_statement_has_said_what_it_has_lost():
    async with writing() as (table, finisher):
        table.recorded.clear()
        table.gone = {2}
        await two_statements(table, finisher)
        table.answers.set()
        await settled()
        assert not finisher.idle
        table.recorded.set()
        await finisher.drained()
        assert table.overwritten.added == [2]
