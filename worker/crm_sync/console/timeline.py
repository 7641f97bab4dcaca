"""The outcomes of a contact, and what happened to the CRMs meanwhile, in order."""

from dataclasses import dataclass, field
from datetime import datetime

from crm_sync.api.contact_models import Attempt
from crm_sync.api.lane_models import Event
from crm_sync.core.durations import span

TONES = {"delivered": "good", "rejected": "bad", "lost": "bad", "retry": "wait", "deferred": "wait", "orphaned": "wait"}
MEANINGS = {
    "delivered": "delivered",
    "retry": "failed, and is tried again",
    "rejected": "refused for good",
    "deferred": "nothing was said of it: back in line",
    "orphaned": "its worker died: back in line",
    "lost": "sent, but its row was deleted or taken over",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """tone: good, bad, wait or still. facts: label and text."""

    at: datetime
    crm: str | None
    words: str
    tone: str = "still"
    reason: str | None = None
    facts: list[tuple[str, str]] = field(default_factory=list)


def of_attempt(attempt: Attempt) -> Moment:
    """A line of history."""
    outcome = MEANINGS.get(attempt.outcome, attempt.outcome)
    words = f"deletion {outcome}" if attempt.operation == "delete" else outcome
    facts = [
        *([("attempt", str(attempt.attempt))] if attempt.attempt and attempt.attempt > 1 else []),
        *([("after its flip", _span(attempt.waited_ms))] if attempt.waited_ms is not None else []),
        *([("request", _span(attempt.took_ms))] if attempt.took_ms is not None else []),
        *([("HTTP", str(attempt.status))] if attempt.status is not None else []),
        *([("request id", attempt.request_id)] if attempt.request_id else []),
        *([("record", attempt.remote_id)] if attempt.remote_id else []),
        *([("trace", attempt.trace)] if attempt.trace else []),
    ]
    reason = ": ".join(filter(None, (attempt.code, attempt.reason))) or None
    return Moment(attempt.at, attempt.crm, words, TONES.get(attempt.outcome, "still"), reason, facts)


def of_event(event: Event) -> Moment:
    """About a lane or a worker."""
    reason = event.details.get("reason")
    return Moment(
        event.at, event.crm, event.words, reason=reason if isinstance(reason, str) else None, facts=[("by", event.actor)]
    )


def _span(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else span(milliseconds / 1000)
