"""Traces by OpenTelemetry, sent by OTLP over HTTP: a span for each delivery, linked to the traces of its flips, and one for each
HTTP request below it.

Links instead of children, because a delivery has contacts from many flips, hours after some of them. Attributes are numbers,
names of CRMs and codes: no data that is sent, and no address. Errors are logged and do not affect deliveries: spans wait in the
SDK's bounded queue, which drops what does not fit, and are sent by a separate thread.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import structlog

from crm_sync import __version__, events, spans
from crm_sync.core.extras import installs
from crm_sync.core.outcome import Contact, Outcome, Unsent, Verdict
from crm_sync.core.text import clean
from crm_sync.core.traceparent import parse
from crm_sync.core.waits import Waits
from crm_sync.crm.account import require_reachable
from crm_sync.crm.http import require_https
from crm_sync.environment import Environment
from crm_sync.errors import ConfigurationError, LaneError
from crm_sync.settings import TraceSettings, TransportSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

MOST_LINKS = 128  # of a span: the SDK's default
MOST_REASONS = 100  # that are reported in one run
EXPORT_TIMEOUT_S = 5.0
SDK = "opentelemetry"  # prefix of its loggers
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
INSTALL = f"{ENDPOINT} is set, but OpenTelemetry is not installed: {installs('otel')}"

log = structlog.get_logger()


@asynccontextmanager
async def traces(environment: Environment, waits: Waits) -> AsyncIterator[None]:
    """Inside, deliveries are traced, if that is configured and possible. Raises nothing: if they are not, the
    reason is logged.
    """
    provider = None
    try:
        if (settings := environment.read(TraceSettings)).otel_exporter_otlp_endpoint is not None:
            provider = _provider(settings, environment.read(TransportSettings))
    except (ConfigurationError, ImportError) as error:
        reason = str(error) if isinstance(error, ConfigurationError) else INSTALL
        log.warning(events.TRACES_LOST, reason=reason, note="nothing is traced; contacts are delivered")
    if provider is None:
        yield
        return
    with _told_in_our_log(), spans.traced(OpenTelemetry(provider)):
        try:
            yield
        finally:
            await _stop(provider, waits.traces_grace_s)


def _provider(settings: TraceSettings, transport: TransportSettings) -> "TracerProvider":
    """Raises ImportError if it is not installed, and ConfigurationError for unusable settings."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 (an extra)
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    endpoint = (settings.otel_exporter_otlp_endpoint or "").rstrip("/")
    headers = _headers(settings)
    if headers:
        require_reachable(ENDPOINT, endpoint, transport)
    else:
        # A collector in the same cluster may be reached over plain HTTP if no key is sent.
        require_https(ENDPOINT, endpoint, allowed=_host(endpoint))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", headers=headers, timeout=EXPORT_TIMEOUT_S)
    resource = Resource.create({"service.name": settings.otel_service_name, "service.version": __version__})
    provider = TracerProvider(resource=resource, span_limits=SpanLimits(max_links=MOST_LINKS), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _headers(settings: TraceSettings) -> dict[str, str]:
    """name=value, comma-separated; values are percent-encoded. [OpenTelemetry, OTLP exporter configuration]"""
    secret = settings.otel_exporter_otlp_headers
    pairs = (part.partition("=") for part in (secret.get_secret_value() if secret else "").split(",") if part.strip())
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}


def _host(endpoint: str) -> list[str]:
    try:
        host = urlsplit(endpoint).hostname
    except ValueError:
        return []
    return [host] if host else []


