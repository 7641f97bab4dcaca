"""The slots of an account's rate limit: several workers take them from one row, by the database's clock. In virtual time."""

import asyncio
import random
from bisect import bisect_left

import pytest

from crm_sync import measurements
from crm_sync.core.rate import LONGEST_WAIT_S, Remaining, parse
from crm_sync.errors import DatabaseTroubleError, HeldBackError
from crm_sync.limits.rate_limit import AHEAD_S, CORRECT_INTERVAL_S, LATE_S, LEAD_S, RateLimit
from tests import virtual_time

EPOCH = 1_800_000_000.0  # by the database's clock, when the loop's is at 0
UNEVEN_S = (0.0005, 0.001, 0.003, 0.02)  # how long a statement travels, each way


class Row:
    """The row of the account. Who has read an earlier version of it cannot write. travel_s: durations to choose from.

    statements: how many there were. trouble: raised instead of an answer.
    """

    def __init__(self, *travel_s: float) -> None:
        self.ahead_s = EPOCH
        self.statements = self.writes = 0
        self.trouble: Exception | None = None
        self.travel_s = travel_s or (0.001,)
        self._chance = random.Random(1)
        self._budget: str | None = None

    async def fetch(self, *_):
        await self._travel()
        row = {"budget": self._budget, "now": asyncio.get_running_loop().time() + self.ahead_s}
        await self._travel()
        return [row]

    async def value(self, _statement, _crm, before, after):
        await self._travel()
        is_written = before == self._budget
        if is_written:
            self._budget, self.writes = after, self.writes + 1
        await self._travel()
        return "brevo" if is_written else None

    async def _travel(self):
        self.statements += 0.5
        await asyncio.sleep(self._chance.choice(self.travel_s))
        if self.trouble is not None:
            raise self.trouble


def timed(test):
    """The test runs in virtual time, some seconds after its clock began."""

    def run(*arguments, **named):
        async def later():
            await asyncio.sleep(10)
            await test(*arguments, **named)

        virtual_time.run(later())

    run.__name__, run.__doc__, run.__wrapped__ = test.__name__, test.__doc__, test
    return run


def now():
    return asyncio.get_running_loop().time()


def limit(text, row=None):
    return RateLimit(row or Row(), "brevo", parse(text))


async def sending(rate, until, starts):
    """Requests one after another, as soon as they may start."""
    while now() < until:
        try:
            await rate.slot()
        except HeldBackError as error:
            await asyncio.sleep(max(error.pause_s, 0.01))
        else:
            starts.append(now())


async def worked(row, text, seconds, *, workers=3, requests=5):
    """When the requests of some workers started, each of which keeps this many waiting, and has news of none it may claim."""
    starts, end = [], now() + seconds
    rates = [limit(text, row) for _ in range(workers)]
    await asyncio.gather(*(sending(rate, end, starts) for rate in rates for _ in range(requests)))
    return sorted(starts)


def most_at_once(times, seconds):
    return max(bisect_left(times, start + seconds) - index for index, start in enumerate(times))


async def slots(rate, count):
    """When this many requests, asked for at once, may start."""

    async def one():
        await rate.slot()
        return now()

    return sorted(await asyncio.gather(*(one() for _ in range(count))))


async def claimed(rate, count):
    """When this many requests started, of a lane that claims as many as may start, and sends them."""
    starts = []
    while len(starts) < count:
        requests, wait_s = await rate.ahead(20)
        starts += await slots(rate, requests)
        await asyncio.sleep(wait_s)
    return starts


# What all workers get together.


@pytest.mark.parametrize("text", ["10/s", "100/10s", "50/s 400/20s"])
@timed
async def test_workers_that_share_an_account_keep_its_limits_and_use_them(text):
    starts = await worked(Row(*UNEVEN_S), text, 40)
    for window in parse(text):
        assert most_at_once(starts, window.seconds) <= window.limit
    assert len(starts) >= 0.9 * min(40 * window.limit / window.seconds for window in parse(text))


@timed
async def test_at_a_quick_crm_a_request_costs_a_fraction_of_a_statement():
    row = Row()
    starts = await claimed(limit("100/s", row), 1000)
    assert most_at_once(starts, 1.0) <= 100
    assert row.statements <= len(starts) / 8


