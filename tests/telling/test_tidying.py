"""Expired days are emptied, slot by slot, and nothing else is."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import structlog

from crm_sync import events
from crm_sync.postgres import locks
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.telling.tidying import Tidying
from tests.roles import as_worker
from tests.steps import open_worker

LINE = (
    "INSERT INTO crm_sync.history (at, slot, key, crm, operation, outcome) "
    "VALUES ($1, crm_sync.history_slot($1), $2, 'brevo', 'upsert', 'delivered')"
)
SLOT = "crm_sync.history_{:02}"


def slot_of(moment):
    return SLOT.format((moment.date() - datetime(1970, 1, 1, tzinfo=UTC).date()).days % 32)


async def add(app, *days_ago):
    now = await app.fetchval("SELECT clock_timestamp()")
    for days in days_ago:
        await app.execute(LINE, now - timedelta(days=days), str(days))
    return now


async def kept(app):
    return sorted(int(row["key"]) for row in await app.fetch("SELECT key FROM crm_sync.history"))


async def tidy(url, days=14):
    async with Database(as_worker(url), size=1) as database:
        return tuple((await database.fetch(query("tidy_history"), days))[0])


@pytest.mark.parametrize("days", [1, 14, 30])
async def test_days_are_kept_as_the_setting_says_and_not_one_less(app, url, days):
    await add(app, 0, 1, 13, 14, 15, 29, 30, 31)
    await tidy(url, days)
    # 31 days ago is in tomorrow's slot; 15 and 14 are in their own.
    assert await kept(app) == [day for day in (0, 1, 13, 14, 15, 29, 30) if day <= days]


async def test_the_slot_of_tomorrow_is_always_empty(app, url):
    now = await add(app, *range(32))
    await tidy(url, 30)
    assert await app.fetchval(f"SELECT count(*) FROM {slot_of(now + timedelta(days=1))}") == 0
    assert len(await kept(app)) == 31


async def test_a_line_is_in_the_slot_of_its_day_by_utc_whatever_the_session_s_time_zone_is(app):
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        await app.execute(f"SET TimeZone = '{zone}'")
        now = await add(app, 0)
    assert await app.fetchval(f"SELECT count(*) FROM {slot_of(now)}") == 2


async def test_a_slot_that_somebody_reads_is_left_for_later(app, other_app, url):
    now = await add(app, 20, 21)
    async with other_app.transaction():
        await other_app.execute(f"LOCK TABLE {slot_of(now - timedelta(days=20))} IN ACCESS SHARE MODE")
        assert await tidy(url) == (1, 1, 0, 0)
    assert await kept(app) == [20]
    assert await tidy(url) == (1, 0, 0, 0)


async def test_lines_of_32_days_before_are_told_where_nobody_was_there_to_drop_them_and_today_s_are_kept(app, url):
    await add(app, 32, 0)
    assert await tidy(url) == (0, 0, 1, 0)
    assert await kept(app) == [0, 32]


async def test_a_slot_that_has_only_lines_of_32_days_before_is_emptied_at_once(app, url):
    await add(app, 32)
    assert await tidy(url) == (1, 0, 0, 0)


async def test_what_a_clock_that_went_wrong_has_put_into_another_day_stays(app, url):
    await add(app, -5)
    assert await tidy(url) == (0, 0, 0, 0)
    assert await kept(app) == [-5]


async def test_a_slot_that_is_missing_is_told_and_keeps_nothing_from_being_tidied(app, url):
    now = await add(app, 20)
    for number in (3, 4):
        await app.execute(f"DROP TABLE {slot_of(now - timedelta(days=20 + number))}")
    assert await tidy(url) == (1, 0, 0, 2)


async def test_what_is_older_than_90_days_goes_from_minutes_and_events(app, url):
    ago = "now() - make_interval(days => $1)"
    for days in (89, 91):
        await app.execute(f"INSERT INTO crm_sync.minutes (minute, crm, worker, latency) VALUES ({ago}, 'brevo', 1, '{{}}')", days)
        await app.execute(f"INSERT INTO crm_sync.events (at, event, actor, via) VALUES ({ago}, 'a', 'b', 'worker')", days)
    await tidy(url)
    for table in ("minutes", "events"):
        assert await app.fetchval(f"SELECT count(*) FROM crm_sync.{table}") == 1


@pytest.mark.parametrize("days", [0, 31, -1])
async def test_a_number_of_days_that_the_ring_cannot_hold_is_refused(app, days):
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await app.fetch("SELECT * FROM crm_sync.tidy_history($1)", days)


async def test_a_worker_may_not_empty_a_slot_by_itself(app, url):
    async with Database(as_worker(url), size=1) as database, database.connection() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("TRUNCATE crm_sync.history")


async def test_one_worker_of_all_does_it(app, url):
    await add(app, 20)
    async with open_worker(url, 4) as worker:
        session = await asyncpg.connect(as_worker(url))
        await session.execute("UPDATE crm_sync.workers SET backend_pid = pg_backend_pid(), backend_start = NULL WHERE id = 4")
        await session.execute("SELECT pg_advisory_lock($1, 4)", locks.WORKER)
        assert await Tidying(14, worker.database, lambda: 9).tidy()
        assert await kept(app) == [20]
        assert await Tidying(14, worker.database, lambda: 4).tidy()
        assert await kept(app) == []
        await session.close()


async def test_what_is_untidy_is_told_once(app, url):
    now = await add(app, 0)
    await app.execute(f"DROP TABLE {slot_of(now - timedelta(days=9))}")
    async with open_worker(url, 4) as worker:
        session = await asyncpg.connect(as_worker(url))
        await session.execute("UPDATE crm_sync.workers SET backend_pid = pg_backend_pid(), backend_start = NULL WHERE id = 4")
        await session.execute("SELECT pg_advisory_lock($1, 4)", locks.WORKER)
        tidying = Tidying(14, worker.database, lambda: 4)
        with structlog.testing.capture_logs() as logged:
            await tidying.tidy()
            await tidying.tidy()
        await session.close()
    assert [(event["event"], event["missing_slots"]) for event in logged] == [(events.HISTORY_UNTIDY, 1)]
