"""A worker that was told to stop ends after its time, whatever holds it up, and says what was left."""

import asyncio
import json
import os
import sys
from pathlib import Path

from crm_sync import events
from tests.harness import TIMEOUT_S

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
