"""The API's routes: one table that the console's server, an application's router and the OpenAPI document are made from."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, Field

from crm_sync.api.models import (
    LARGEST_PAGE,
    ContactPage,
    ContactView,
    CrmState,
    FailurePage,
    Filter,
    Found,
    Overview,
    Pause,
    RetryRequest,
    RetryResult,
    Selection,
    SelectionResult,
    State,
    StatusChange,
    Taken,
)
from crm_sync.api.service import Service

PREFIX = "/v1"


class Scope(StrEnum):
    """What a caller may do. READ is needed for everything; the others include nothing of each other."""

    READ = "read"  # see everything, with addresses masked
    FLIP = "flip"  # change the status of contacts, and reveal an address
    OPERATE = "operate"  # pause, resume, and retry many


class NoQuery(Taken):
    """No parameters."""


class ContactsQuery(Taken):
    """Which contacts are listed, and which page of them."""

    crm: str = Field(description="The CRM at which they are looked at.")
    state: State | None = None
    code: str | None = Field(None, max_length=40, description="The code that the reason of their failure begins with.")
    after: str | None = Field(None, max_length=1000, description="`next` of the page before.")
    limit: int = Field(50, ge=1, le=LARGEST_PAGE)


class FindQuery(Taken):
    q: str = Field(min_length=1, max_length=1000, description="A whole address, a key, or an id in one of the CRMs.")


class ContactQuery(Taken):
    reveal: bool = Field(False, description="Show the address as it is. Needs the scope flip.")


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has passed: what its path names, and its parameters and body, both checked."""

    names: dict[str, str]
    query: BaseModel
    body: BaseModel | None
    scopes: frozenset[Scope]


@dataclass(frozen=True, slots=True)
class Route:
    """handle: raises CrmSyncError. also: a scope that is asked for by what the query says."""

    method: str
    path: str
    scope: Scope
    summary: str
    handle: Callable[[Service, Call], Awaitable[BaseModel]]
    answer: type[BaseModel]
    query: type[BaseModel] = NoQuery
    body: type[BaseModel] | None = None

    @property
    def name(self) -> str:
        """Unique, for clients that are generated."""
        return self.handle.__name__.strip("_")


async def _list_crms(service: Service, _call: Call) -> Overview:
    return await service.overview()


async def _show_crm(service: Service, call: Call) -> CrmState:
    return await service.crm(call.names["crm"])


async def _pause_crm(service: Service, call: Call) -> CrmState:
    assert isinstance(call.body, Pause)  # noqa: S101 (the route says so)
    return await service.pause(call.names["crm"], call.body.reason)


async def _resume_crm(service: Service, call: Call) -> CrmState:
    return await service.resume(call.names["crm"])


async def _list_contacts(service: Service, call: Call) -> ContactPage:
    query = call.query
    assert isinstance(query, ContactsQuery)  # noqa: S101
    return await service.contacts(query.crm, Filter(state=query.state, code=query.code), after=query.after, limit=query.limit)


async def _find_contacts(service: Service, call: Call) -> Found:
    assert isinstance(call.query, FindQuery)  # noqa: S101
    return Found(keys=await service.find(call.query.q))


async def _show_contact(service: Service, call: Call) -> ContactView:
    assert isinstance(call.query, ContactQuery)  # noqa: S101
    return await service.contact(call.names["key"], reveal=call.query.reveal)


async def _change_contact(service: Service, call: Call) -> SelectionResult:
    assert isinstance(call.body, StatusChange)  # noqa: S101
    return await service.change(call.names["key"], call.names["crm"], call.body.status)


async def _select_contacts(service: Service, call: Call) -> SelectionResult:
    assert isinstance(call.body, Selection)  # noqa: S101
    return await service.select(call.body)


async def _retry_contacts(service: Service, call: Call) -> RetryResult:
    assert isinstance(call.body, RetryRequest)  # noqa: S101
    return await service.retry(call.body)


async def _list_failures(service: Service, _call: Call) -> FailurePage:
    return FailurePage(failures=await service.failures())


ROUTES = (
    Route("GET", "/crms", Scope.READ, "All CRMs and workers", _list_crms, Overview),
    Route("GET", "/crms/{crm}", Scope.READ, "One CRM", _show_crm, CrmState),
    Route("PUT", "/crms/{crm}/pause", Scope.OPERATE, "Pause a CRM for all workers", _pause_crm, CrmState, body=Pause),
    Route("DELETE", "/crms/{crm}/pause", Scope.OPERATE, "Resume a CRM", _resume_crm, CrmState),
    Route("GET", "/contacts", Scope.READ, "A page of contacts at one CRM", _list_contacts, ContactPage, ContactsQuery),
    Route("GET", "/find", Scope.READ, "Contacts by address, key or id", _find_contacts, Found, FindQuery),
    Route("GET", "/contacts/{key}", Scope.READ, "One contact at every CRM", _show_contact, ContactView, ContactQuery),
    Route(
        "POST", "/contacts/{key}/{crm}", Scope.FLIP, "Change the status of one contact", _change_contact, SelectionResult,
        body=StatusChange,
    ),
    Route("POST", "/selections", Scope.FLIP, "Change the status of many", _select_contacts, SelectionResult, body=Selection),
    Route("POST", "/retries", Scope.OPERATE, "Send failed contacts again", _retry_contacts, RetryResult, body=RetryRequest),
    Route("GET", "/failures", Scope.READ, "Failed contacts by CRM and code", _list_failures, FailurePage),
)  # fmt: skip