@pytest.mark.parametrize("text", ["300/h", "100/s", "190/10s", "10/s 36000/h"])
@pytest.mark.parametrize("away_s", [0.004, 0.025, 0.15])
@timed
async def test_a_worker_far_from_its_database_reserves_slots_that_are_still_to_come(text, away_s):
    row = Row(away_s)
    rate, began = limit(text, row), now()
    starts = await claimed(rate, 40)
    assert row.statements <= 30
    assert (await rate.used())[-1][1] <= 60, "few are missed"
    assert starts[-1] - began <= 15.0


@timed
async def test_a_database_that_answers_now_fast_now_slowly_is_no_obstacle():
    row = Row(0.001, 0.01, 0.03, 0.1)
    rate = limit("3000/h", row)
    await claimed(rate, 200)
    assert (await rate.used())[0][1] <= 350


@timed
async def test_after_one_slow_answer_requests_soon_start_at_once_again():
    row = Row(1.0)
    rate = limit("10/s", row)
    first = asyncio.create_task(rate.slot())
    await asyncio.sleep(0.5)
    row.travel_s = (0.001,)
    await first
    await claimed(rate, 20)
    await asyncio.sleep(5.0)
    asked = now()
    assert await slots(rate, 1) == [pytest.approx(asked, abs=0.05)]


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
@timed
async def test_after_the_databases_clock_was_set_requests_go_on_and_are_spaced(step_s):
    row = Row()
    rate = limit("10/s", row)
    last = (await slots(rate, 40))[-1]
    row.ahead_s += step_s
    starts = await slots(rate, 40)
    assert starts[0] - last <= 1.0
    assert most_at_once(starts, 1.0) <= 10


@timed
async def test_an_answer_that_takes_long_does_not_shift_the_clock():
    row = Row()
    rate = limit("10/s", row)
    starts = await slots(rate, 20)
    row.travel_s = (0.001, 0.001, 0.001, 0.4)
    starts += await slots(rate, 40)
    assert most_at_once(starts, 1.0) <= 10


@timed
async def test_what_a_frozen_worker_missed_it_does_not_make_up_for_at_once():
    rate = limit("10/s")
    started = asyncio.create_task(slots(rate, 40))
    await asyncio.sleep(1.0)
    virtual_time.freeze(0.5)
    starts = await started
    assert most_at_once(starts, 1.0) <= 10


# What may be claimed.


@timed
async def test_as_many_as_may_be_claimed_start_at_once():
    rate = limit("100/s")
    for _ in range(50):
        count, wait_s = await rate.ahead(3)
        assert (count > 0) == (wait_s == 0)
        assert count <= 3
        asked = now()
        assert all(start <= asked + 2 * LEAD_S for start in await slots(rate, count))
        await asyncio.sleep(wait_s)


@timed
async def test_who_waits_as_long_as_told_can_claim():
    rate = limit("2/s")
    await slots(rate, 3)
    count, wait_s = await rate.ahead(5)
    assert (count, wait_s) == (0, pytest.approx(0.52 - LEAD_S, abs=0.02))
    await asyncio.sleep(wait_s)
    assert await rate.ahead(5) == (1, 0.0)


@timed
async def test_what_requests_are_waiting_for_is_not_promised_to_a_claim():
    """They began to wait while the database was asked for it."""
    rate = limit("5/min")
    claim = asyncio.create_task(rate.ahead(1))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(rate.slot()) for _ in range(3)]
    assert (await claim)[0] == 0
    await asyncio.gather(*waiting)


@timed
async def test_a_used_up_account_is_told_with_a_wait_and_not_asked_again_before_it_is_over():
    row = Row()
    rate = limit("1/h", row)
    assert await rate.ahead(1) == (1, 0.0)
    await rate.slot()
    assert await rate.ahead(1) == (0, LONGEST_WAIT_S)
    asked = row.statements
    await asyncio.sleep(LONGEST_WAIT_S)
    assert await rate.ahead(1) == (0, pytest.approx(AHEAD_S / 2))
    assert row.statements == asked
    with pytest.raises(HeldBackError, match="the account's limit is used up for now") as held_back:
        await rate.slot()
    assert held_back.value.pause_s == LONGEST_WAIT_S


