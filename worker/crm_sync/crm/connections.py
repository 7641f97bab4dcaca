"""Connections to one CRM: kept for a moment, reused, and distinguished from new ones.

A reused connection may just have been closed by the server or something in between. A request that dies on one before any byte of
the answer arrives is repeated once on a new connection: the CRM has not failed, and every write here may be repeated. A request
that may not be repeated, because the CRM would create a second record, gets a new connection from the start. Nothing is repeated
on a new connection, nor after STALE_S: by then the server has received the request and may still be working on it. aiohttp's own
retries cover neither POST nor PATCH and check none of this, so they are off.
"""

import asyncio
import re
from contextvars import ContextVar
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from crm_sync.core.codes import Code
from crm_sync.core.text import clean
from crm_sync.crm.content import read
from crm_sync.crm.exchange import Request, Response
from crm_sync.crm.proxy import Proxy
from crm_sync.crm.trail import SESSION_LOST, current
from crm_sync.errors import HeldBackError, LaneError, NotSentError, OutageError

CONNECT_TIMEOUT_S = 5.0
# Node (and so n8n) and Apache close connections that were idle for 5 s [Node's http server.keepAliveTimeout, Apache's
# KeepAliveTimeout].
KEEP_ALIVE_S = 4.0
# A closed connection shows after one round trip, or a few more if packets are lost.
STALE_S = 2.0
MOST_EARLY = 100  # interim responses before the answer. Servers send one or two
CODINGS = "gzip, deflate"  # what `crm_sync.crm.content` decodes


class Connections:
    """Sends requests over the internet. Opened once, closed at the end."""

    def __init__(
        self,
        timeout_s: float,
        proxy: Proxy | None = None,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        stale_s: float = STALE_S,
    ) -> None:
        """timeout_s: for a request and its answer together, even if it is sent twice."""
        self._timeout_s = timeout_s
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=connect_timeout_s)
        self._stale_s = stale_s
        self._connect_timeout_s = connect_timeout_s
        self._proxy = proxy
        self._via = f", through {proxy}" if proxy else ""
        self._kept: aiohttp.ClientSession | None = None
        self._new: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._kept = _session(_Connector(keepalive_timeout=KEEP_ALIVE_S))
        self._new = _session(_Connector(force_close=True))

    async def close(self) -> None:
        for session in (self._kept, self._new):
            if session is not None:
                await session.close()

    async def send(self, request: Request) -> Response:
        """Raises HeldBackError, NotSentError, and OutageError if there is no answer."""
        if self._kept is None or self._new is None:
            raise RuntimeError("the HTTP session is not open")
        if request.once:
            return await self._try(self._new, request, self._timeout)
        ends_at = asyncio.get_running_loop().time() + self._timeout_s
        try:
            return await self._try(self._kept, request, self._timeout)
        except _StaleError:
            left_s = max(ends_at - asyncio.get_running_loop().time(), 0.001)  # 0 would mean no limit
            left = aiohttp.ClientTimeout(total=left_s, sock_connect=self._connect_timeout_s)
            first = _line.get()
            try:
                return await self._try(self._new, request, left)
            finally:
                if _line.get() is None:
                    _line.set(first)  # this try has not left, but the first one has

    async def _try(self, session: aiohttp.ClientSession, request: Request, timeout: aiohttp.ClientTimeout) -> Response:  # noqa: ASYNC109 (aiohttp's own)
        """Raises _StaleError if it died on a reused connection before any byte of an answer."""
        _line.set(None)
        try:
            return await self._exchange(session, request, timeout)
        except aiohttp.InvalidURL as error:
            raise NotSentError(Code.UNREACHABLE, "no connection: its base URL is not a URL") from error
        except aiohttp.ClientHttpProxyError as error:
            # Without its cause, which carries the headers sent to the proxy.
            raise self._refused(error.status, error.message) from None
        except aiohttp.ClientConnectorError as error:
            raise self._unconnected(error) from error
        except aiohttp.ConnectionTimeoutError as error:
            raise NotSentError(Code.UNREACHABLE, f"no connection within {self._connect_timeout_s:g} s{self._via}") from error
        except TimeoutError as error:
            raise OutageError(Code.TIMEOUT, f"no answer within {self._timeout_s:g} s{self._via}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            broke = isinstance(error, OSError | aiohttp.ServerDisconnectedError)
            if broke and (line := _line.get()) is not None and line.is_stale(self._stale_s):
                raise _StaleError from error
            reason = f"the connection or the answer broke{self._via}: {type(error).__name__}"
            raise OutageError(Code.BROKEN_ANSWER, reason) from error

    async def _exchange(self, session: aiohttp.ClientSession, request: Request, timeout: aiohttp.ClientTimeout) -> Response:  # noqa: ASYNC109 (aiohttp's own)
        headers, to_proxy = request.headers, None
        if self._proxy is not None and self._proxy.credentials is not None:
            to_proxy = {"Proxy-Authorization": self._proxy.credentials}
            if request.url.scheme == "http":
                headers = {**headers, **to_proxy}  # without a tunnel, the request itself goes to the proxy
        async with session.request(
            request.method,
            request.url,
            data=request.body,
            headers=headers,
            allow_redirects=False,
            timeout=timeout,
            proxy=self._proxy and self._proxy.url,
            proxy_headers=to_proxy,
        ) as response:
            if response.status == 407 and self._proxy is not None:
                _line.set(None)  # it went no further
                raise self._refused(response.status, response.reason or "")
            body, flaw = await read(response, self._timeout_s)
            return Response(response.status, response.headers, body, flaw)

    def _refused(self, status: int, said: str) -> NotSentError:
        hint = f": check the user and the password in {self._proxy.setting}" if self._proxy and status == 407 else ""
        words = clean(f"{status} {said}".strip())
        return NotSentError(Code.UNREACHABLE, f"no connection: {self._proxy} answered {words}{hint}")

    def _unconnected(self, error: aiohttp.ClientConnectorError) -> LaneError:
        # With a proxy, only the proxy's own name is resolved.
        if self._proxy and isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientConnectorDNSError):
            return NotSentError(Code.UNREACHABLE, f"no connection to {self._proxy}: {_plain(error)}")
        return NotSentError(Code.UNREACHABLE, f"no connection{self._via}: {_plain(error)}")


