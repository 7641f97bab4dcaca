"""What a CRM said of one contact, and how its row is finished.

Named tuples, because these three are made for every contact, and a frozen dataclass takes four times as long to make.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from crm_sync.core.clearing import Ending, Sent
from crm_sync.core.traceparent import trace_of


class Contact(NamedTuple):
    """One claimed contact. fields: what is sent, by the CRM's own names. flipped_at: names the flip, over all its retries.

    late: it was put back in line since, so that others of its address may have overtaken it. trace: what the application said of
    the trace that the flip belongs to, as it said it. sent: what was put there before; None where nothing is emptied.
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
        """The fields that are sent: what is empty here stays as it is in the CRM."""
        return {
            name: value
            for name, value in self.fields.items()
            if not (value is None or value == [] or (isinstance(value, str) and not value.strip()))
        }

    @property
    def emptied(self) -> tuple[str, ...]:
        """The fields that are to be emptied in the CRM, in the record that the row names."""
        return () if self.sent is None else self.sent.emptied


class Deletion(NamedTuple):
    """A contact whose row was deleted, and whose record in the CRM is to be.

    contact_id: the row's key, as text. remote_id: None only at a CRM without records of its own. erase: for good, where the CRM
    knows a difference. deleted_at: names the deletion, over all its retries.
    """

    contact_id: str
    remote_id: str | None
    email: str | None
    erase: bool
    deleted_at: datetime


class Verdict(StrEnum):
    DELIVERED = "delivered"
    FAILED = "failed"  # this contact, for now
    REJECTED = "rejected"  # this contact, until somebody changes it


class Outcome(NamedTuple):
    """code and reason: why it failed or was rejected; with a delivery, what could not be sent along.

    left: the fields that are as they were before, though they were to be written, or emptied.
    """

    verdict: Verdict
    code: str | None = None
    reason: str | None = None
    remote_id: str | None = None
    left: frozenset[str] = frozenset()

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
    """What becomes of a contact that the CRM was not asked about: it is done, or looked at again in delay_s seconds.

    reason: for people.
    """

    done: bool
    delay_s: float = 0.0
    reason: str | None = None


class Kind(StrEnum):
    """The transitions out of "in flight". Their table is in sql/queries/table/finish_contacts.sql."""

    DELIVERED = "delivered"
    RETRY = "retry"  # waits, then again
    REJECTED = "rejected"
    DEFERRED = "deferred"  # not sent: back in line, the attempt given back
    ORPHANED = "orphaned"  # its worker died: back in line, the attempt counts


class Receipt(NamedTuple):
    """What is kept of the request that a contact was in, or of the last one, where it needed several.

    took_ms: all of them together. status: HTTP, None if there was no answer. request_id: as the CRM's support knows it.
    """

    took_ms: int
    status: int | None = None
    request_id: str | None = None


class Finish(NamedTuple):
    """One row to be written. token: the claim it ends. delay_s: seconds until a retry.

    sent: it may have reached the CRM. late: what it says may lie there over what another contact of its address has said since.
    attempts, flipped_at, known (it had an id in the CRM) and trace: as the claim returned them, where it was sent. receipt: None
    too where a request was interrupted. sent_fields: what of it is in the CRM; None where nothing is emptied.
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
        """Whether history has a line of it: not where it was only put back, unsent."""
        return self.kind is not Kind.DEFERRED or self.sent or self.receipt is not None or self.error is not None


TOOK_UNKNOWN = -1
_NOT_SENT = (None, None, None)
_CUT_SHORT = (TOOK_UNKNOWN, None, None)
_TRACE, _RECEIPT = (Finish._fields.index(name) for name in ("trace", "receipt"))


def columns(finishes: Iterable[Finish]) -> list[Sequence[Any]]:
    """What is written of finishes, one at least: their ids, tokens, kinds, errors, remote ids, delays; of their requests how long
    they took, status and id; and the trace id of their flips.
    """
    whole = [*zip(*finishes, strict=True)]
    receipts = [receipt or (_CUT_SHORT if sent else _NOT_SENT) for sent, receipt in zip(whole[6], whole[_RECEIPT], strict=True)]
    return [*whole[:6], *zip(*receipts, strict=True), [trace and trace_of(trace) for trace in whole[_TRACE]]]


def sparse(written: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """The same columns for a statement, which takes what an array lacks for NULL, and no delay for 0.

    Of most batches half of them are empty. The driver looks at each element of each array: a sixteenth of a worker's time.
    """
    ids, tokens, kinds, errors, remote_ids, delays, *rest = written
    return [ids, tokens, kinds, *map(_unless_null, (errors, remote_ids)), delays if any(delays) else [], *map(_unless_null, rest)]


def _unless_null(column: Sequence[Any]) -> Sequence[Any]:
    return [] if column[0] is None and column.count(None) == len(column) else column
