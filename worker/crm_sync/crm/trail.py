"""The requests of one delivery: how many there were, the answer to the last one, and whose values they may have stored.

The caller of a client's deliver follows the trail; the HTTP layer records each request, in whichever task the client makes it,
and asks before each whether the delivery may go on. A client that does not use that layer leaves no trail.
"""

import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from crm_sync.core.outcome import Contact
from crm_sync.crm.answer import Answer
from crm_sync.errors import LaneError
from crm_sync.measurements import Exchange, Operation, measure

LARGEST_STATUS = 999
SESSION_LOST = "the session was lost before this request started, so another worker may have its contacts"
_NO_ID = re.compile(r"[^\w.:=/+-]")  # a foreign text: unless it looks like an id it may be anything, even an address


def _always() -> bool:
    return True


@dataclass(slots=True)
class Trail:
    """requests: how many were begun. throttled: how many of them were answered with 429. status, request_id: of the last answer,
    None without one.

    crm, operation: what they were made for; empty if the trail is not followed. may_go_on: whether another request may start; not
    if the session was lost. is_whole: there were no others, even if the client makes some that leave no trail. written: the ids
    of the contacts whose values may have been stored; all_written: those of all contacts may.
    """

    crm: str = ""
    operation: str = ""
    may_go_on: Callable[[], bool] = _always
    is_whole: bool = False
    requests: int = 0
    throttled: int = 0
    status: int | None = None
    request_id: str | None = None
    written: set[object] = field(default_factory=set)
    all_written: bool = False

    def begin(self) -> None:
        self.requests += 1
        self.status = self.request_id = None

    def ended(self, status: int, error: LaneError | None, began: float, *, login: bool) -> None:
        """A request that began at `began` has ended. status: 0 if there is no answer. error: why there is none, or only part of
        it.
        """
        if self.crm:
            code = None if error is None else error.code
            operation = Operation.LOGIN if login else self.operation
            measure(Exchange(self.crm, operation, status, code, time.monotonic() - began))

    def answered(self, answer: Answer) -> None:
        self.throttled += answer.status == 429
        self.status = min(answer.status, LARGEST_STATUS)
        request_id = answer.request_id
        self.request_id = None if not request_id or _NO_ID.search(request_id) else request_id

    def wrote(self, contacts: Collection[Contact] | None) -> None:
        """A request with values of these contacts was not refused as a whole. None: of all that are delivered."""
        if contacts is None:
            self.all_written = True
        else:
            self.written.update(contact.id for contact in contacts)

    def spared(self, contacts: Collection[Contact]) -> None:
        """The answer says that it stored nothing of these, whose first request it was."""
        self.written.difference_update(contact.id for contact in contacts)

    def may_have_written(self, contact: Contact) -> bool:
        return self.all_written or contact.id in self.written


_current: ContextVar[Trail | None] = ContextVar("trail", default=None)


class followed:  # noqa: N801 (used as `followed(...)`; a generator would cost each request more than the rest of the trail)
    """The requests made inside this context, and in tasks started inside it."""

    __slots__ = ("_token", "_trail")

    def __init__(self, crm: str, operation: str, may_go_on: Callable[[], bool] = _always) -> None:
        self._trail = Trail(crm, operation, may_go_on)

    def __enter__(self) -> Trail:
        self._token = _current.set(self._trail)
        return self._trail

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


@contextmanager
def as_operation(operation: str) -> Iterator[None]:
    """The requests made inside are measured under this name; they belong to the same trail."""
    trail = current()
    before, trail.operation = trail.operation, operation
    try:
        yield
    finally:
        trail.operation = before


def current() -> Trail:
    """A dummy if no trail is followed."""
    return _current.get() or Trail()
