"""A worker that was told to stop ends after its time, whatever holds it up, and says what was left."""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from crm_sync import events
from tests.harness import ALL_COMPLETE, TIMEOUT_S, until
from tests.process import environment, process
from tests.steps import insert
from tests.tiers import one_quick, slow

HELD_UP = """
import asyncio, os, time
from crm_sync import log
from crm_sync.daemon.last_resort import LastResort

async def wait_without_end():
    await asyncio.Event().wait()

async def main():
    hindered = asyncio.create_task(wait_without_end())
    await asyncio.sleep(0)
    LastResort().arm(%s, lambda: {"brevo": 7, "hubspot": 0})
    %s

log.configure()
asyncio.run(main())
"""


async def held_up_by(what, after_s=0.1):
    """(exit code, what was logged)"""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HELD_UP % (after_s, what), env={"PYTHONPATH": str(Path.cwd() / "worker")},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(TIMEOUT_S):
        _, err = await running.communicate()
    return running.returncode, [json.loads(line) for line in err.splitlines()]


async def test_a_task_that_never_ends():
    code, logged = await held_up_by("await hindered")
    assert code == 1
    [said] = logged
    assert (said["event"], said["level"]) == (events.STOP_OVERDUE, "error")
    assert said["in_flight"] == {"brevo": 7}
    assert any(name.startswith("wait_without_end, line ") for name in said["held_up"])


async def test_an_event_loop_that_is_blocked():
    code, logged = await held_up_by("time.sleep(600)")
    assert code == 1
    assert [said["event"] for said in logged] == [events.STOP_OVERDUE]


async def test_a_log_that_no_one_reads():
    reading, writing = os.pipe()
    try:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HELD_UP % (0.1, "while True: os.write(2, bytes(65536))"),
            env={"PYTHONPATH": str(Path.cwd() / "worker")}, stderr=writing,
        )  # fmt: skip
        async with asyncio.timeout(TIMEOUT_S):
            assert await running.wait() == 1
    finally:
        os.close(reading)
        os.close(writing)


async def test_one_that_ends_by_itself_in_time_is_not_touched():
    assert await held_up_by("return hindered.cancel()", after_s=600) == (0, [])


# Told to stop while the event loop is held up.

TOLD = """
import asyncio, os, re, socket, sys, time, uvloop
from crm_sync import log
from crm_sync.daemon.last_resort import LastResort
from crm_sync.daemon.signals import Service
from crm_sync.daemon.systemd import Notifier

AFTER_S = %s

class Worker:
    moving, sentence = True, ""

    def __init__(self):
        self.stop = asyncio.Event()

    async def check(self):
        pass

    async def run(self):
        print("now", flush=True)
        await deliver()

async def deliver():
    %s

async def main():
    last_resort = LastResort()

    def on_stop(worker, now):
        last_resort.arm(0.1 if now else AFTER_S, lambda: {"brevo": 7})
        os.write(1, b"told\\n")  # in the middle of anything: not through a buffer

    await Service(Worker(), lambda worker: worker, Notifier(), on_stop).run()

log.configure()
with asyncio.Runner(loop_factory=%s) as runner:
    runner.run(main())
"""
LOOPS = ["uvloop.new_event_loop", "asyncio.new_event_loop"]
HOLDS_ALL = 're.match("(a+)+$", 60 * "a" + "b")'  # no other thread can run


async def told_while(what, *numbers, loop=LOOPS[0], after_s=0.1):
    """What came of a process that gets these signals while its event loop does this."""
    return await told_to_stop(TOLD % (after_s, what, loop), numbers, {"PYTHONPATH": str(Path.cwd() / "worker")})


