"""Reading next to a lane waits for it: as long as contacts are ready, and while more than its share is used."""

import asyncio
from dataclasses import replace

import pytest

from crm_sync.core.rate import Window
from crm_sync.core.waits import USUAL
from crm_sync.limits.behind_the_lane import MOST_LOOKS, SHARE, BehindTheLane
from tests import virtual_time

QUICK = replace(USUAL, courtesy_s=0.0)
HOUR = Window(1000, 3600.0)


class Rate:
    """Its usage is given by the test, look by look; then nothing is used."""

    def __init__(self, *used):
        self.looks = [*used]
        self.slots = 0
        self.remaining = None

    async def used(self):
        return [(HOUR, self.looks.pop(0) if self.looks else 0)]

    async def slot(self):
        self.slots += 1

    async def correct(self, remaining):
        self.remaining = remaining


class Line:
    """Whether contacts are ready, look by look; then none are."""

    def __init__(self, *ready):
        self.ready = [*ready]
        self.looks = 0

    async def is_awaited(self):
        self.looks += 1
        return self.ready.pop(0) if self.ready else False


async def test_with_nobody_in_line_a_request_starts_at_once():
    rate, line = Rate(), Line()
    await BehindTheLane(rate, line.is_awaited, QUICK).slot()
    assert (rate.slots, line.looks) == (1, 1)


async def test_it_waits_as_long_as_contacts_are_ready():
    rate, line = Rate(), Line(True, True, True)
    await BehindTheLane(rate, line.is_awaited, QUICK).slot()
    assert (rate.slots, line.looks) == (1, 4)


def test_between_two_looks_it_waits():
    async def later():
        await BehindTheLane(Rate(), Line(True, True, True).is_awaited, replace(USUAL, courtesy_s=2.0)).slot()
        return asyncio.get_running_loop().time()

    assert virtual_time.run(later()) == 6.0


@pytest.mark.parametrize(("used", "looks"), [(HOUR.limit * SHARE, 2), (HOUR.limit * SHARE - 1, 1)])
async def test_a_share_of_each_window_is_left_to_the_lane(used, looks):
    rate, line = Rate(used), Line()
    await BehindTheLane(rate, line.is_awaited, QUICK).slot()
    assert (rate.slots, line.looks) == (1, looks)


async def test_a_backlog_without_end_does_not_stop_it_forever():
    rate, line = Rate(), Line(*[True] * (MOST_LOOKS + 10))
    await BehindTheLane(rate, line.is_awaited, QUICK).slot()
    assert (rate.slots, line.looks) == (1, MOST_LOOKS)


async def test_what_the_crm_says_is_left_is_handed_on():
    rate = Rate()
    await BehindTheLane(rate, Line().is_awaited, QUICK).correct([])
    assert rate.remaining == []
