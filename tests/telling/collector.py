"""A collector of traces: accepts OTLP over HTTP, as protobuf, and keeps the spans."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.harness import TIMEOUT_S
from tests.loopback import serving

CLIENT, CONSUMER = 3, 5  # SpanKind
ERROR = 2  # StatusCode


@dataclass(frozen=True)
class Span:
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    links: list[tuple[str, str]]
    attributes: Mapping[str, Any]
    status: int
    service: str
    events: int


@dataclass
class Collector:
    """status: of its answers."""

    url: str = ""
    status: int = 200
    spans: list[Span] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def serve(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.headers.append(dict(request.headers))
        self.bodies.append(body)
        assert (request.method, request.raw_path) == ("POST", "/v1/traces")
        asked = ExportTraceServiceRequest.FromString(body)
        async with self.arrived:
            for resource in asked.resource_spans:
                service = _values(resource.resource.attributes)["service.name"]
                self.spans += [_span(span, service) for scope in resource.scope_spans for span in scope.spans]
            self.arrived.notify_all()
        await self.gate.wait()
        return web.Response(status=self.status)

    async def until(self, holds: Callable[[list[Span]], bool]) -> list[Span]:
        """Returns when this holds for the spans."""
        async with asyncio.timeout(TIMEOUT_S), self.arrived:
            await self.arrived.wait_for(lambda: holds(self.spans))
        return self.spans


def _span(span: Any, service: str) -> Span:
    links = [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]
    return Span(
        *(span.name, span.kind, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), links),
        *(_values(span.attributes), span.status.code, service, len(span.events)),
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    collector.gate.set()
    async with serving(collector.serve) as collector.url:
        try:
            yield collector
        finally:
            collector.gate.set()
