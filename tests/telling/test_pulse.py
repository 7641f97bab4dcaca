"""The pulse: how late the event loop was, and whether the loops move, whoever asks, and however rarely."""

import asyncio
import time

import pytest

from crm_sync.core.waits import Waits
from crm_sync.telling import pulse as pulse_module
from crm_sync.telling.pulse import REMEMBERED_S, Pulse

QUICK = Waits(pulse_s=0.01)


@pytest.fixture
def clock(monkeypatch):
    """A clock controlled by the test."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(pulse_module, "time", clock)
    return clock


def test_the_longest_delay_of_a_minute_is_told_however_often_one_asks(clock):
    pulse = Pulse(lambda: True)
    for at, delay_s in ((1000.0, 0.2), (1010.0, 1.5), (1020.0, 0.1), (1030.0, 0.3)):
        clock.now = at
        pulse._note(at, delay_s)
        pulse.lag_s  # noqa: B018 (who asks takes nothing from the others)
    assert pulse.lag_s == 1.5
    clock.now = 1010.0 + REMEMBERED_S + 1
    assert pulse.lag_s == 0.3
    clock.now = 1030.0 + REMEMBERED_S + 1
    assert pulse.lag_s == 0.0


def test_what_is_remembered_has_a_bound(clock):
    pulse = Pulse(lambda: True)
    for number in range(10_000):
        clock.now = 1000.0 + number * 0.5
        pulse._note(clock.now, 1 / (number + 1))
    assert len(pulse._delays) <= REMEMBERED_S / 0.5 + 1


async def test_a_loop_that_is_held_up_is_seen_as_late():
    asked = asyncio.Event()
    pulse = Pulse(lambda: asked.set() or True, QUICK)
    task = asyncio.create_task(pulse.run())
    await asked.wait()
    asked.clear()
    time.sleep(0.2)  # noqa: ASYNC251 (that is the fault)
    await asked.wait()
    task.cancel()
    assert pulse.lag_s > 0.15


async def test_loops_are_asked_again_and_again():
    moving, asked = True, asyncio.Event()

    def ask() -> bool:
        asked.set()
        return moving

    pulse = Pulse(ask, QUICK)
    task = asyncio.create_task(pulse.run())
    for moving in (True, False, True):
        asked.clear()
        await asked.wait()
        await asyncio.sleep(0)
        assert pulse.alive is moving
    task.cancel()
