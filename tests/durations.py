"""How long a test may take: one over --durations-limit that is marked neither slow nor root fails.

What a session, a package or a module shares is not charged to the test that comes first.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest

OPTION = "--durations-limit"
MARKS = ("slow", "root")
_spent_s = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        OPTION, type=float, metavar="S", help="Fail a test that takes more seconds and is marked neither slow nor root."
    )


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[None]:
    started_s = time.perf_counter()
    try:
        return (yield)
    finally:
        if fixturedef.scope != "function":
            item = request._pyfuncitem
            item.stash[_spent_s] = item.stash.get(_spent_s, 0.0) - (time.perf_counter() - started_s)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield
    limit_s = item.config.getoption(OPTION)
    spent_s = item.stash[_spent_s] = item.stash.get(_spent_s, 0.0) + call.duration
    if limit_s and call.when == "call" and report.passed and spent_s > limit_s and not any(map(item.get_closest_marker, MARKS)):
        report.outcome = "failed"
        report.longrepr = f"It took {spent_s:.1f} s, of {limit_s:g} s: make it quicker, or mark it slow."
    return report
