"""The limit of `make durations`: held by a run of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.manual import ROOT
from tests.tiers import slow

TESTS = """
import time
import pytest

@pytest.mark.parametrize("number", range(100))
def test_quick(number):
    time.sleep(0.005)

@pytest.fixture(scope="module")
def shared():
    time.sleep(1)

def test_first_with_what_is_shared(shared):
    time.sleep(0.005)

@pytest.mark.slow
def test_marked():
    time.sleep(1)

def test_long():
    time.sleep({long_s})
"""


@slow
@pytest.mark.parametrize(
    ("limit", "long_s", "code", "named"),
    [
        ("0.01", 2, 1, ["test_long"]),  # longer than both
        ("0.001", 0.005, 0, []),  # longer than the limit, as all tests of a busy machine are
        ("60", 2, 0, []),  # longer than the other tests, and short
    ],
)
def test_one_that_takes_too_long_is_named_and_fails_the_run(
    tmp_path: Path, limit: str, long_s: float, code: int, named: list[str]
):
    (tmp_path / "test_of_its_own.py").write_text(TESTS.replace("{long_s}", str(long_s)))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: long\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.durations", "-p", "no:cacheprovider", "--durations-limit", limit],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    too_long = [line.split()[2].partition("::")[2] for line in ran.stdout.splitlines() if line.startswith("TOO LONG")]
    assert (too_long, ran.returncode) == (named, code), ran.stdout + ran.stderr