async def told_to_stop(program, numbers, env):
    """(exit code, the lines of its log) of a process that gets each signal once it has written a line."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=env, cwd="/",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(TIMEOUT_S):
            for number in numbers:
                await running.stdout.readline()
                running.send_signal(number)
            _, err = await running.communicate()
    finally:
        with suppress(ProcessLookupError):
            running.kill()
    return running.returncode, err.decode().splitlines()


@pytest.mark.parametrize("loop", one_quick(LOOPS))
@pytest.mark.parametrize("number", one_quick([signal.SIGTERM, signal.SIGINT]))
@pytest.mark.parametrize("what", ["time.sleep(600)", "while True: pass", "ours, theirs = socket.socketpair(); ours.recv(1)"])
async def test_what_keeps_the_event_loop_busy_already_is_ended_and_named(what, number, loop):
    code, lines = await told_while(what, number, loop=loop)
    assert code == 1
    [said] = map(json.loads, lines)
    assert (said["event"], said["in_flight"]) == (events.STOP_OVERDUE, {"brevo": 7})
    assert said["held_up"][0].startswith("deliver, line ")


@slow
async def test_what_lets_no_other_thread_run_is_ended_too():
    code, lines = await told_while(HOLDS_ALL, signal.SIGTERM)
    assert code == 1
    assert any("in deliver" in line for line in lines)


async def test_one_whose_event_loop_is_free_is_told_once():
    code, lines = await told_while("await asyncio.Event().wait()", signal.SIGTERM)
    assert code == 1
    [said] = map(json.loads, lines)
    assert any(name.startswith("main, line ") for name in said["held_up"])


# Told twice: now.

# Not one long sleep: a signal that comes just before the call is seen only after it.
BUSY = "while True: time.sleep(0.01)"


@pytest.mark.parametrize("numbers", one_quick([(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)]))
@pytest.mark.parametrize("loop", one_quick(LOOPS))
async def test_a_second_signal_ends_at_once_what_keeps_the_event_loop_busy(numbers, loop):
    code, lines = await told_while(BUSY, *numbers, loop=loop, after_s=600)
    assert code == 1
    [said] = map(json.loads, lines)
    assert (said["event"], said["in_flight"]) == (events.STOP_OVERDUE, {"brevo": 7})


async def test_a_second_signal_ends_at_once_what_is_not_ended_by_being_cancelled():
    code, lines = await told_while(
        "await asyncio.gather(*[asyncio.to_thread(time.sleep, 600)])", signal.SIGTERM, signal.SIGTERM, after_s=600
    )
    assert code == 1
    [said] = map(json.loads, lines)
    assert said["event"] == events.STOP_OVERDUE


# The worker itself.

NEVER_RETURNS = """
import os, sys, time
from crm_sync.crm.brevo.client import Brevo
from crm_sync.cli import main
from crm_sync.daemon.last_resort import LastResort

async def deliver(self, contacts):
    print("now", flush=True)
    while True:
        time.sleep(0.01)

def arm_and_say_so(self, seconds, in_flight, arm=LastResort.arm):
    arm(self, seconds, in_flight)
    os.write(1, b"told\\n")

Brevo.deliver = deliver
LastResort.arm = arm_and_say_so
sys.argv[1:] = ["run"]
main()
"""


@slow
async def test_a_worker_whose_client_never_returns_ends_in_its_time_and_the_next_one_delivers(app, url, brevo):
    await insert(app, "Queued")
    env = environment(url, brevo, SHUTDOWN_GRACE_S="0", PYTHONPATH=str(Path.cwd() / "worker"))
    code, lines = await told_to_stop(NEVER_RETURNS, [signal.SIGTERM], env)
    assert code == 1
    said = json.loads(lines[-1])
    assert (said["event"], said["in_flight"]) == (events.STOP_OVERDUE, {"brevo": 1})
    assert said["held_up"][0].startswith("deliver, line ")
    assert not brevo.contacts
    async with process(environment(url, brevo)):
        await until(app, ALL_COMPLETE)


async def test_a_worker_whose_client_never_returns_ends_when_it_is_told_twice(app, url, brevo):
    await insert(app, "Queued")
    env = environment(url, brevo, SHUTDOWN_GRACE_S="600", PYTHONPATH=str(Path.cwd() / "worker"))
    code, lines = await told_to_stop(NEVER_RETURNS, [signal.SIGTERM, signal.SIGTERM], env)
    assert code == 1
    said = json.loads(lines[-1])
    assert (said["event"], said["in_flight"]) == (events.STOP_OVERDUE, {"brevo": 1})
