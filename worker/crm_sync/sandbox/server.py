"""A fake CRM on loopback: the part that all sandboxes share.

A CRM implements `respond`, a plain function: a request takes effect as a whole or not at all. Around it, scripted faults delay,
hold, drop or answer requests, and a log records them. The pages under `/_sandbox/` are for observers in other processes; requests
there are not logged and meet no faults.
"""

import asyncio
import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any, Self

from aiohttp import web

HOST = "127.0.0.1"
CONTROL = "/_sandbox/"
CONNECTION_BACKLOG = 1024
ROWS_PER_CHUNK = 500
# HubSpot's, Brevo's, Mautic's.
FIELDS = re.compile(r"/properties/(?:[0-9-]+/)?contacts$|/contacts/attributes$|/fields/contact$")
ACCOUNT = re.compile(r"/account-info/[^/]+/details$|/v3/account$")
# A CRM that stops waits for nothing, but 0 would mean forever to aiohttp.
SHUTDOWN_TIMEOUT_S = 0.05


@dataclass(slots=True)
class Call:
    """A request. path: decoded. body: parsed if it is JSON, the bytes if it is not, None if it is empty."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """body: bytes are sent unchanged, None as an empty body, anything else as JSON."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def asks_for_fields(call: "Call | LoggedRequest") -> bool:
    """For any of the vendors."""
    return call.method == "GET" and FIELDS.search(call.path) is not None


def asks_for_account(call: "Call | LoggedRequest") -> bool:
    """For any of the vendors."""
    return call.method == "GET" and ACCOUNT.search(call.path) is not None


def is_about_contacts(call: "Call | LoggedRequest") -> bool:
    """Not what a lane asks before it sends the first one."""
    return not asks_for_fields(call) and not asks_for_account(call)


class Hold:
    """A gate where requests wait until it is released. `reached` is set once a request waits there."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._released = asyncio.Event()

    def release(self) -> None:
        self._released.set()

    async def wait(self) -> None:
        self.reached.set()
        await self._released.wait()


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """What goes wrong with the requests it matches, in the order of its fields. By default it matches all requests except those
    for the CRM's fields and account, because workers send these at any time.

    applies: the request takes effect before anything goes wrong, so that only its answer is affected. places: this many delays at
    a time; other requests queue, as on a small server. drop: the connection is closed without an answer. answer: sent instead of
    the CRM's own; without it and without `drop`, the request takes effect and is answered after the delay and the hold. mangles:
    changes the CRM's own answer in transit.
    """

    matches: Callable[[Call], bool] = is_about_contacts
    applies: bool = False
    delay_s: float = 0
    places: asyncio.Semaphore | None = None
    hold: Hold | None = None
    drop: bool = False
    answer: Answer | None = None
    mangles: Callable[[Answer], Answer] | None = None


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A request, when it arrived (seconds by the sandbox's clock, seconds since 1970), how long it took, and its answer.

    status: None if the connection was dropped.
    """

    monotonic_s: float
    wall_s: float
    took_s: float
    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    status: int | None


