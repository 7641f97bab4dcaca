"""What is measured and not logged: too much of it for a line each. Anyone who wants it taps it, as with the log.

No place that measures knows who listens. Where nobody does, as in a worker without metrics, it costs a call that does nothing.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

import structlog

from crm_sync import events

log = structlog.get_logger()


class Cause(StrEnum):
    """Why a lane that slept looks for contacts."""

    BELL = "bell"  # a flip rang, or another worker asked for help
    DUE = "due"  # the time of a contact has come
    NAP = "nap"  # a flip is uncommitted, or a row is locked: it looks again after a moment
    TICK = "tick"  # the safety look found something due that no bell had told of
    RECOVERY = "recovery"  # contacts of a dead worker are back in line, or there is a new session
    AGAIN = "again"  # flipped once more while in flight


class Operation(StrEnum):
    """What a request was for."""

    UPSERT = "upsert"
    DELETE = "delete"
    LOGIN = "login"  # for a token
    FIELDS = "fields"  # which fields the CRM has


class Delivery(NamedTuple):
    """Contacts, or deletions, that were handed to the client together."""

    crm: str
    contacts: int


class Exchange(NamedTuple):
    """One HTTP request. status: the answer's; 0 if there was none, and then code says why."""

    crm: str
    operation: str
    status: int
    code: str | None
    took_s: float


class Statement(NamedTuple):
    """One SQL statement. name: of its file; empty if it has none. took_s: with the wait for a connection."""

    name: str
    took_s: float


class Delivered(NamedTuple):
    """Contacts that were just delivered. waited_ms: how many this many milliseconds after their flip."""

    crm: str
    waited_ms: Mapping[int, int]


class Unrecorded(NamedTuple):
    """Outcomes that history lacks."""

    crm: str
    outcomes: int


class Throttled(NamedTuple):
    """The CRM said "too many requests"."""

    crm: str


class Limited(NamedTuple):
    """A claim or a request waited for the account's limits."""

    crm: str
    waited_s: float


class Woken(NamedTuple):
    """A lane that slept looks for contacts."""

    crm: str
    cause: Cause


Measurement = Delivery | Exchange | Statement | Delivered | Unrecorded | Throttled | Limited | Woken
Tap = Callable[[Measurement], None]

_taps: list[Tap] = []
_told: set[type[Exception]] = set()


def tap(listener: Tap) -> None:
    """From now on the listener is called with everything that is measured in this process. It must be quick.

    One that fails costs no delivery. Each kind of failure is in the log once.
    """
    _taps.append(listener)


def untap(listener: Tap) -> None:
    """It is called no more."""
    with suppress(ValueError):
        _taps.remove(listener)


def measure(measurement: Measurement) -> None:
    """Raises nothing."""
    for listener in _taps:
        try:
            listener(measurement)
        except Exception as error:
            if type(error) not in _told:
                _told.add(type(error))
                log.exception(events.LOOP_FAILED, loop="metrics")
