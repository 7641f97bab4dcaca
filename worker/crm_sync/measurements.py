"""Measurements, which are too frequent to be logged. Consumers tap them, as with the log.

The code that measures does not know who listens. Without listeners, as in a worker without metrics, a measurement costs one call
that does nothing.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

import structlog

from crm_sync import events

log = structlog.get_logger()


class Cause(StrEnum):
    """Why a sleeping lane looks for contacts."""

    BELL = "bell"  # a flip rang, or another worker asked for help
    DUE = "due"  # a contact became due
    NAP = "nap"  # a flip is uncommitted, or a row is locked: it looks again after a moment
    TICK = "tick"  # the safety look found something due that no bell had announced
    RECOVERY = "recovery"  # contacts of a dead worker are back in line, or there is a new session
    AGAIN = "again"  # flipped again while in flight


class Operation(StrEnum):
    """What a request was for."""

    UPSERT = "upsert"
    DELETE = "delete"
    LOGIN = "login"  # for a token
    FIELDS = "fields"  # to read the CRM's fields
    ACCOUNT = "account"  # to read whose account it is


class Delivery(NamedTuple):
    """Contacts, or deletions, that were passed to the client together."""

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
    """One SQL statement. name: of its file; empty if it has none. took_s: including the wait for a connection."""

    name: str
    took_s: float


class Delivered(NamedTuple):
    """Contacts that were just delivered. waited_ms: how many were delivered this many milliseconds after their flip."""

    crm: str
    waited_ms: Mapping[int, int]


class Unrecorded(NamedTuple):
    """Outcomes missing from history."""

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
    """A sleeping lane looks for contacts."""

    crm: str
    cause: Cause


Measurement = Delivery | Exchange | Statement | Delivered | Unrecorded | Throttled | Limited | Woken
Tap = Callable[[Measurement], None]

_taps: list[Tap] = []
_told: set[type[Exception]] = set()


def tap(listener: Tap) -> None:
    """From now on, the listener is called with every measurement in this process. It must be fast.

    If it fails, deliveries are not affected. Each kind of failure is logged once.
    """
    _taps.append(listener)


def untap(listener: Tap) -> None:
    """It is no longer called."""
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
