"""Log events: each has a name in one place, and anyone who taps them sees what is logged."""

import ast
import json
import logging
import sys
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from crm_sync import events, log
from crm_sync.core.outcome import Outcome
from tests.harness import ScriptedCrm, running, until
from tests.steps import insert

SOURCES = Path(log.__file__).parent
METHODS = ("debug", "info", "warning", "error", "exception")
REFUSED = Outcome.rejected("REJECTED", "no")
NAMES = {name for name in vars(events) if name.isupper()}


def logged(path):
    """The first argument of each call that logs, as it is in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(value=receiver, attr=method), args=[name, *_]) if method in METHODS:
                if ast.unparse(receiver) in ("log", "self._log"):
                    yield ast.unparse(name)


CALLS = {path: names for path in sorted(SOURCES.rglob("*.py")) if (names := list(logged(path)))}


@pytest.mark.parametrize("path", CALLS, ids=lambda path: str(path.relative_to(SOURCES)))
def test_what_is_logged_has_its_name_from_one_place(path):
    assert {name.removeprefix("events.") for name in CALLS[path]} <= NAMES
    assert all(name.startswith("events.") for name in CALLS[path])


def test_every_event_is_logged_somewhere():
    assert {name.removeprefix("events.") for names in CALLS.values() for name in names} == NAMES


@pytest.fixture
def written():
    """The lines that would be written, with the taps before them as `configure` has it."""
    before = structlog.get_config()["processors"]
    lines = LogCapture()
    structlog.configure(processors=[log.hand_to_taps, lines])
    yield lines.entries
    structlog.configure(processors=before)


@pytest.fixture
def taps(monkeypatch):
    monkeypatch.setattr(log, "_taps", [])


async def test_a_tap_sees_every_event_as_it_is_logged(app, url, written, taps):
    seen = []
    log.tap(lambda event: seen.append(dict(event)))
    crm = ScriptedCrm()
    crm.answer = lambda contact: (
        Outcome.rejected("REJECTED", "no") if contact.email == "eve@example.com" else Outcome.delivered("7")
    )
    async with running(url, crm):
        await insert(app, "Queued")
        await insert(app, "Queued", "eve@example.com")
        await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts")
    assert seen == [{name: value for name, value in line.items() if name != "log_level"} for line in written]
    finished = [event for event in seen if event["event"] == events.CONTACTS_FINISHED]
    assert sum(event.get("delivered", 0) for event in finished) == 1
    assert sum(event.get("rejected", 0) for event in finished) == 1
    assert {event["crm"] for event in finished} == {"brevo"}


def test_a_tap_that_fails_costs_no_line_and_the_line_says_so(written, taps):
    seen = []

    def fail(_event):
        raise KeyError("a secret")

    log.tap(fail)
    log.tap(lambda event: seen.append(event["event"]))
    structlog.get_logger().info(events.WORKER_STARTED)
    assert seen == [events.WORKER_STARTED]
    assert written == [{"event": events.WORKER_STARTED, "log_level": "info", "tap_failed": "KeyError"}]


class Narrow:
    """A stream that takes nothing while it is full."""

    def __init__(self) -> None:
        self.full = False
        self.text = ""

    def fileno(self) -> int:
        raise OSError

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.text += text


def test_lines_that_were_lost_are_counted_once_the_log_can_be_written_again(monkeypatch):
    out = Narrow()
    monkeypatch.setattr(sys, "stderr", out)
    before = structlog.get_config()
    log.configure()
    logger = structlog.get_logger()
    try:
        logger.info("first")
        out.full = True
        logger.info("second")
        logger.info("third")
        out.full = False
        logger.info("fourth")
        logger.info("fifth")
    finally:
        structlog.configure(**before)
    said = [json.loads(line) for line in out.text.splitlines()]
    assert [(line["event"], line.get("lines_lost")) for line in said] == [("first", None), ("fourth", 2), ("fifth", None)]


def test_what_is_below_the_level_is_not_written_and_still_counted(monkeypatch):
    out, seen = Narrow(), []
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setattr(log, "_taps", [seen.append])
    before = structlog.get_config()
    log.configure()
    logger = structlog.get_logger()
    try:
        for level in (logging.WARNING, logging.ERROR, logging.INFO):
            log.set_level(level)
            for method in (logger.info, logger.warning, logger.error):
                method(events.WORKER_STARTED)
    finally:
        log.set_level(logging.INFO)
        structlog.configure(**before)
    levels = [json.loads(line)["level"] for line in out.text.splitlines()]
    assert levels == ["warning", "error", "error", "info", "warning", "error"]
    assert len(seen) == 9
