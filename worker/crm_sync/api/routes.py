"""The API's routes: one table, used by the console's server, an application's router and the OpenAPI document."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel

from crm_sync.api.contact_models import ContactPage, ContactView, Found, RetryResult, SelectionResult
from crm_sync.api.lane_models import CrmState, EventPage, FailurePage, FieldsSaid, Overview, PauseResult, Throughput
from crm_sync.api.requests import (
    ContactQuery,
    ContactsQuery,
    EventsQuery,
    Filter,
    NoQuery,
    Pause,
    RetryRequest,
    Search,
    Selection,
    StatusChange,
    ThroughputQuery,
)
from crm_sync.api.service import Service
from crm_sync.telling.deeds import API, Doer

PREFIX = "/v1"


class Scope(StrEnum):
    """What a caller may do. READ is needed for everything; the others do not include each other."""

    READ = "read"  # see everything, with addresses masked
    FLIP = "flip"  # change the status of contacts, and reveal an address
    OPERATE = "operate"  # pause, resume, and retry many


@dataclass(frozen=True, slots=True)
class Call:
    """A validated request: the names in its path, its parameters and its body. caller: who makes it."""

    names: dict[str, str]
    query: BaseModel
    body: BaseModel | None
    caller: str

    @property
    def by(self) -> Doer:
        return Doer(self.caller, API)


@dataclass(frozen=True, slots=True)
class Route:
    """handle: raises CrmSyncError. stream: the same as server-sent events, for clients that accept only those."""

    method: str
    path: str
    scope: Scope
    summary: str
    handle: Callable[[Service, Call], Awaitable[BaseModel]]
    answer: type[BaseModel]
    query: type[BaseModel] = NoQuery
    body: type[BaseModel] | None = None
    stream: Callable[[Service, Call, str | None], AsyncIterator[bytes]] | None = None

    @property
    def name(self) -> str:
        """Unique, for generated clients."""
        return self.handle.__name__.strip("_")

    @property
    def takes_idempotency_key(self) -> bool:
        """A POST that only reads takes none: it would get the answer of yesterday."""
        return self.method == "POST" and self.scope is not Scope.READ


async def _list_crms(service: Service, _call: Call) -> Overview:
    return await service.lanes.overview()


async def _show_crm(service: Service, call: Call) -> CrmState:
    return await service.lanes.crm(call.names["crm"])


async def _pause_crm(service: Service, call: Call) -> PauseResult:
    assert isinstance(call.body, Pause)  # noqa: S101 (the route says so)
    return await service.changing.pause(call.names["crm"], call.body.reason, call.by)


async def _resume_crm(service: Service, call: Call) -> CrmState:
    return await service.changing.resume(call.names["crm"], call.by)


async def _ask_fields(service: Service, call: Call) -> FieldsSaid:
    return await service.fields.ask(call.names["crm"], call.by)


async def _list_contacts(service: Service, call: Call) -> ContactPage:
    query = call.query
    assert isinstance(query, ContactsQuery)  # noqa: S101
    wanted = Filter(state=query.state, code=query.code)
    return await service.contacts.page(
        query.crm, wanted, failed_within_s=query.since_seconds, after=query.after, limit=query.limit
    )


async def _find_contacts(service: Service, call: Call) -> Found:
    assert isinstance(call.query, Search)  # noqa: S101
    return await service.contacts.find(call.query.q, whole=call.query.whole)


async def _search_contacts(service: Service, call: Call) -> Found:
    """The same as _find_contacts, with nothing in the URL."""
    assert isinstance(call.body, Search)  # noqa: S101
    return await service.contacts.find(call.body.q, whole=call.body.whole)


async def _show_contact(service: Service, call: Call) -> ContactView:
    assert isinstance(call.query, ContactQuery)  # noqa: S101
    if call.query.reveal:
        return await service.changing.reveal(call.names["key"], call.by)
    return await service.contacts.one(call.names["key"])


async def _change_contact(service: Service, call: Call) -> SelectionResult:
    assert isinstance(call.body, StatusChange)  # noqa: S101
    return await service.changing.change(call.names["key"], call.names["crm"], call.body.status, call.by)


async def _select_contacts(service: Service, call: Call) -> SelectionResult:
    assert isinstance(call.body, Selection)  # noqa: S101
    return await service.changing.select(call.body, call.by)


async def _retry_contacts(service: Service, call: Call) -> RetryResult:
    assert isinstance(call.body, RetryRequest)  # noqa: S101
    return await service.changing.retry(call.body, call.by)


async def _list_failures(service: Service, _call: Call) -> FailurePage:
    return FailurePage(failures=await service.lanes.failures())


async def _list_events(service: Service, call: Call) -> EventPage:
    query = call.query
    assert isinstance(query, EventsQuery)  # noqa: S101
    return await service.events.page(query.crm, query.event, after=query.after, limit=query.limit)


def _follow_events(service: Service, call: Call, last_id: str | None) -> AsyncIterator[bytes]:
    assert isinstance(call.query, EventsQuery)  # noqa: S101
    return service.following.stream(last_id, call.query.crm, call.query.event)


async def _show_throughput(service: Service, call: Call) -> Throughput:
    assert isinstance(call.query, ThroughputQuery)  # noqa: S101
    return await service.lanes.throughput(call.names["crm"], call.query.span)


ROUTES = (
    Route("GET", "/crms", Scope.READ, "All CRMs and workers", _list_crms, Overview),
    Route("GET", "/crms/{crm}", Scope.READ, "One CRM", _show_crm, CrmState),
    Route("GET", "/crms/{crm}/throughput", Scope.READ, "What was done at a CRM", _show_throughput, Throughput, ThroughputQuery),
    Route("PUT", "/crms/{crm}/pause", Scope.OPERATE, "Pause a CRM for all workers", _pause_crm, PauseResult, body=Pause),
    Route("DELETE", "/crms/{crm}/pause", Scope.OPERATE, "Resume a CRM", _resume_crm, CrmState),
    Route("POST", "/crms/{crm}/fields", Scope.FLIP, "Ask a CRM about the fields that are sent", _ask_fields, FieldsSaid),
    Route("GET", "/contacts", Scope.READ, "A page of contacts at one CRM", _list_contacts, ContactPage, ContactsQuery),
    Route("GET", "/find", Scope.READ, "Contacts by address, key or id", _find_contacts, Found, Search),
    Route("POST", "/find", Scope.READ, "The same, with nothing in the URL", _search_contacts, Found, body=Search),
    Route("GET", "/contacts/{key}", Scope.READ, "One contact at every CRM", _show_contact, ContactView, ContactQuery),
    Route(
        "POST", "/contacts/{key}/{crm}", Scope.FLIP, "Change the status of one contact", _change_contact, SelectionResult,
        body=StatusChange,
    ),
    Route("POST", "/selections", Scope.FLIP, "Change the status of many", _select_contacts, SelectionResult, body=Selection),
    Route("POST", "/retries", Scope.OPERATE, "Send failed contacts again", _retry_contacts, RetryResult, body=RetryRequest),
    Route("GET", "/failures", Scope.READ, "Failed contacts by CRM and code", _list_failures, FailurePage),
    Route(
        "GET", "/events", Scope.READ, "What happened, and who did what", _list_events, EventPage, EventsQuery,
        stream=_follow_events,
    ),
)  # fmt: skip

# In the order in which a router must try them: literal paths before those that match any key.
TO_MATCH = sorted(ROUTES, key=lambda route: "{" in route.path)
