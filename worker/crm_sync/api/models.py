"""The data that the API returns and the console's pages show: one form for both."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from crm_sync.core.codes import known_code

# No bounds: the content of a row must never make an answer invalid.
Key = Annotated[
    str,
    Field(
        description="The contact's key as text, or a reference that stands for it where it has an address in it, or no path can "
        "carry it. Both are taken wherever a key is."
    ),
]


class Wish(StrEnum):
    """What an application may write to a sync status."""

    NEW = "New"
    SELECTED = "Selected"
    QUEUED = "Queued"
    SKIPPED = "Skipped"


class State(StrEnum):
    """The values of a sync status."""

    NEW = "New"
    SELECTED = "Selected"
    QUEUED = "Queued"
    PROCESSING = "Processing"
    COMPLETE = "Complete"
    ERROR = "Error"
    SKIPPED = "Skipped"


class Given(BaseModel):
    # A log contains no values of a row.
    model_config = ConfigDict(frozen=True, from_attributes=True, hide_input_in_errors=True)


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
    state: str = Field(description="delivering, throttled, probing, down, paused or faulty.")
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


class Overview(Given):
    """read_at: when it was read. It is shared by all viewers, and may be a few seconds old."""

    read_at: datetime
    crms: list[CrmState]
    workers: list[Worker]
    notices: list[str] = Field(description="Versions that differ: of this process, the schema and the workers.")
    events: list[Event] = Field(description="The latest.")


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


class Fact(Given):
    label: str
    text: str


class Attempt(Given):
    """One attempt to deliver a contact, from history."""

    at: datetime
    crm: str
    operation: str
    outcome: str
    code: str | None
    reason: str | None
    attempt: int | None
    waited_ms: int | None
    took_ms: int | None
    status: int | None
    request_id: str | None
    remote_id: str | None
    worker: int | None
    trace: str | None


class Preview(Given):
    """The request that would be sent now, without credentials, but with the person's data."""

    heading: str
    text: str
    empty: list[str] = Field(description="Fields that are empty here, and so stay as they are in the CRM.")
    emptied: list[str] = Field(default=[], description="Fields that are empty here, and are cleared in the CRM.")


class ContactAt(Given):
    """A contact in one CRM: the verdict of `crm-sync why`, and the row's columns."""

    crm: str
    verdict: str = Field(description="delivered, refused, in line, waiting, in flight, never asked for, withdrawn and others.")
    because: str | None = Field(description="What a contact in line waits for, or the code of a refusal.")
    sentence: str
    advice: str | None
    link: str | None = Field(description="The record's page in the CRM.")
    status: str | None = Field(description="null where the row is gone.")
    code: str | None
    reason: str | None
    remote_id: str | None
    attempts: int
    due_at: datetime | None
    synced_at: datetime | None
    flipped_at: datetime | None
    same_record: list[Key] = Field(description="Keys of other contacts with this id in the CRM.")
    proof: list[Fact] = Field(description="What the verdict rests on.")
    preview: Preview | None = Field(None, description="Where it was asked for.")


class ContactView(Given):
    """One contact. email: masked, unless revealing was requested; then key is the real key, too."""

    key: Key
    email: str | None
    exists: bool = Field(description="false: its row was deleted.")
    crms: list[ContactAt]
    same_address: list[Key] | None = Field(description="Keys of other contacts with this address; null: no index finds them.")
    history: list[Attempt] = Field(description="The latest first.")


class ContactLine(Given):
    """A contact in a list, for the requested CRM."""

    key: Key
    email: str | None = Field(description="Masked.")
    status: str | None = Field(description="null where the row has none.")
    code: str | None
    reason: str | None
    remote_id: str | None
    attempts: int
    due_at: datetime | None
    synced_at: datetime | None
    flipped_at: datetime | None


class ContactPage(Given):
    """next: the value of `after` for the next page; null: there is none. looked: contacts read for this page."""

    crm: str
    contacts: list[ContactLine]
    looked: int
    next: str | None


class Found(Given):
    """Keys of contacts. by: what they were found by. note: the cost of the search, if an index would avoid it."""

    keys: list[Key]
    by: str | None
    looked_for: list[str]
    note: str | None


class FailurePage(Given):
    failures: list[FailureCount]


class SelectionResult(Given):
    """counted: selected contacts, up to a limit. more: there are more than that. changed: how many were changed.

    next: the value of `after` to continue, because one request changes contacts for only some seconds; null: that was all. note:
    that it could not be recorded who did this.
    """

    crm: str
    status: Wish
    counted: int
    more: bool
    is_about: bool = Field(False, description="It was counted some time ago, because counting now takes too long.")
    changed: int
    locked: int = Field(description="Locked by a transaction throughout, and left as they are.")
    refused: int = Field(description="Refused by the contacts table itself.")
    refusal: str | None
    dry_run: bool
    next: str | None = None
    note: str | None = None


class RetryResult(Given):
    counted: int
    more: bool = Field(False, description="One request changes contacts for some seconds only: the same again goes on.")
    flipped: int
    locked: int
    refused: int
    refusal: str | None
    dry_run: bool
    note: str | None = Field(description="Set if it could not be recorded who did this.")


class Problem(BaseModel):
    """RFC 9457. type: the place in the manual that says what to do."""

    type: str
    title: str
    status: int
    detail: str | None = None


def code_of(error: str | None) -> tuple[str | None, str | None, str | None]:
    """(code, reason, remedy) of a row's error."""
    if error is None:
        return None, None, None
    code, separator, reason = error.partition(":")
    if not separator:
        return None, error, None
    known = known_code(code)
    return code, reason.strip(), known.remedy if known is not None else None
