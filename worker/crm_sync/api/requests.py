"""The parameters and bodies that the API accepts, validated."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from crm_sync.api.contact_models import State, Wish
from crm_sync.api.references import LONGEST_TAKEN

LARGEST_PAGE = 500
MOST_KEYS = 10_000


class Span(StrEnum):
    """How far back a chart goes."""

    HOUR = "hour"
    DAY = "day"
    FORTNIGHT = "fortnight"

    @property
    def seconds(self) -> int:
        """Its length."""
        return {"hour": 3_600, "day": 86_400, "fortnight": 14 * 86_400}[self.value]


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("it has a NUL in it, which no text in the database has")
    return text


# No text from a caller reaches the database if Postgres cannot store it.
Text = Annotated[str, AfterValidator(_without_nul)]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty: leave it out, or name what is meant")
    return text


# An empty one would mean all contacts, or make the database read the whole table for nothing.
Named = Annotated[Text, AfterValidator(_not_blank)]
Key = Annotated[Text, Field(description="A contact's key, or a reference to it, as the API gives it.", max_length=LONGEST_TAKEN)]


class Taken(BaseModel):
    """What a caller sends. Unknown members are refused, so that a misspelt filter never selects everything."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class StatusChange(Taken):
    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "Queued"}]})

    status: Wish


class Filter(Taken):
    """Which contacts: all conditions must hold."""

    state: State | None = None
    code: Named | None = Field(None, max_length=40)


class Selection(Taken):
    """Contacts of one CRM, and their new status: those that match `where`, or those with `keys`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"crm": "brevo", "status": "Queued", "where": {"state": "Selected"}, "dry_run": True}]}
    )

    crm: Named
    status: Wish
    where: Filter | None = Field(None, description="An empty object means all contacts.")
    keys: list[Key] | None = Field(None, max_length=MOST_KEYS)
    dry_run: bool = Field(True, description="Only count.")
    after: Key | None = Field(None, description="With where: `next` of the answer before, to go on.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.where is None) == (self.keys is None):
            raise ValueError("expected either where or keys")
        return self


class RetryRequest(Taken):
    """Failed contacts to send again. If nothing is set, all."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"crm": "brevo", "codes": ["TIMEOUT"], "dry_run": True}]})

    crm: Named | None = None
    codes: list[Named] = Field(default_factory=list, max_length=50)
    since_seconds: int | None = Field(None, ge=1, le=315_360_000)
    dry_run: bool = True


class Pause(Taken):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "a new key"}]})

    reason: Text = Field(min_length=1, max_length=500)


class NoQuery(Taken):
    """No parameters."""


class ContactsQuery(Taken):
    """Which contacts are listed, and which page of them."""

    crm: Named = Field(description="The CRM at which they are looked at.")
    state: State | None = None
    code: Named | None = Field(None, max_length=40, description="The code that the reason of their failure begins with.")
    since_seconds: int | None = Field(
        None,
        ge=1,
        le=315_360_000,
        description="Only those that have failed within these seconds, as far as is known, and were not delivered since.",
    )
    after: Text | None = Field(None, max_length=LONGEST_TAKEN, description="`next` of the page before.")
    limit: int = Field(50, ge=1, le=LARGEST_PAGE)


class Search(Taken):
    """A query, or a body."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"q": "ada@example.com"}]})

    q: Named = Field(min_length=1, max_length=LONGEST_TAKEN, description="A whole address, a key, or an id in one of the CRMs.")
    whole: bool = Field(False, description="Read even a large table for an address that no index finds, for 1.8 s at most.")


class ContactQuery(Taken):
    reveal: bool = Field(
        False,
        description="Show the address as it is, and the request that would be sent now. Needs the scope flip, and is an event.",
    )


class EventsQuery(Taken):
    """Which events are listed, and which page of them."""

    crm: Named | None = Field(None, description="At this CRM, or at all of them.")
    event: Named | None = Field(None, max_length=100, description="Of this kind.")
    after: Text | None = Field(None, max_length=200, description="`next` of the page before.")
    limit: int = Field(50, ge=1, le=LARGEST_PAGE)


class ThroughputQuery(Taken):
    span: Span = Field(Span.HOUR, description="hour: by the minute. day: by 15 minutes. fortnight: by 3 hours.")