@timed
async def test_slots_that_nobody_used_are_gone_and_one_at_a_time_is_taken_again():
    rate = limit("100/s")
    for _ in range(6):
        await rate.ahead(50)
        await asyncio.sleep(0.005)
    before = (await rate.used())[0][1]
    await asyncio.sleep(5.0)
    asked = now()
    assert await rate.ahead(50) == (1, 0.0)
    assert await slots(rate, 1) == [pytest.approx(asked, abs=LATE_S)]
    assert before > 1
    assert (await rate.used())[0][1] == 1


@timed
async def test_without_limits_everything_may_be_claimed_and_nothing_is_asked():
    row = Row()
    rate = limit("none", row)
    assert await rate.ahead(7) == (7, 0.0)
    assert await rate.used() == []
    await rate.slot()
    await rate.correct([Remaining(1.0, 0)])
    assert row.statements == 0


# Released.


@timed
async def test_who_waits_when_the_lane_stops_gives_up_and_a_later_request_is_served():
    rate = limit("1/s")
    await rate.slot()
    waiting = [asyncio.create_task(rate.slot()) for _ in range(3)]
    await asyncio.sleep(0.5)
    rate.release()
    released = now()
    for one in waiting:
        with pytest.raises(HeldBackError, match="paused or stopped before this request started"):
            await one
    assert now() - released <= 0.1
    await rate.slot()


@timed
async def test_who_is_asking_the_database_when_the_lane_stops_gives_up_too():
    rate = limit("1/s", Row(0.1))
    waiting = [asyncio.create_task(rate.slot()) for _ in range(2)]
    await asyncio.sleep(0.05)
    rate.release()
    for one in waiting:
        with pytest.raises(HeldBackError, match="paused or stopped"):
            await one


# What the CRM says is left.


async def left(rate, row):
    """How many of a window's requests are left, and how often that was written."""
    [(window, used)] = await rate.used()
    return window.limit - used, row.writes


@pytest.mark.parametrize(("said", "is_left"), [(0, 0), (49, 49), (50, 100), (100, 100)])
@timed
async def test_what_other_programs_used_is_counted_once_it_is_half_of_a_window(said, is_left):
    row = Row()
    rate = limit("100/h", row)
    await rate.correct([Remaining(3600.0, said)])
    assert await left(rate, row) == (is_left, int(is_left < 100))


@timed
async def test_a_window_that_is_not_ours_changes_nothing():
    row = Row()
    await limit("100/h", row).correct([Remaining(60.0, 0)])
    assert row.statements == 0


@timed
async def test_it_is_counted_about_once_a_second():
    row = Row()
    rate = limit("100/h", row)
    await rate.correct([Remaining(3600.0, 40)])
    await rate.correct([Remaining(3600.0, 30)])
    assert await left(rate, row) == (40, 1)
    await asyncio.sleep(CORRECT_INTERVAL_S)
    await rate.correct([Remaining(3600.0, 30)])
    assert await left(rate, row) == (30, 2)


@timed
async def test_what_is_counted_already_is_not_written_again():
    row = Row()
    rate = limit("100/h", row)
    for _ in range(2):
        await rate.correct([Remaining(3600.0, 40)])
        await asyncio.sleep(CORRECT_INTERVAL_S)
    assert row.writes == 1


@timed
async def test_a_database_that_is_away_does_not_spoil_the_answer_that_said_it():
    row = Row()
    row.trouble = DatabaseTroubleError("the database cannot be reached")
    await limit("100/h", row).correct([Remaining(3600.0, 0)])


@timed
async def test_of_two_windows_each_is_counted():
    row = Row()
    rate = limit("10/s 100/h", row)
    await rate.correct([Remaining(1.0, 2), Remaining(3600.0, 20)])
    assert [window.limit - used for window, used in await rate.used()] == [2, 20]


# Measured.


@timed
async def test_the_wait_of_a_request_is_measured():
    rate, waits = limit("2/s"), []
    measurements.tap(waits.append)
    try:
        await slots(rate, 3)
    finally:
        measurements.untap(waits.append)
    assert [one.crm for one in waits] == ["brevo"] * 3
    assert sorted(one.waited_s for one in waits) == [pytest.approx(0.52 * number, abs=0.02) for number in range(3)]
