"""Converts what was read to what the API returns and the pages show. Texts from rows and CRMs are cleaned here."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from crm_sync.api.contact_models import Attempt, ContactAt, ContactLine, Fact, code_of
from crm_sync.api.lane_models import CrmState, Event, FailureCount, LimitUse, MinuteCount, Stretch
from crm_sync.api.references import References, label
from crm_sync.core.addresses import has_address, masked, without_addresses
from crm_sync.core.codes import NO_CODE, known_code
from crm_sync.core.latency import BOUNDS_S
from crm_sync.core.text import clean
from crm_sync.reports import lane_label
from crm_sync.reports.status_reading import LaneStatus
from crm_sync.reports.verdict import Verdict, moment
from crm_sync.reports.verdict_proof import proof
from crm_sync.table.contact_list import Listed
from crm_sync.telling.event_words import shown, words

Row = Mapping[str, Any]


def line(one: Listed, references: References) -> ContactLine:
    """A contact in a list."""
    code, reason, _ = code_of(one.error)
    return ContactLine(
        key=references.of(one.key),
        email=masked(one.email),
        status=one.sync_status,
        code=code and clean(code),
        reason=reason and clean(reason),
        remote_id=_masked(one.remote_id),
        attempts=one.attempts or 0,
        due_at=one.due_at,
        synced_at=one.synced_at,
        flipped_at=one.flipped_at,
    )


def contact_at(verdict: Verdict, key: str, references: References, *, in_full: bool) -> ContactAt:
    """A contact in one CRM. in_full: with its own key in texts unmasked, and its id there."""
    row: Row = verdict.facts.get("row") or {}
    code, reason, _ = code_of(row.get("error"))
    remote_id = row.get("remote_id")
    others = [other["key"] for other in verdict.facts.get("others") or ()]

    def told(text: str) -> str:
        """The keys of other contacts stay masked, because revealing those was not requested."""
        for one in filter(has_address, others if in_full else (key, *others)):
            text = text.replace(one, label(one))
        return text if in_full else without_addresses(text)

    return ContactAt(
        crm=verdict.crm,
        verdict=verdict.verdict,
        because=verdict.because,
        sentence=told(verdict.sentence),
        advice=verdict.advice and told(verdict.advice),
        link=verdict.link if in_full or _masked(remote_id) == remote_id else None,
        status=row.get("sync_status"),
        code=code and clean(code),
        reason=reason and clean(reason),
        remote_id=remote_id if in_full else _masked(remote_id),
        attempts=row.get("attempts") or 0,
        due_at=moment(row.get("due_at")),
        synced_at=moment(row.get("synced_at")),
        flipped_at=moment(row.get("flipped_at")),
        same_record=[*map(references.of, others)],
        proof=[Fact(label=name, text=clean(text)) for name, text in proof(verdict) if name != "attempt"],
    )


def _masked(text: str | None) -> str | None:
    return text and without_addresses(text)


def attempt(row: Row) -> Attempt:
    """A row of history."""
    read = {**row, "reason": row["reason"] and clean(row["reason"])}
    return Attempt(**{name: read[name] for name in Attempt.model_fields})


def event(row: Row) -> Event:
    """A row of list_events.sql."""
    return Event(
        id=event_id(row["at"], row["id"]),
        at=row["at"],
        event=row["event"],
        crm=row["crm"],
        actor=clean(row["actor"]),
        via=row["via"],
        role=row["role"],
        words=words(row["event"]),
        details=shown(row["details"]),
    )


def event_id(at: datetime, number: object) -> str:
    """Its position in the order of events, without spaces."""
    return f"{at.isoformat()}~{number}"


def failure(crm: str, row: Row, seen_at: datetime | None) -> FailureCount:
    """A row of count_codes.sql. seen_at: when a contact last failed with this code, as far as it was recorded."""
    known = known_code(row["code"])
    failed_at = row["failed_at"]
    if not row["is_known"]:
        failed_at = max((moment for moment in (failed_at, seen_at) if moment is not None), default=None)
    return FailureCount(
        crm=crm,
        code=clean(row["code"]) or NO_CODE,
        contacts=row["contacts"],
        in_error=row["in_error"],
        is_least=row["is_least"],
        sample=row["sample"] and clean(row["sample"]),
        last_failed_at=failed_at,
        meaning=known.meaning if known else None,
        remedy=known.remedy if known else None,
    )


def crm_state(lane: LaneStatus, hour: Sequence[MinuteCount], limits: Sequence[LimitUse], *, alive: int) -> CrmState:
    """One CRM and its lane. alive: living workers."""

    def counted(value: Any) -> Any:
        return value if lane.counted else None

    return CrmState(
        crm=lane.crm,
        state=lane_label.label(lane, alive),
        sentence=clean(lane_label.sentence(lane, alive)),
        new=counted(lane.new),
        selected=counted(lane.selected),
        skipped=counted(lane.skipped),
        ready=counted(lane.ready),
        waiting=counted(lane.waiting),
        in_flight=counted(lane.in_flight),
        complete=counted(lane.complete),
        error=counted(lane.error),
        oldest_ready_seconds=lane.oldest_ready_s,
        delivered_last_minute=counted(lane.delivered_last_minute),
        last_delivered_at=lane.last_delivered_at,
        contacts_per_second=lane.pace_per_s,
        ends_at=lane.ends_at,
        paused_since=lane.state.held_since,
        deletions_waiting=counted(lane.deletions_waiting),
        deletions_failed=counted(lane.deletions_failed),
        least=lane.least,
        about=lane.about,
        counted_seconds=lane.counted_s,
        last_hour=list(hour),
        limits=list(limits),
    )


def stretch(row: Row) -> Stretch:
    """A row of read_throughput.sql."""
    return Stretch(
        **{name: row[name] for name in ("at", "delivered", "retried", "rejected", "requests", "throttled")},
        median_seconds=_quantile(row["latency"], 0.5),
        p95_seconds=_quantile(row["latency"], 0.95),
    )


def _quantile(buckets: Sequence[int | None], share: float) -> float | None:
    """The upper bound of the bucket that contains it; for the bucket beyond all bounds, the largest bound."""
    counts = [count or 0 for count in buckets]
    before, wanted = 0, share * sum(counts)
    for bound, count in zip([*BOUNDS_S, BOUNDS_S[-1]], counts, strict=True):
        before += count
        if count and before >= wanted:
            return bound
    return None
