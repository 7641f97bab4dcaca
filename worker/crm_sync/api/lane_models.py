"""Lanes, workers and what happened to them, in the API and on the console's pages."""

from datetime import datetime
from typing import Any

from pydantic import Field

from crm_sync.api.given import Given


class FailureCount(Given):
    """Failed contacts of one CRM with one code."""

    crm: str
    code: str = Field(description="NO_CODE where the reason begins with none.")
    contacts: int
    in_error: int = Field(description="Of them, those that are not tried again by themselves.")
    is_least: bool = Field(description="There are more: this many were looked at.")
    sample: str | None = Field(description="One of the reasons, without personal data.")
    last_failed_at: datetime | None = Field(
        description="Where known. If some have failed at another CRM since: when any contact last failed here with this code."
    )
    meaning: str | None
    remedy: str | None


class LimitUse(Given):
    """A limit of the account: requests in any window of this many seconds, and those that count towards it now."""

    seconds: float
    requests: int
    used: int


class MinuteCount(Given):
    """What was done in one minute."""

    minutes_ago: int
    delivered: int
    failed: int


class CrmState(Given):
    """One CRM and its lane. Times are the database's. Counts are null if the contacts cannot be counted."""

    crm: str
    state: str = Field(description="delivering, idle, stalled, no worker, throttled, probing, down, paused or faulty.")
    sentence: str = Field(description="The whole story of the state.")
    new: int | None
    selected: int | None
    skipped: int | None
    ready: int | None
    waiting: int | None
    in_flight: int | None
    complete: int | None
    error: int | None
    oldest_ready_seconds: float | None
    delivered_last_minute: int | None
    last_delivered_at: datetime | None
    contacts_per_second: float | None
    ends_at: datetime | None
    paused_since: datetime | None
    deletions_waiting: int | None
    deletions_failed: int | None
    least: list[str] = Field(description="These counts are lower bounds.")
    about: dict[str, int] = Field(description="Estimates of those counts.")
    counted_seconds: float | None = Field(description="How long ago new, selected, skipped and complete were counted.")
    last_hour: list[MinuteCount] = Field(description="A minute without anything is left out.")
    limits: list[LimitUse] = Field(description="As the workers say. None where no worker is at work.")


class PauseResult(CrmState):
    """The paused CRM."""

    note: str | None = Field(description="If it was paused already: since when, by whom and why; and what else is to be known.")


class Worker(Given):
    id: int
    host: str
    pid: int
    version: str
    started_at: datetime
    alive: bool


class Event(Given):
    """Something that happened, or that somebody did."""

    id: str = Field(description="For `after`, and for Last-Event-ID.")
    at: datetime
    event: str
    crm: str | None = Field(description="null: it concerns all.")
    actor: str
    via: str = Field(description="command, console, api or worker.")
    role: str = Field(description="Of the database.")
    words: str = Field(description="What it means.")
    details: dict[str, Any]


class Alert(Given):
    """Something that is wrong, as in `crm-sync alerts`."""

    alert: str
    crm: str
    code: str | None
    what: str
    reason: str
    since: datetime
    ended_at: datetime | None
    count: int
    counted: str
    to_do: str
    command: str
    told: list[str]


class Overview(Given):
    """read_at: when it was read. It is shared by all viewers, and may be a few seconds old."""

    read_at: datetime
    crms: list[CrmState]
    workers: list[Worker]
    notices: list[str] = Field(description="Versions that differ: of this process, the schema and the workers.")
    events: list[Event] = Field(description="The latest.")
    alerts: list[Alert] = Field(description="The open ones, those that stop most contacts first.")


class EventPage(Given):
    events: list[Event]
    next: str | None


class Stretch(Given):
    """What was done in a stretch of time. Latency is from flip to delivery, as the upper bound of the bucket."""

    at: datetime
    delivered: int
    retried: int
    rejected: int
    requests: int
    throttled: int
    median_seconds: float | None
    p95_seconds: float | None


class Throughput(Given):
    """stretches: empty ones are left out."""

    crm: str
    read_at: datetime
    seconds: int = Field(description="Of a stretch.")
    count: int = Field(description="Stretches, the last of which is now.")
    stretches: list[Stretch]


class MappedField(Given):
    """A field of the CRM, and the SQL expression it is filled from."""

    name: str
    expression: str


class SaidField(Given):
    """A mapped field, and what the CRM says about it. fits: null if it does not say."""

    name: str
    expression: str
    fits: bool | None
    says: str


class FieldsSaid(Given):
    """unknown: why the CRM does not list its fields. note: that it could not be recorded who asked."""

    crm: str
    unknown: str | None
    fields: list[SaidField]
    note: str | None


class FailurePage(Given):
    failures: list[FailureCount]
