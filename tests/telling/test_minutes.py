"""A worker's counts for a minute are one row, and nothing is counted twice or lost."""

from collections import Counter

import pytest

from crm_sync.core.latency import BOUNDS_S, buckets
from crm_sync.core.outcome import Finish, Kind
from crm_sync.core.tally import MOST_CODES, OTHER, Tally
from crm_sync.postgres.pool import Database
from crm_sync.telling.minutes import OUTCOMES, Minutes
from tests.roles import WORKER, as_worker, let_in


@pytest.fixture
async def database(url):
    async with Database(as_worker(url), size=1) as database:
        yield database


def finish(kind, error=None):
    return Finish(1, 1, kind, error)


def counted():
    tally = Tally()
    written = [finish(Kind.DELIVERED), finish(Kind.DELIVERED, "FIELD_NOT_SENT: a"), finish(Kind.REJECTED, "REJECTED: b")]
    written += [finish(Kind.RETRY, "TIMEOUT: c"), finish(Kind.DEFERRED, "CRM_ERROR: d")]
    tally.finished(written, waited_ms={4: 1, 6: 1}, lost=2)
    tally.requested(3, 1)
    tally.strayed(4)
    tally.deleted([finish(Kind.DELIVERED)], unrecorded=1)
    return tally


async def rows(app):
    return [dict(row) for row in await app.fetch("SELECT * FROM crm_sync.minutes ORDER BY crm")]


async def test_a_minute_has_a_row_of_each_crm_where_something_was_done(app, database):
    await Minutes({"brevo": counted(), "n8n": Tally()}, database, lambda: 7).write()
    [row] = await rows(app)
    assert row.pop("minute") <= await app.fetchval("SELECT now()")
    assert row["latency"] == buckets({4: 1, 6: 1})
    assert {name: value for name, value in row.items() if name not in ("latency", "codes")} == {
        "crm": "brevo",
        "worker": 7,
        "delivered": 2,
        "retried": 1,
        "rejected": 1,
        "deferred": 1,
        "orphaned": 0,
        "lost": 2,
        "deleted": 1,
        "requests": 3,
        "throttled": 1,
        "unrecorded": 1,
        "strays": 4,
    }
    assert await app.fetch("SELECT code, contacts FROM crm_sync.errors_by_code ORDER BY code") == [
        ("FIELD_NOT_SENT", 1),
        ("REJECTED", 1),
        ("TIMEOUT", 1),
    ]
    assert (await app.fetchrow("SELECT delivered, requests FROM crm_sync.throughput")) == (2, 3)


async def test_the_same_minute_twice_is_added_up(app, database):
    """By the clock of the database, which may pass a minute in between."""
    tallies = {"brevo": counted()}
    minutes = Minutes(tallies, database, lambda: 7)
    await minutes.write()
    tallies["brevo"] = counted()
    await app.execute("UPDATE crm_sync.minutes SET minute = date_trunc('minute', clock_timestamp())")
    await minutes.write()
    if len(found := await rows(app)) == 1:
        assert found[0]["latency"] == buckets({4: 2, 6: 2})
        assert found[0]["delivered"] == 4
    assert await app.fetchval("SELECT sum(contacts) FROM crm_sync.errors_by_code WHERE code = 'TIMEOUT'") == 2


async def test_a_minute_without_anything_is_not_written(app, database):
    await Minutes({"brevo": Tally()}, database, lambda: 7).write()
    assert await rows(app) == []


async def test_what_cannot_be_written_comes_with_the_next(app, url, database):
    tallies = {"brevo": counted()}
    minutes = Minutes(tallies, database, lambda: 7)
    await app.execute(f"REVOKE INSERT ON crm_sync.minutes FROM {WORKER}")
    await minutes.write()
    tallies["brevo"].requested(1, 0)
    let_in(url)
    await minutes.write()
    [row] = await rows(app)
    assert (row["requests"], row["delivered"], row["lost"]) == (4, 2, 2)


async def test_before_there_is_a_worker_counts_are_kept(app, database):
    tally = counted()
    await Minutes({"brevo": tally}, database, lambda: None).write()
    assert tally.take().requests == 3
    assert await rows(app) == []


def test_every_outcome_has_a_column():
    assert set(OUTCOMES.values()) == {*Kind, "lost"}


def test_codes_are_bounded():
    tally = Tally()
    tally.finished([finish(Kind.REJECTED, f"CODE_{number}: a") for number in range(MOST_CODES + 5)])
    codes = tally.take().codes
    assert len(codes) <= MOST_CODES + 1
    assert codes[OTHER] == 5


@pytest.mark.parametrize(("ms", "bucket"), [(0, 0), (5, 0), (6, 1), (86_400_000, len(BOUNDS_S) - 1), (86_400_001, len(BOUNDS_S))])
def test_a_wait_is_in_the_bucket_whose_bound_it_does_not_exceed(ms, bucket):
    assert Counter(buckets({ms: 2}))[2] == 1
    assert buckets({ms: 2})[bucket] == 2


async def test_the_bounds_are_those_of_the_database(app):
    assert tuple(await app.fetchval("SELECT crm_sync.latency_bounds()")) == BOUNDS_S
