"""Values from forms and page addresses, validated."""

from collections.abc import Mapping
from typing import Any

from crm_sync.api.contact_models import State, Wish
from crm_sync.api.requests import Filter, Span
from crm_sync.errors import DeclinedError

LABELS = {Wish.QUEUED: "Queue", Wish.SELECTED: "Select", Wish.SKIPPED: "Skip", Wish.NEW: "Withdraw"}
CONSEQUENCES = {  # for one contact, or many
    Wish.QUEUED: "What the row has is sent to the CRM.",
    Wish.SELECTED: "Nothing is sent: Selected is a mark of your application's.",
    Wish.SKIPPED: "Nothing is sent, nothing is deleted in the CRM, and what is in line leaves the line.",
    Wish.NEW: "Nothing is sent, nothing is deleted in the CRM, and what is in line leaves the line.",
}


def filter_of(form: Mapping[str, Any]) -> Filter:
    """Raises DeclinedError for an unknown state."""
    state, code = str(form.get("state") or ""), str(form.get("code") or "").strip()
    if state and state not in list(State):
        raise DeclinedError(f"the state must be one of {', '.join(State)}")
    if len(code) > 40:
        raise DeclinedError("a code has at most 40 characters")
    return Filter(state=State(state) if state else None, code=code or None)


def wish_of(status: Any) -> Wish:
    """Raises DeclinedError for a status that applications may not write."""
    if status not in list(Wish):
        raise DeclinedError(f"the status must be one of {', '.join(Wish)}")
    return Wish(status)


def wishes(status: str) -> list[Wish]:
    """The possible new statuses, the most likely first."""
    return [wish for wish in (Wish.QUEUED, Wish.SKIPPED, Wish.SELECTED, Wish.NEW) if wish.value != status]


def failed_of(text: str | None) -> Span | None:
    """Within what time contacts have failed that are to be listed. Raises DeclinedError for an unknown one."""
    return span_of(text) if text else None


def span_of(text: str | None) -> Span:
    """An hour by default. Raises DeclinedError for an unknown one."""
    if text is not None and text not in list(Span):
        raise DeclinedError(f"the span must be one of {', '.join(Span)}")
    return Span(text or Span.HOUR)
