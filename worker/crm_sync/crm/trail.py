"""What became of the requests that one delivery needed: how many, and of the last one the answer.

Anyone who asks a client to deliver follows it; the HTTP shell notes each request, in whichever task the client makes it. A client
that speaks otherwise than by that shell leaves no trail.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from crm_sync.crm.answer import Answer
from crm_sync.errors import LaneError
from crm_sync.measurements import Exchange, Operation, measure

LARGEST_STATUS = 999
_NO_ID = re.compile(r"[^\w.:=/+-]")  # a foreign text: what is not an id may be anything, an address too


@dataclass(slots=True)
class Trail:
    """requests: that were begun. throttled: of them, answered with 429. status, request_id: of the last answer, None without.

    crm, operation: what they are made for; empty if nobody follows.
    """

    crm: str = ""
    operation: str = ""
    requests: int = 0
    throttled: int = 0
    status: int | None = None
    request_id: str | None = None

    def begin(self) -> None:
        self.requests += 1
        self.status = self.request_id = None

    def ended(self, status: int, error: LaneError | None, began: float, *, login: bool) -> None:
        """A request that began then has. status: 0 if there is no answer. error: why there is none, or not the whole of it."""
        if self.crm:
            code = None if error is None else error.code
            operation = Operation.LOGIN if login else self.operation
            measure(Exchange(self.crm, operation, status, code, time.monotonic() - began))

    def answered(self, answer: Answer) -> None:
        self.throttled += answer.status == 429
        self.status = min(answer.status, LARGEST_STATUS)
        request_id = answer.request_id
        self.request_id = None if not request_id or _NO_ID.search(request_id) else request_id


_current: ContextVar[Trail | None] = ContextVar("trail", default=None)


@contextmanager
def followed(crm: str, operation: str) -> Iterator[Trail]:
    """The requests that are made in here, and in tasks that are started in here."""
    trail = Trail(crm, operation)
    token = _current.set(trail)
    try:
        yield trail
    finally:
        _current.reset(token)


@contextmanager
def as_operation(operation: str) -> Iterator[None]:
    """The requests that are made in here are measured as these; they belong to the same trail."""
    trail = current()
    before, trail.operation = trail.operation, operation
    try:
        yield
    finally:
        trail.operation = before


def current() -> Trail:
    """One that nobody reads where nobody follows."""
    return _current.get() or Trail()
