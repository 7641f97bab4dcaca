"""The newest flip that was sent, as the database keeps it for the worker that comes after."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Finish, Kind
from crm_sync.core.overtaking import LEAST_AHEAD
from crm_sync.table.newest_sent import NewestSent
from tests.roles import WORKER

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
STEPS = [Path(f"sql/migrations/0020.newest-sent.{step}").read_text() for step in ("rollback.sql", "sql")]
NOTED = "SELECT newest_sent FROM crm_sync.lanes WHERE crm = 'brevo'"


@pytest.fixture
async def newest_sent(app, worker):
    await app.execute("UPDATE crm_sync.lanes SET newest_sent = NULL")
    return NewestSent(worker.database, "brevo", keeps_records=True)


def outcome(minutes, *, sent=True):
    return Finish(minutes, 1, Kind.DELIVERED, sent=sent, flipped_at=NOON + timedelta(minutes=minutes))


async def test_the_newest_of_several_is_noted_for_its_lane(app, newest_sent):
    assert await newest_sent.read() == BEGINNING
    await newest_sent.note([outcome(1), outcome(3), outcome(2)])
    assert await newest_sent.read() == await app.fetchval(NOTED) == NOON + timedelta(minutes=3) + LEAST_AHEAD
    assert await app.fetchval("SELECT count(*) FROM crm_sync.lanes WHERE newest_sent IS NOT NULL") == 1


async def test_what_was_not_sent_is_not_noted(app, newest_sent):
    await newest_sent.note([outcome(1, sent=False), Finish(2, 1, Kind.ORPHANED)])
    assert await app.fetchval(NOTED) is None


async def test_nothing_is_written_while_what_is_noted_is_later(app, newest_sent):
    await newest_sent.note([outcome(1)])
    version = await app.fetchval(NOTED.replace("newest_sent", "xmin", 1))
    await newest_sent.note([outcome(0), outcome(1)])
    assert await app.fetchval(NOTED.replace("newest_sent", "xmin", 1)) == version


async def test_what_another_worker_has_noted_is_not_taken_back(app, worker, newest_sent):
    await newest_sent.note([outcome(9)])
    await NewestSent(worker.database, "brevo", keeps_records=True).note([outcome(5)])
    assert await newest_sent.read() == NOON + timedelta(minutes=9) + LEAST_AHEAD


async def test_where_there_are_no_records_nothing_is_noted(app, worker, newest_sent):
    without = NewestSent(worker.database, "brevo", keeps_records=False)
    await without.note([outcome(1)])
    assert await app.fetchval(NOTED) is None
    await newest_sent.note([outcome(1)])
    assert await without.read() == BEGINNING


async def test_a_locked_lane_is_not_waited_for_and_noted_with_the_next_outcomes(app, other_app, newest_sent):
    async with other_app.transaction():
        await other_app.execute("SELECT FROM crm_sync.lanes FOR UPDATE")
        await newest_sent.note([outcome(1)])
        assert await app.fetchval(NOTED) is None
    await newest_sent.note([outcome(0)])
    assert await app.fetchval(NOTED) == NOON + LEAST_AHEAD


async def test_an_upgraded_database_lets_workers_note_it_and_takes_all_that_is_in_line_for_overtaken(app):
    """The workers before did not note what they sent."""
    began = await app.fetchval("SELECT clock_timestamp()")
    for step in STEPS:
        await app.execute(step)
    assert await app.fetchval("SELECT bool_and(newest_sent > $1) FROM crm_sync.lanes WHERE installed", began)
    for right in ("SELECT", "UPDATE"):
        assert await app.fetchval("SELECT has_column_privilege($1, 'crm_sync.lanes', 'newest_sent', $2)", WORKER, right)
