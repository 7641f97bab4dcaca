"""What a CRM said about one contact, and how its row is finished.

Named tuples, because these three are created for every contact, and creating a frozen dataclass takes four times as long.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from crm_sync.core.clearing import Ending, Sent
from crm_sync.core.traceparent import trace_of


def is_empty(value: Any) -> bool:
    """Whether a field has no value: in the row, or in a CRM."""
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


class Contact(NamedTuple):
    """One claimed contact. fields: what is sent, by the CRM's own names. flipped_at: identifies the flip across all its retries.

    late: others with the same address may have overtaken it, because it was put back in line since, or claimed out of turn.
    trace: the trace context that the application set with the flip, verbatim. sent: what was written before; None if nothing is
    emptied.
    """

    id: Any
    token: int
    attempts: int
    remote_id: str | None
    email: str | None
    flipped_at: datetime
    fields: dict[str, Any]
    late: bool = False
    trace: str | None = None
    sent: Sent | None = None

    @property
    def filled(self) -> dict[str, Any]:
        """The fields that are sent: those that are empty here stay unchanged in the CRM."""
        return {
            name: value
            for name, value in self.fields.items()
            if value is not None and (value.strip() if isinstance(value, str) else value != [])
        }

    @property
    def emptied(self) -> tuple[str, ...]:
        """The fields to empty in the CRM, in the record that the row names."""
        return () if self.sent is None else self.sent.emptied


class Deletion(NamedTuple):
    """A contact whose row was deleted, and whose record in the CRM is to be deleted.

    contact_id: the row's key, as text. remote_id: None only for a CRM without its own records. erase: permanently, if the CRM
    makes a difference. deleted_at: identifies the deletion across all its retries.
    """

    contact_id: str
    remote_id: str | None
    email: str | None
    erase: bool
    deleted_at: datetime


class Verdict(StrEnum):
    DELIVERED = "delivered"
    FAILED = "failed"  # this contact, temporarily
    REJECTED = "rejected"  # this contact, until somebody changes it


class Outcome(NamedTuple):
    """code and reason: why it failed or was rejected; with a delivery, what could not be sent.

    left: the fields that were to be written or emptied, but were not changed. theirs: those of them that have another value
    there.
    """

    verdict: Verdict
    code: str | None = None
    reason: str | None = None
    remote_id: str | None = None
    left: frozenset[str] = frozenset()
    theirs: frozenset[str] = frozenset()

    @classmethod
    def delivered(
        cls, remote_id: str | None, code: str | None = None, reason: str | None = None, left: frozenset[str] = frozenset()
    ) -> "Outcome":
        return cls(Verdict.DELIVERED, code, reason, remote_id, left)

    @classmethod
    def failed(cls, code: str, reason: str) -> "Outcome":
        return cls(Verdict.FAILED, code, reason)

    @classmethod
    def rejected(cls, code: str, reason: str) -> "Outcome":
        return cls(Verdict.REJECTED, code, reason)


class Unsent(NamedTuple):
    """What happens to a contact that was not sent: it is done, or is looked at again in delay_s seconds.

    reason: for people.
    """

    done: bool
    delay_s: float = 0.0
    reason: str | None = None


# What is finally known of a contact; None: it goes back untouched, because there was no verdict.
Settled = Outcome | Unsent | None


class Kind(StrEnum):
    """The transitions out of "in flight". Their table is in sql/queries/table/finish_contacts.sql."""

    DELIVERED = "delivered"
    RETRY = "retry"  # waits, then is tried again
    REJECTED = "rejected"
    DEFERRED = "deferred"  # not sent: back in line, the attempt given back
    ORPHANED = "orphaned"  # its worker died: back in line, the attempt counts


class Receipt(NamedTuple):
    """What is kept about the request that a contact was in, or about the last one if it took several.

    took_ms: all of them together. status: HTTP, None if there was no answer. request_id: as the CRM's support knows it.
    """

    took_ms: int
    status: int | None = None
    request_id: str | None = None


class Finish(NamedTuple):
    """One row to be written. token: the claim it ends. delay_s: seconds until a retry.

    sent: it may have reached the CRM. late: its data may have overwritten what another contact with its address sent since.
    attempts, flipped_at, known (it had an id in the CRM) and trace: as the claim returned them, if it was sent. receipt: None
    also if a request was interrupted. sent_fields: which of its fields are in the CRM; None if nothing is emptied.
    """

    id: Any
    token: int
    kind: Kind
    error: str | None = None
    remote_id: str | None = None
    delay_s: float = 0.0
    sent: bool = False
    late: bool = False
    attempts: int | None = None
    flipped_at: datetime | None = None
    known: bool = False
    trace: str | None = None
    receipt: Receipt | None = None
    sent_fields: Ending | None = None

    @property
    def code(self) -> str | None:
        return None if self.error is None else self.error.partition(":")[0]

    @property
    def told(self) -> bool:
        """Whether history records it: not if it was only put back, unsent."""
        return self.kind is not Kind.DEFERRED or self.sent or self.receipt is not None or self.error is not None


TOOK_UNKNOWN = -1
_NOT_SENT = (None, None, None)
_CUT_SHORT = (TOOK_UNKNOWN, None, None)
_TRACE, _RECEIPT = (Finish._fields.index(name) for name in ("trace", "receipt"))


def columns(finishes: Iterable[Finish]) -> list[Sequence[Any]]:
    """The columns of one or more finishes: ids, tokens, kinds, errors, remote ids, delays; the duration, status and id of their
    requests; and the trace ids of their flips.
    """
    whole = [*zip(*finishes, strict=True)]
    receipts = [receipt or (_CUT_SHORT if sent else _NOT_SENT) for sent, receipt in zip(whole[6], whole[_RECEIPT], strict=True)]
    return [*whole[:6], *zip(*receipts, strict=True), [trace and trace_of(trace) for trace in whole[_TRACE]]]


def sparse(written: Sequence[Sequence[Any]]) -> list[Any]:
    """The same columns for a statement, which reads missing array elements as NULL, and no delay as 0. After them, the tokens,
    kinds, durations and statuses that all have in common: a single value each, in place of the column.

    In most batches few columns differ. The driver looks at each element of each array: a sixteenth of a worker's time.
    """
    ids, tokens, kinds, errors, remote_ids, delays, took_ms, statuses, *names = written
    whole, common = zip(*map(_common, (tokens, kinds, took_ms, statuses)), strict=True)
    empty = map(_unless_null, (errors, remote_ids))
    return [ids, *whole[:2], *empty, delays if any(delays) else [], *whole[2:], *map(_unless_null, names), *common]


def _common(column: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """The column if its values differ, else the one value."""
    first = column[0]
    return ([], first) if column.count(first) == len(column) else (column, None)


def _unless_null(column: Sequence[Any]) -> Sequence[Any]:
    return [] if column[0] is None and column.count(None) == len(column) else column
