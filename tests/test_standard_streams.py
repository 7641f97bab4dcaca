"""What becomes of a command whose output nobody reads, or that a full disk refuses."""

import asyncio
import os
import sys
from pathlib import Path

import psycopg
import pytest

from tests.harness import TIMEOUT_S
from tests.process import environment
from tests.tiers import slow

FULL = Path("/dev/full")


async def run(env, *arguments, stdout, stderr=asyncio.subprocess.PIPE):
    """(exit code, standard error). stdout, stderr: what they are connected to; PIPE for one that is read."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crm_sync", *arguments,
        env={"PYTHONPATH": str(Path.cwd() / "worker"), **env}, cwd="/",
        stdin=asyncio.subprocess.DEVNULL, stdout=stdout, stderr=stderr,
    )  # fmt: skip
    async with asyncio.timeout(TIMEOUT_S):
        _, err = await running.communicate()
    return running.returncode, (err or b"").decode()


@pytest.fixture
def unread():
    """A pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.fixture
def full():
    """A file on a full disk."""
    if not FULL.exists():
        pytest.skip(f"there is no {FULL}")
    with FULL.open("wb") as file:
        yield file


@pytest.fixture
def table(empty_url):
    with psycopg.connect(empty_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE contacts (id bigint PRIMARY KEY, email text)")
    return environment(empty_url, owner=True)


@slow
@pytest.mark.parametrize("both", [False, True], ids=["standard output", "both streams"])
async def test_an_adoption_that_nobody_reads_is_finished(table, unread, both):
    code, err = await run(table, "adopt", stdout=unread, stderr=unread if both else asyncio.subprocess.PIPE)
    assert (code, err) == (0, "")
    code, _ = await run(table, "migrate", "--check", stdout=asyncio.subprocess.DEVNULL)
    assert code == 0


@pytest.mark.parametrize("command", ["errors", "settings"])
async def test_what_only_reads_ends_as_by_sigpipe_and_says_nothing(unread, command):
    assert await run({"DATABASE_URL": "postgresql://127.0.0.1/x"}, command, stdout=unread) == (141, "")


async def test_a_watch_ends_with_its_reader(url, unread):
    assert await run(environment(url), "status", "--watch", stdout=unread) == (141, "")


@pytest.mark.parametrize("arguments", [("errors",), ("--help",), ("errors", "--help"), ("--version",)], ids=" ".join)
async def test_a_full_disk_is_a_sentence_and_exits_with_1(full, arguments):
    assert await run({}, *arguments, stdout=full) == (1, "crm-sync: standard output cannot be written: No space left on device\n")


@slow
async def test_an_adoption_whose_output_does_not_fit_is_finished_and_says_so(table, full):
    code, err = await run(table, "adopt", stdout=full)
    assert (code, err) == (1, "crm-sync: standard output cannot be written: No space left on device\n")
    code, _ = await run(table, "migrate", "--check", stdout=asyncio.subprocess.DEVNULL)
    assert code == 0