class Sandbox(ABC):
    """A fake CRM. It can be stopped and started again: the port and all its data stay the same.

    requests: the log, in the order of the answers. next_faults: each strikes once, the first that matches. standing_faults:
    strike every matching request that no other fault has struck.
    """

    def __init__(self, *, port: int = 0, keep_log: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self.port = port
        self.keep_log = keep_log
        self.clock = clock
        self.request_count = 0
        self.requests: list[LoggedRequest] = []
        self.next_faults: list[Fault] = []
        self.standing_faults: list[Fault] = []
        self._refused_texts: list[str] = []
        self._runner: web.ServerRunner | None = None

    @abstractmethod
    def respond(self, call: Call) -> Answer:
        """Applies a request to the CRM's state."""

    @abstractmethod
    def throttled(self) -> Answer:
        """The vendor's answer to too many requests."""

    @abstractmethod
    def refused(self) -> Answer:
        """The vendor's answer if something in a request makes it refuse the whole request."""

    def misbehave(self, every: int = 70) -> None:
        """A bad day: one request too many, one error, and one answer lost in transit, each once and some requests apart."""
        faults = (
            Fault(answer=self.throttled()),
            Fault(answer=Answer(503, b"<html>503 Service Unavailable</html>", {"Content-Type": "text/html"})),
            Fault(applies=True, drop=True),
        )
        for number, fault in enumerate(faults, 1):
            self.next_faults.append(replace(fault, matches=partial(self._has_served, number * every)))

    def refuse(self, text: str) -> None:
        """From now on, a request with this text in its body is refused as a whole, even if its answer is lost."""
        self._refused_texts.append(text)

    def _respond(self, call: Call) -> Answer:
        if self._refused_texts and any(text in str(call.body) for text in self._refused_texts):
            return self.refused()
        return self.respond(call)

    def _has_served(self, requests: int, _: Call) -> bool:
        return self.request_count >= requests

    def stats(self) -> dict[str, Any]:
        """What `/_sandbox/stats` shows."""
        return {"requests": self.request_count}

    def table(self, name: str) -> Sequence[Any] | None:
        """The rows that `/_sandbox/<name>` shows, None if there is no such table."""
        return self.requests if name == "requests" else None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        server = self._runner and self._runner.server
        return len(server.connections) if isinstance(server, web.Server) else 0

    async def start(self) -> None:
        server = web.Server(self.serve, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self.port, backlog=CONNECTION_BACKLOG).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stops listening and closes all connections, including those with a request in flight."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request, including faults."""
        if request.path.startswith(CONTROL):
            return await self._show(request)
        monotonic_s, wall_s = self.clock(), time.time()
        try:
            call = await _read(request)
        except ConnectionError:  # the client died in the middle of its request
            return _dropped(request)
        fault = self._take_fault(call)
        answer = self._respond(call) if fault is None else await self._strike(fault, call)
        self.request_count += 1
        if self.keep_log:
            status = None if answer is None else answer.status
            took_s = self.clock() - monotonic_s
            self.requests.append(
                LoggedRequest(monotonic_s, wall_s, took_s, call.method, call.path, call.query, call.body, status)
            )
        return _dropped(request) if answer is None else _response(answer)

    def _take_fault(self, call: Call) -> Fault | None:
        for fault in self.next_faults:
            if fault.matches(call):
                self.next_faults.remove(fault)
                return fault
        return next((fault for fault in self.standing_faults if fault.matches(call)), None)

    async def _strike(self, fault: Fault, call: Call) -> Answer | None:
        """The answer, None if the connection is to be dropped."""
        own = self._respond(call) if fault.applies else None
        async with fault.places or nullcontext():
            await asyncio.sleep(fault.delay_s)
        if fault.hold is not None:
            await fault.hold.wait()
        if fault.drop:
            return None
        answer = fault.answer or own or self._respond(call)
        return fault.mangles(answer) if fault.mangles else answer

    async def _show(self, request: web.BaseRequest) -> web.StreamResponse:
        """A table as a JSON array with one row per line, from row `since` on; or the stats."""
        name = request.path.removeprefix(CONTROL)
        if name == "stats":
            return _response(Answer(200, self.stats()))
        table = self.table(name)
        if table is None:
            return _response(Answer(404))
        rows = table[int(request.query.get("since", 0)) :]
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b"[")
        for start in range(0, len(rows), ROWS_PER_CHUNK):
            lines = ",\n".join(json.dumps(row, default=_plain) for row in rows[start : start + ROWS_PER_CHUNK])
            await response.write((",\n" if start else "\n").encode() + lines.encode())
            # Users of the CRM come first: a long table must not make them wait.
            await asyncio.sleep(0)
        await response.write(b"\n]\n")
        return response


async def _read(request: web.BaseRequest) -> Call:
    body: Any = await request.read() or None
    if body is not None:
        # How to handle a body that is not JSON is up to the CRM. Only Python accepts NaN and Infinity in JSON.
        with suppress(ValueError):
            body = _JSON.decode(body.decode(json.detect_encoding(body)))
    query = dict(request.query) if request.query_string else {}
    return Call(request.method, request.path, query, request.headers, body)


def _no_json(token: str) -> None:
    raise ValueError(token)


_JSON = json.JSONDecoder(parse_constant=_no_json)


def _response(answer: Answer) -> web.Response:
    if answer.body is None or isinstance(answer.body, bytes):
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
    headers = {"Content-Type": "application/json", **answer.headers}
    return web.Response(status=answer.status, body=json.dumps(answer.body).encode(), headers=headers)


def _dropped(request: web.BaseRequest) -> web.Response:
    """Closes the connection. aiohttp requires an answer, which is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _plain(value: object) -> Any:
    if is_dataclass(value):
        return {column.name: getattr(value, column.name) for column in fields(value)}
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    raise TypeError(f"{type(value).__name__} does not go into JSON")
