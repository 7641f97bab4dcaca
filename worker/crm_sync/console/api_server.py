"""The API as served by the console."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from crm_sync.api.handling import JSON, Answer, Request, handle, problem, too_large
from crm_sync.api.idempotency import Idempotency
from crm_sync.api.openapi import describe
from crm_sync.api.routes import PREFIX, ROUTES, TO_MATCH, Route
from crm_sync.api.service import Service
from crm_sync.console.guard import HEADERS, VISITOR, Handler
from crm_sync.postgres.visiting import rights_of

STREAMS = web.AppKey("streams", set[asyncio.Task[None]])


def add_api(app: web.Application, service: Service, idempotency: Idempotency, base: str) -> None:
    """Below the base path. Requests without a route are answered with a problem, too."""
    described = json.dumps(describe(ROUTES, base)).encode()

    async def document(_request: web.Request) -> web.Response:
        return web.Response(body=described, content_type=JSON)

    app[STREAMS] = set()
    app.on_shutdown.append(_end_streams)
    app.router.add_get(f"{base}{PREFIX}/openapi.json", document)
    for route in TO_MATCH:
        # A name may contain anything: braces, line breaks. Anything before a slash is another name.
        path = re.sub(r"{(\w+)}", r"{\1:[^/]+}", route.path)
        app.router.add_route(route.method, f"{base}{PREFIX}{path}", _handler(service, idempotency, route))
    app.router.add_route("*", f"{base}{PREFIX}{{rest:(?s:/.*)?}}", _unknown)


def _handler(service: Service, idempotency: Idempotency, route: Route) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        visitor = request[VISITOR]
        try:
            body = await request.read() if route.body is not None else b""
        except web.HTTPRequestEntityTooLarge:
            return _response(too_large())
        asked = Request(
            names=dict(request.match_info),
            query=[(name, value) for name, value in request.query.items()],
            content_type=request.content_type if request.headers.get("Content-Type") else "",
            body=body,
            idempotency_key=request.headers.get("Idempotency-Key"),
            caller=visitor.name,
            scopes=visitor.scopes,
            accept=request.headers.get("Accept", ""),
            last_event_id=request.headers.get("Last-Event-ID"),
        )
        with rights_of(visitor.role):
            answer = await handle(service, idempotency, route, asked)
            return _response(answer) if answer.stream is None else await _streamed(request, answer, answer.stream)

    return handler


async def _unknown(request: web.Request) -> web.Response:
    allowed = sorted(route.method for route in ROUTES if _fits(route.path, request.match_info["rest"]))
    if request.match_info["rest"] == "/openapi.json":
        allowed = ["GET"]
    if allowed:
        answer = problem(405, "This method is not allowed here", headers={"Allow": ", ".join(allowed)})
    else:
        answer = problem(404, "Not found", f"see {PREFIX}/openapi.json for what there is")
    return _response(answer)


def _fits(path: str, rest: str) -> bool:
    parts, given = path.split("/"), rest.split("/")
    return len(parts) == len(given) and all(
        bool(one) if part.startswith("{") else part == one for part, one in zip(parts, given, strict=True)
    )


async def _streamed(request: web.Request, answer: Answer, stream: AsyncIterator[bytes]) -> web.StreamResponse:
    """Until the follower disconnects, or the server stops."""
    response = web.StreamResponse(status=answer.status, headers={**HEADERS, **answer.headers})
    response.content_type = answer.content_type
    await response.prepare(request)
    streams, task = request.app[STREAMS], asyncio.current_task()
    assert task is not None  # noqa: S101 (a handler runs in one)
    streams.add(task)
    try:
        with suppress(ConnectionError):
            async for chunk in stream:
                await response.write(chunk)
    finally:
        streams.discard(task)
    return response


async def _end_streams(app: web.Application) -> None:
    """They would never end by themselves, and would keep the console from stopping."""
    for task in app[STREAMS]:
        task.cancel()


def _response(answer: Answer) -> web.Response:
    return web.Response(
        status=answer.status, body=answer.body, content_type=answer.content_type, headers=dict(answer.headers) or None
    )