class _StaleError(Exception):
    """To be sent again on a new connection."""


_EARLY = b"HTTP/1.1 1"  # how an interim response begins
_FINAL = re.compile(rb"HTTP/1\.[01] [2-5]")


class _Line(ResponseHandler):
    """A connection. requests: how many were begun on it. is_heard: whether a byte has arrived since the last one began, at
    begun_at.

    early: interim responses (100 Continue, 103 Early Hints) since then. is_answered: whether the answer itself has begun.
    is_free: whether it waits for its next request.
    """

    requests = 0
    is_free = False
    is_heard = False
    begun_at = 0.0
    early = 0
    is_answered = False

    def is_stale(self, within_s: float) -> bool:
        return self.requests > 1 and not self.is_heard and self._loop.time() < self.begun_at + within_s

    def begin(self) -> None:
        self.requests += 1
        self.is_heard = False
        self.begun_at = self._loop.time()
        self.early = 0
        self.is_answered = False
        self.is_free = False

    def end(self) -> None:
        self.is_free = True

    def data_received(self, data: bytes) -> None:
        if self.is_free and data and self.transport is not None:
            # Said unasked, such as the 408 of some proxies. It would be taken for the answer to the next request.
            self.transport.abort()
            return
        self.is_heard = True
        if not self.is_answered:
            final = _FINAL.search(data)
            self.is_answered = final is not None
            self.early += data.count(_EARLY, 0, final.start() if final else len(data))
        if self.early <= MOST_EARLY:
            super().data_received(data)
        elif self.transport is not None:
            # A server that sends them endlessly would keep the event loop, and so every other CRM, busy.
            self.transport.abort()


_line: ContextVar[_Line | None] = ContextVar("line", default=None)  # of the latest request of this task, once it has one


def has_left() -> bool:
    """Whether the latest request of this task, which failed or was cancelled, may have reached the CRM: it had a connection."""
    return _line.get() is not None


class _Connector(aiohttp.TCPConnector):
    """Records which connection a request got, and starts none that may not go on."""

    def __init__(self, **options: Any) -> None:
        # The lane limits what is in flight. A pool here would time out in its own queue, which is not the CRM's fault.
        super().__init__(limit=0, **options)
        # Private, and the only way to install our own protocol: aiohttp has no event for received bytes.
        self._factory = cast("partial[ResponseHandler]", partial(_Line, loop=self._loop))

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 (aiohttp's own)
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        if not current().may_go_on():  # at the last moment: a connection can take seconds
            connection.release()
            raise HeldBackError(SESSION_LOST)
        line = connection.protocol
        if isinstance(line, _Line):
            line.begin()
            connection.add_callback(line.end)
            _line.set(line)
        return connection


def _session(connector: _Connector) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": CODINGS},
        auto_decompress=False,
        max_field_size=16 * 1024,
    )
    session._retry_connection = False
    return session


def _plain(error: Exception) -> str:
    """The cause, without the request's headers, which repr() of these errors can contain."""
    cause = getattr(error, "os_error", None) or error
    return clean(getattr(cause, "strerror", None) or str(cause) or type(error).__name__)
