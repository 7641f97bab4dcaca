"""What the API takes and gives, and what the console's pages show: one shape for both."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from crm_sync.core.codes import known_code

LARGEST_PAGE = 500
MOST_KEYS = 10_000

Key = Annotated[str, Field(description="The contact's key, as text.", min_length=1, max_length=1000)]


class Wish(StrEnum):
    """What an application may write into a sync status."""

    NEW = "New"
    SELECTED = "Selected"
    QUEUED = "Queued"
    SKIPPED = "Skipped"


class State(StrEnum):
    """The words of a sync status."""

    NEW = "New"
    SELECTED = "Selected"
    QUEUED = "Queued"
    PROCESSING = "Processing"
    COMPLETE = "Complete"
    ERROR = "Error"
    SKIPPED = "Skipped"


class Taken(BaseModel):
    """What a caller sends. What is not known is refused, so that a misspelt filter never means all."""

    model_config = ConfigDict(extra="forbid")


class Given(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class FailureCount(Given):
    """Failed contacts of one CRM with one code."""

    crm: str
    code: str = Field(description="NO_CODE where the reason begins with none.")
    in_error: int
    waiting: int = Field(description="For their next attempt.")
    delivered: int = Field(description="Delivered, but without a field: only with FIELD_NOT_SENT.")
    sample: str | None = Field(description="One of the reasons, without personal data.")
    meaning: str | None
    remedy: str | None


class CrmState(Given):
    """One CRM and its lane. Times are the database's. Counts are null where the contacts cannot be counted."""

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


class Worker(Given):
    id: int
    host: str
    pid: int
    version: str
    started_at: datetime
    alive: bool


class Overview(Given):
    """read_at: when it was read. It is shared by all that look, and up to some seconds old."""

    read_at: datetime
    crms: list[CrmState]
    workers: list[Worker]
    notices: list[str] = Field(description="Versions that differ: of this process, the schema and the workers.")


class ContactAt(Given):
    """A contact at one CRM."""

    crm: str
    status: str
    state: str = Field(description="Where it stands, in a sentence.")
    prospect: str = Field(description="What happens next.")
    standing: str = Field(description="in flight, in line, waiting, unseen, not asked for or settled.")
    code: str | None
    reason: str | None
    remedy: str | None
    remote_id: str | None
    attempts: int
    due_at: datetime | None
    synced_at: datetime | None
    flipped_at: datetime | None


class ContactView(Given):
    """One contact. email: masked, unless it was asked for to be revealed."""

    key: Key
    email: str | None
    crms: list[ContactAt]
    same_address: list[Key] = Field(description="Keys of other contacts with this address.")


class ContactLine(Given):
    """A contact in a list, at the CRM that was asked for."""

    key: Key
    email: str | None = Field(description="Masked.")
    status: str
    code: str | None
    reason: str | None
    remote_id: str | None
    attempts: int
    due_at: datetime | None
    synced_at: datetime | None
    flipped_at: datetime | None


class ContactPage(Given):
    """next: what `after` has to be for the next page; null: there is none. looked: contacts that were read for this one."""

    crm: str
    contacts: list[ContactLine]
    looked: int
    next: str | None


class Found(Given):
    """Keys of contacts."""

    keys: list[Key]


class FailurePage(Given):
    failures: list[FailureCount]


class StatusChange(Taken):
    status: Wish


class Filter(Taken):
    """Which contacts: all conditions count together."""

    state: State | None = None
    code: str | None = Field(None, max_length=40)


class Selection(Taken):
    """Contacts of one CRM, and what their status becomes: those that match `where`, or those with `keys`."""

    crm: str
    status: Wish
    where: Filter | None = Field(None, description="An empty object means all contacts.")
    keys: list[Key] | None = Field(None, max_length=MOST_KEYS)
    dry_run: bool = Field(True, description="Only count.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.where is None) == (self.keys is None):
            raise ValueError("expected either where or keys")
        return self


class SelectionResult(Given):
    """counted: contacts that are meant, up to a number; more: there are more than that. changed: how many were."""

    crm: str
    status: Wish
    counted: int
    more: bool
    changed: int
    locked: int = Field(description="Locked by a transaction all the time, and left as they are.")
    refused: int = Field(description="Refused by the contacts table itself.")
    refusal: str | None
    dry_run: bool


class RetryRequest(Taken):
    """Failed contacts that go out again. Nothing set means all."""

    crm: str | None = None
    codes: list[str] = Field(default_factory=list, max_length=50)
    since_seconds: int | None = Field(None, ge=1, le=315_360_000)
    dry_run: bool = True


class RetryResult(Given):
    counted: int
    flipped: int
    locked: int
    refused: int
    refusal: str | None
    dry_run: bool


class Pause(Taken):
    reason: str = Field(min_length=1, max_length=500)


class Problem(BaseModel):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None


def code_of(error: str | None) -> tuple[str | None, str | None, str | None]:
    """(code, reason, remedy) of what stands in a row."""
    if error is None:
        return None, None, None
    code, separator, reason = error.partition(":")
    if not separator:
        return None, error, None
    known = known_code(code)
    return code, reason.strip(), known.remedy if known is not None else None
