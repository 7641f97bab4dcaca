"""Logging: one event per line. JSON, unless standard error is a terminal.

Other consumers of events, such as metrics, tap the same events (`tap`): the code that logs does not know about them.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import structlog

from crm_sync import events

Tap = Callable[[Mapping[str, Any]], None]

MOST_PLACES = 1000  # in the code, that are remembered

_taps: list[Tap] = []
_level = logging.INFO  # of what is written


def tap(listener: Tap) -> None:
    """From now on, the listener is called with every logged event, in the process that logs it, before it is written.

    The event is passed as logged: its name under "event", its details, and often "crm". The listener must be fast. If it fails,
    the line is still written, and says so under "tap_failed".
    """
    _taps.append(listener)


def untap(listener: Tap) -> None:
    """It is no longer called."""
    with suppress(ValueError):
        _taps.remove(listener)


@contextmanager
def tapped(listener: Tap) -> Iterator[None]:
    """Like tap, for the duration of the context."""
    tap(listener)
    try:
        yield
    finally:
        untap(listener)


class FaultLog:
    """Reports each place where the client of a CRM, or a form of it, fails once, with the traceback, however often it fails."""

    def __init__(self, crm: str) -> None:
        self._log = structlog.get_logger().bind(crm=crm)
        self._told: set[tuple[str, str, int]] = set()

    def tell(self, error: Exception) -> None:
        """Without the text of the error, which can quote a contact."""
        frames = traceback.extract_tb(error.__traceback__)
        place = (frames[-1].filename, frames[-1].lineno or 0) if frames else ("", 0)
        kind = (type(error).__name__, *place)
        if kind not in self._told:
            if len(self._told) >= MOST_PLACES:
                self._told.clear()
            self._told.add(kind)
            lines = [*traceback.format_list(frames), type(error).__name__]
            self._log.error(events.CLIENT_FAILED, exception="".join(lines))


def hand_to_taps(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """The processor that every event goes through."""
    for listener in tuple(_taps):
        try:
            listener(event)
        except Exception as error:  # noqa: BLE001 (reported in the line itself)
            event["tap_failed"] = type(error).__name__
    return event


def set_level(level: int) -> None:
    """From now on, events below this level are not written. Taps still get them: counts must not depend on the log level."""
    global _level  # noqa: PLW0603 (the process has one log)
    _level = level


def drop_quieter(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """The processor that drops events below the level."""
    if logging.getLevelNamesMapping()[event["level"].upper()] < _level:
        raise structlog.DropEvent
    return event


class _Output:
    """Standard error, or its replacement. A full disk or a closed reader costs lines, never a delivery.

    The first line after a loss says how many were lost. Unbuffered if it is a file: what could not be written must not appear at
    the end of the process.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = 0

    def tell_lost(self, _logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        """A processor."""
        if self._lost:
            event["lines_lost"] = self._lost
        return event

    def write(self, text: str) -> None:
        try:
            self._write(text)
        except (OSError, ValueError):  # ValueError: it is closed
            self._lost += 1
        else:
            self._lost = 0

    def flush(self) -> None:
        """Nothing is buffered."""

    def _write(self, text: str) -> None:
        try:
            descriptor = self._stream.fileno()
        except OSError:  # it is in memory
            self._stream.write(text)
            return
        data = text.encode("utf-8", errors="backslashreplace")
        while data:
            data = data[os.write(descriptor, data) :]


def configure(level: int = logging.INFO) -> None:
    """To standard error, which systemd's journal keeps; a command's results go to standard output."""
    set_level(level)
    out = sys.stderr
    output = _Output(out)
    processors: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hand_to_taps,
        drop_quieter,
        output.tell_lost,
    ]
    if out.isatty():
        # The plain formatter: the pretty one shows local variables, which contain personal data.
        processors.append(structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", output)),
        cache_logger_on_first_use=True,
    )


class Trouble:
    """Reports an unreachable database: each reason once, however often it is tried, until all is well again."""

    def __init__(self, **context: Any) -> None:
        self._log = structlog.get_logger().bind(**context)
        self._told = ""

    def tell(self, error: Exception, **details: Any) -> None:
        if str(error) != self._told:
            self._told = str(error)
            self._log.warning(events.DATABASE_TROUBLE, reason=self._told, **details)

    def over(self) -> None:
        self._told = ""