async def _stop(provider: "TracerProvider", grace_s: float) -> None:
    """Sends the remaining spans, for at most this many seconds. Its thread does not outlive the process."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        with suppress(Exception):  # the SDK's own, already logged
            provider.shutdown()
        with suppress(RuntimeError):  # no longer awaited
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=stop, name="traces-stop", daemon=True).start()
    with suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            await ended.wait()


class OpenTelemetry:
    """Implements `crm_sync.spans.Tracer`."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace  # noqa: PLC0415 (an extra)
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._api = trace
        self._propagator = TraceContextTextMapPropagator()
        self._tracer = provider.get_tracer("crm_sync", __version__)

    @contextmanager
    def delivery(self, crm: str, operation: str, contacts: Sequence[Contact]) -> Iterator["_Delivery"]:
        attributes = {
            "messaging.system": "crm_sync",
            "messaging.operation.type": "process",
            "messaging.operation.name": operation,
            "messaging.destination.name": crm,
            "messaging.batch.message_count": len(contacts),
            "crm_sync.retries": sum(contact.attempts > 1 for contact in contacts),
        }
        with self._span(f"{operation} {crm}", self._api.SpanKind.CONSUMER, attributes, self._links(contacts)) as span:
            yield _Delivery(span, self._api)

    @contextmanager
    def request(self, method: str, host: str | None, port: int | None) -> Iterator["_Exchange"]:
        if not self._api.get_current_span().get_span_context().is_valid:
            yield _Exchange(self._api.INVALID_SPAN, self._api, {})
            return
        attributes = {"http.request.method": method, "server.address": host or "", "server.port": port or 0}
        with self._span(method, self._api.SpanKind.CLIENT, attributes) as span:
            headers: dict[str, str] = {}
            self._propagator.inject(headers)
            yield _Exchange(span, self._api, headers)

    @contextmanager
    def _span(self, name: str, kind: Any, attributes: Mapping[str, Any], links: Sequence[Any] = ()) -> Iterator[Any]:
        """Exceptions are not recorded: their text may contain anything."""
        with self._tracer.start_as_current_span(
            name,
            kind=kind,
            attributes=attributes,
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    def _links(self, contacts: Sequence[Contact]) -> list[Any]:
        """One for each trace among the flips: the flips of one transaction share a link."""
        api = self._api
        links = []
        for text in dict.fromkeys(contact.trace for contact in contacts):
            if (found := parse(text)) is not None:
                context = api.SpanContext(found.trace_id, found.span_id, is_remote=True, trace_flags=api.TraceFlags(found.flags))
                links.append(api.Link(context))
        return links[:MOST_LINKS]


class _Delivery:
    def __init__(self, span: Any, api: Any) -> None:
        self._span = span
        self._api = api

    def said(self, entries: Sequence[Outcome | Unsent | LaneError]) -> None:
        outcomes = [entry for entry in entries if isinstance(entry, Outcome)]
        self._count(sum(outcome.verdict is Verdict.DELIVERED for outcome in outcomes), len(outcomes))
        error = next((entry for entry in entries if isinstance(entry, LaneError)), None)
        if error is not None:
            _fail(self._span, self._api, error)

    def failed(self, error: LaneError) -> None:
        self._count(0, 0)
        _fail(self._span, self._api, error)

    def _count(self, delivered: int, outcomes: int) -> None:
        self._span.set_attributes({"crm_sync.delivered": delivered, "crm_sync.failed": outcomes - delivered})


class _Exchange:
    def __init__(self, span: Any, api: Any, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self._span = span
        self._api = api

    def answered(self, status: int) -> None:
        self._span.set_attribute("http.response.status_code", status)
        if status >= 400:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(self._api.StatusCode.ERROR)

    def failed(self, error: LaneError) -> None:
        _fail(self._span, self._api, error)


def _fail(span: Any, api: Any, error: LaneError) -> None:
    span.set_attribute("error.type", str(error.code))
    span.set_status(api.StatusCode.ERROR)


@contextmanager
def _told_in_our_log() -> Iterator[None]:
    """The SDK's messages become events: once for each reason, without arguments, which may quote data."""
    logger, handler = logging.getLogger(SDK), _Handler()
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


class _Handler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        # By its format string: the message of a retry contains the number of the try.
        if str(record.msg) in self._told or len(self._told) >= MOST_REASONS:
            return
        self._told.add(str(record.msg))
        log.warning(events.TRACES_LOST, reason=clean(record.getMessage()), note="contacts are delivered")
