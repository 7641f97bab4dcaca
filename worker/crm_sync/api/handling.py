"""A request of the API, from any server: validated, executed, answered. Errors are problem+json (RFC 9457)."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ValidationError

from crm_sync.api.given import Problem
from crm_sync.api.idempotency import Idempotency, KeyConflictError
from crm_sync.api.requests import ContactQuery
from crm_sync.api.routes import Call, Route, Scope
from crm_sync.api.service import Service
from crm_sync.api.tables import NotFoundError
from crm_sync.core.durations import read_elsewhere
from crm_sync.errors import CrmSyncError, DatabaseTroubleError, DeclinedError, ForbiddenError

JSON = "application/json"
PROBLEM = "application/problem+json"
STREAM = "text/event-stream"
MANUAL = "https://github.com/crm-sync/crm-sync/blob/main/docs/reference/api.md"
LARGEST_BODY = 1_000_000  # bytes


@dataclass(frozen=True, slots=True)
class Request:
    """As received from a server. query: every parameter, including repeated ones. caller: who makes the request."""

    names: Mapping[str, str]
    query: Iterable[tuple[str, str]]
    content_type: str
    body: bytes
    idempotency_key: str | None
    caller: str
    scopes: frozenset[Scope]
    accept: str = ""
    last_event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """stream: sent after the headers, instead of the body, until the client disconnects."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None


# By type of error, the most specific first.
_PROBLEMS: dict[type[CrmSyncError], tuple[int, str]] = {
    NotFoundError: (404, "Not found"),
    DeclinedError: (409, "Not done"),
    DatabaseTroubleError: (503, "The database does not answer now"),
    CrmSyncError: (500, "Something has to be fixed first"),
}


class RefusedRequestError(Exception):
    """An invalid request, refused before anything is done."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.title = status, title


async def handle(service: Service, idempotency: Idempotency, route: Route, request: Request) -> Answer:
    """Never raises because of what a caller sent or what the database answered."""
    try:
        with read_elsewhere():
            return await _handled(service, idempotency, route, request)
    except RefusedRequestError as error:
        return problem(error.status, error.title, str(error))
    except KeyConflictError as error:
        return problem(error.status, "This key cannot be used", str(error))
    except ForbiddenError as error:
        return problem(
            403, "Not allowed", await service.rights.explained(error, writes=route.scope is not Scope.READ or _reveals(request))
        )
    except CrmSyncError as error:
        return of_error(error)


async def _handled(service: Service, idempotency: Idempotency, route: Route, request: Request) -> Answer:
    call = _checked(route, request)
    if route.stream is not None and request.accept.partition(";")[0].strip().lower() == STREAM:
        # A proxy must pass on each event as it comes.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return Answer(200, b"", STREAM, headers, route.stream(service, call, request.last_event_id))
    if request.idempotency_key is None or not route.takes_idempotency_key:
        return Answer(200, _json(await route.handle(service, call)))
    what = f"{route.method} {route.path} {json.dumps(dict(request.names), sort_keys=True)}".encode() + request.body
    async with idempotency.once(request.caller, request.idempotency_key, what) as once:
        if once.answer is None:
            once.answer = _json(await route.handle(service, call))
        return Answer(200, once.answer, headers={"Idempotent-Replayed": "true"} if once.replayed else {})


def _reveals(request: Request) -> bool:
    return any(name == "reveal" for name, _ in request.query)


def of_error(error: CrmSyncError) -> Answer:
    """The answer to an error, by its type."""
    status, title = next(told for kind, told in _PROBLEMS.items() if isinstance(error, kind))
    return problem(status, title, str(error), {"Retry-After": "2"} if status == 503 else {})


def too_large() -> Answer:
    """A body larger than LARGEST_BODY."""
    return problem(413, "The body is too large", f"at most {LARGEST_BODY:,} bytes; send several requests")


def misdirected(said: str) -> Answer:
    """A request with a host name that is not ours."""
    return problem(421, "This host name is not one of the console's", said)


def went_wrong() -> Answer:
    """A bug of ours."""
    return problem(500, "Something went wrong here", "the log of the process says what")


def problem(status: int, title: str, detail: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """type: where the manual says what to do."""
    type_ = f"{MANUAL}#{title.lower().replace('-', '').replace(' ', '-')}"
    return Answer(status, _json(Problem(type=type_, title=title, status=status, detail=detail)), PROBLEM, headers or {})


def _checked(route: Route, request: Request) -> Call:
    if Scope.READ not in request.scopes or route.scope not in request.scopes:
        raise RefusedRequestError(403, "Not allowed", f"the token lacks the scope {route.scope.value}")
    query = _query(route, request)
    if isinstance(query, ContactQuery) and query.reveal and Scope.FLIP not in request.scopes:
        raise RefusedRequestError(403, "Not allowed", "to reveal an address the token needs the scope flip")
    for name, value in request.names.items():
        if "\0" in value:
            raise RefusedRequestError(404, "Not found", f"the {name} has a NUL in it, which no {name} has")
    return Call(dict(request.names), query, _body(route, request), request.caller)


def _query(route: Route, request: Request) -> BaseModel:
    given: dict[str, str] = {}
    for name, value in request.query:
        if name in given:
            raise RefusedRequestError(422, "A parameter is wrong", f"{name} is there twice")
        if "\0" in value:
            raise RefusedRequestError(422, "A parameter is wrong", f"{name} has a NUL in it")
        given[name] = value
    try:
        return route.query.model_validate(given)
    except ValidationError as error:
        raise RefusedRequestError(422, "A parameter is wrong", _words(error)) from None


def _body(route: Route, request: Request) -> BaseModel | None:
    if route.body is None:
        return None
    if request.content_type != JSON:
        raise RefusedRequestError(415, "The body is not JSON", f"expected Content-Type: {JSON}")
    try:
        return route.body.model_validate_json(request.body)
    except ValidationError as error:
        raise RefusedRequestError(422, "The body is wrong", _words(error)) from None


def _words(error: ValidationError) -> str:
    """What is wrong and where, without the values sent."""
    return "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg'].removeprefix('Value error, ')}"
        for one in error.errors(include_input=False, include_url=False, include_context=False)
    )


def _json(model: BaseModel) -> bytes:
    return model.model_dump_json().encode()
