"""Spans of a worker's activities, for a tracer: `crm_sync.telling.traces` if configured; otherwise none, at no cost.

    delivery   one call of a client for some contacts: linked to the traces of their flips
    request    one HTTP request of a client, below it

Code that runs inside `traced` uses that tracer, including all tasks that it starts.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol

from crm_sync.core.outcome import Contact, Outcome, Unsent
from crm_sync.errors import LaneError


class Delivery(Protocol):
    """A span, while it is open."""

    def said(self, entries: Sequence[Outcome | Unsent | LaneError]) -> None:
        """The result for each contact."""

    def failed(self, error: LaneError) -> None:
        """There is no result for any of them."""


class Exchange(Protocol):
    """headers: continue the trace, for receivers that are meant to."""

    headers: Mapping[str, str]

    def answered(self, status: int) -> None: ...

    def failed(self, error: LaneError) -> None: ...


class Tracer(Protocol):
    def delivery(self, crm: str, operation: str, contacts: Sequence[Contact]) -> AbstractContextManager[Delivery]: ...

    def request(self, method: str, host: str | None, port: int | None) -> AbstractContextManager[Exchange]: ...


class _Nothing:
    """No tracer, and its spans."""

    headers: Mapping[str, str] = {}

    def delivery(self, _crm: str, _operation: str, _contacts: Sequence[Contact]) -> "_Nothing":
        return self

    def request(self, _method: str, _host: str | None, _port: int | None) -> "_Nothing":
        return self

    def said(self, entries: Sequence[Outcome | Unsent | LaneError]) -> None:
        pass

    def answered(self, status: int) -> None:
        pass

    def failed(self, error: LaneError) -> None:
        pass

    def __enter__(self) -> "_Nothing":
        return self

    def __exit__(self, *_: object) -> None:
        pass


NOTHING = _Nothing()
_tracer: ContextVar[Tracer] = ContextVar("tracer", default=NOTHING)


@contextmanager
def traced(tracer: Tracer) -> Iterator[None]:
    """Inside, this tracer gets the spans."""
    token = _tracer.set(tracer)
    try:
        yield
    finally:
        _tracer.reset(token)


def delivery(crm: str, operation: str, contacts: Sequence[Contact]) -> AbstractContextManager[Delivery]:
    """Around one call of a client. operation: upsert or delete."""
    return _tracer.get().delivery(crm, operation, contacts)


def request(method: str, host: str | None, port: int | None) -> AbstractContextManager[Exchange]:
    """Around one HTTP request. Outside a delivery there is no span."""
    return _tracer.get().request(method, host, port)
