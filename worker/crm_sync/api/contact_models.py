"""Contacts in the API and on the console's pages: what is shown of them, and what changed them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from crm_sync.api.given import Given
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
    """Keys of contacts. by: what they were found by. note: the cost of the search, if an index would avoid it.

    not_read: about how many contacts there are, if no index finds the address and the table is too large to be read unasked: it
    is read with `whole`.
    """

    keys: list[Key]
    by: str | None
    looked_for: list[str]
    note: str | None
    not_read: int | None


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


def code_of(error: str | None) -> tuple[str | None, str | None, str | None]:
    """(code, reason, remedy) of a row's error."""
    if error is None:
        return None, None, None
    code, separator, reason = error.partition(":")
    if not separator:
        return None, error, None
    known = known_code(code)
    return code, reason.strip(), known.remedy if known is not None else None
