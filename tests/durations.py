"""How long a test may take, unless it is marked slow or root.

The limit is in seconds. On a busy machine, which slows all tests down, it is 40 times the mean of the run if that is longer.
Fixtures shared by a session, a package or a module do not count towards the test that comes first.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest

OPTION = "--durations-limit"
MARKS = ("slow", "root")
TIMES_THE_MEAN = 40
SPENT = "spent_s"
_spent_s = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        OPTION,
        type=float,
        metavar="SECONDS",
        help="Fail if a test that is marked neither slow nor root takes longer than this, and 40 times as long as the mean test.",
    )


def pytest_configure(config: pytest.Config) -> None:
    # xdist's workers do not judge: each has run only part of the tests.
    if config.getoption(OPTION) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Judge(config))


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
    spent_s = item.stash[_spent_s] = item.stash.get(_spent_s, 0.0) + call.duration
    if call.when == "call" and report.passed and not any(map(item.get_closest_marker, MARKS)):
        report.user_properties.append((SPENT, spent_s))
    return report


class Judge:
    def __init__(self, config: pytest.Config) -> None:
        self._least_s: float = config.getoption(OPTION)
        self._spent_s: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            for spent_s in (value for name, value in report.user_properties if name == SPENT):
                self._spent_s[report.nodeid] = spent_s

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._too_long() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for test, spent_s in sorted(self._too_long().items()):
            terminalreporter.write_line(
                f"TOO LONG {test} - It took {spent_s:.1f} s. The limit is {self._limit_s():.1f} s: "
                "make it quicker, or mark it slow."
            )

    def _limit_s(self) -> float:
        return max(self._least_s, TIMES_THE_MEAN * sum(self._spent_s.values()) / len(self._spent_s))

    def _too_long(self) -> dict[str, float]:
        if not self._spent_s:
            return {}
        limit_s = self._limit_s()
        return {test: spent_s for test, spent_s in self._spent_s.items() if spent_s > limit_s}
