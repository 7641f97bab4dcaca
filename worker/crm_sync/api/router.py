"""The API's routes for a FastAPI or Starlette application, with the application's own authentication.

    app.mount("/crm", crm_sync.api.router.router(authenticate))

authenticate gets the request, and returns who the caller is and what they may do; None refuses.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route as HttpRoute

from crm_sync.api.handling import LARGEST_BODY, Answer, Request, handle, of_error, problem, too_large, went_wrong
from crm_sync.api.idempotency import Idempotency
from crm_sync.api.openapi import describe
from crm_sync.api.routes import PREFIX, ROUTES, TO_MATCH, Route, Scope
from crm_sync.api.service import READERS, STATEMENT_S, WRITERS, Service
from crm_sync.configuration import load
from crm_sync.errors import CrmSyncError
from crm_sync.postgres.visiting import ReadOnly, Visiting, rights_of


@dataclass(frozen=True, slots=True)
class Caller:
    """name: for Idempotency-Key. role: the database role whose rights apply; None: the role of DATABASE_URL."""

    name: str
    scopes: frozenset[Scope] = field(default_factory=lambda: frozenset(Scope))
    role: str | None = None


Authenticate = Callable[[HttpRequest], Awaitable[Caller | None]]


def router(authenticate: Authenticate, *, secret: bytes | None = None) -> Starlette:
    """Returns the application to mount. It reads the settings and connects to Postgres at the first request.

    secret: the same in all processes that serve it, so that each accepts the others' references to contacts. None: only its own.
    """
    backend = _Backend(secret)

    def endpoint(route: Route) -> Callable[[HttpRequest], Awaitable[Response]]:
        async def answer(request: HttpRequest) -> Response:
            caller = await authenticate(request)
            if caller is None:
                return _response(problem(401, "Not authenticated"))
            body = b""
            if route.body is not None:
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > LARGEST_BODY:
                        return _response(too_large())
            asked = Request(
                names=request.path_params,
                query=request.query_params.multi_items(),
                content_type=request.headers.get("content-type", "").partition(";")[0].strip().lower(),
                body=body,
                idempotency_key=request.headers.get("idempotency-key"),
                caller=caller.name,
                scopes=caller.scopes,
                accept=request.headers.get("accept", ""),
                last_event_id=request.headers.get("last-event-id"),
            )
            try:
                service, idempotency = await backend.opened()
            except CrmSyncError as error:
                return _response(of_error(error))
            with rights_of(caller.role):
                return _response(await handle(service, idempotency, route, asked))

        return answer

    async def document(request: HttpRequest) -> Response:
        return JSONResponse(describe(ROUTES, request.scope.get("root_path", "")))

    routes = [HttpRoute(f"{PREFIX}{_path(route)}", endpoint(route), methods=[route.method]) for route in TO_MATCH]

    @asynccontextmanager
    async def lifespan(_app: Any) -> Any:
        yield
        await backend.close()

    return Starlette(
        routes=[HttpRoute(f"{PREFIX}/openapi.json", document), *routes],
        exception_handlers={HTTPException: _no_route, Exception: _fault},
        lifespan=lifespan,
    )


async def _no_route(_request: HttpRequest, error: Exception) -> Response:
    """Never the framework's own answer."""
    assert isinstance(error, HTTPException)  # noqa: S101 (it is registered for these)
    if error.status_code == 405:
        return _response(problem(405, "This method is not allowed here", headers=error.headers))
    return _response(problem(404, "Not found", f"see {PREFIX}/openapi.json for what there is"))


async def _fault(_request: HttpRequest, _error: Exception) -> Response:
    """The server logs the error."""
    return _response(went_wrong())


def _path(route: Route) -> str:
    """In this framework's syntax. It has decoded the path already, so slashes are part of a key."""
    return route.path.replace("{key}", "{key:path}")


class _Backend:
    """The pools of one router. Not every framework runs the lifespan of a mounted application, so they open on demand."""

    def __init__(self, secret: bytes | None) -> None:
        self._secret = secret
        self._stack = AsyncExitStack()
        self._opened: tuple[Service, Idempotency] | None = None
        self._opening = asyncio.Lock()

    async def opened(self) -> tuple[Service, Idempotency]:
        """Raises ConfigurationError if the settings are wrong."""
        async with self._opening:  # concurrent requests open one
            if self._opened is None:
                configuration = load()
                settings = configuration.settings
                reading = await self._stack.enter_async_context(ReadOnly.of(settings, size=READERS, timeout_s=STATEMENT_S))
                writing = await self._stack.enter_async_context(Visiting.of(settings, size=WRITERS, timeout_s=STATEMENT_S))
                self._opened = Service(configuration, reading, writing, secret=self._secret), Idempotency(writing)
            return self._opened

    async def close(self) -> None:
        self._opened = None
        await self._stack.aclose()


def _response(answer: Answer) -> Response:
    if answer.stream is not None:
        return StreamingResponse(answer.stream, answer.status, dict(answer.headers), answer.content_type)
    return Response(answer.body, answer.status, dict(answer.headers), answer.content_type)
