"""What became of the requests that one delivery needed: how many, and of the last one the answer.

Whoever asks a client to deliver follows it; the HTTP shell notes each request, in whichever task the client makes it. A client
that speaks otherwise than by that shell leaves no trail.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from crm_sync.crm.answer import Answer

LARGEST_STATUS = 999
_NO_ID = re.compile(r"[^\w.:=/+-]")  # a foreign text: what is no id may be anything, an address too


@dataclass(slots=True)
class Trail:
    """requests: that were begun. throttled: of them, answered with 429. status, request_id: of the last answer, None without."""

    requests: int = 0
    throttled: int = 0
    status: int | None = None
    request_id: str | None = None

    def begin(self) -> None:
        self.requests += 1
        self.status = self.request_id = None

    def answered(self, answer: Answer) -> None:
        self.throttled += answer.status == 429
        self.status = min(answer.status, LARGEST_STATUS)
        request_id = answer.request_id
        self.request_id = None if not request_id or _NO_ID.search(request_id) else request_id


_current: ContextVar[Trail | None] = ContextVar("trail", default=None)


@contextmanager
def followed() -> Iterator[Trail]:
    """The requests that are made in here, and in tasks that are started in here."""
    trail = Trail()
    token = _current.set(trail)
    try:
        yield trail
    finally:
        _current.reset(token)


def current() -> Trail:
    """One that nobody reads where nobody follows."""
    return _current.get() or Trail()
