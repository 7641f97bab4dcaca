"""One HTTP shell for all CRMs: limits on everything, no redirects, and foreign errors in our words."""

import json
import math
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDictProxy

from worker import __version__
from worker.core.text import clean
from worker.errors import ConfigurationError, NotSentError, OutageError, RefusedError, ThrottledError
from worker.pace import Pace

CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 20.0
LARGEST_BODY_BYTES = 4 * 1024 * 1024
DEEPEST_JSON = 64
SHORTEST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 3600.0
DEFAULT_PAUSE_S = 10.0  # HubSpot's own SDK waits so long where a 429 says nothing
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a CRM answered. json: None where the body is empty or no JSON."""

    status: int
    headers: CIMultiDictProxy[str]
    text: str
    json: Any

    def get(self, key: str) -> Any:
        """A member of the answer's JSON object; None if it is none, or has none."""
        return self.json.get(key) if isinstance(self.json, dict) else None


class Http:
    """Requests to one CRM, at its pace. Opened once, closed at the end."""

    def __init__(self, base_url: str, headers: Mapping[str, str], *, concurrency: int, pace: Pace) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"User-Agent": f"crm-sync/{__version__}", "Accept": "application/json", **headers}
        # The lane bounds what is under way. A tighter pool here would time out in its own queue, which is not the CRM's fault.
        self._connector_limit = concurrency + 1
        self._pace = pace
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Http":
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connector_limit),
            headers=self._headers,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_field_size=16 * 1024,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(self, method: str, path: str, body: object = None, **query: str) -> Answer:
        """One request, when the pace allows. Any answer that speaks about the contact comes back, whatever its status.

        Raises NotSentError, OutageError (no usable answer, 5xx), RefusedError (3xx, 401, 402, 403), ThrottledError (429).
        """
        if self._session is None:
            raise RuntimeError("the HTTP session is not open")
        await self._pace.slot()
        try:
            async with self._session.request(
                method, self._base_url + path, json=body, params=query or None, allow_redirects=False
            ) as response:
                text = await _read(response)
                answer = Answer(response.status, response.headers, text, _parse(text))
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL, ssl.SSLError) as error:
            raise NotSentError("UNREACHABLE", f"no connection: {_plain(error)}") from error
        except TimeoutError as error:
            raise OutageError("TIMEOUT", f"no answer within {REQUEST_TIMEOUT_S:.0f} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise OutageError("BROKEN_ANSWER", f"the connection or the answer broke: {type(error).__name__}") from error
        return _usable(answer)


def require_https(name: str, url: str) -> str:
    """The URL, if it is one that keys and personal data may be sent to. Raises ConfigurationError naming the setting."""
    parts = urlsplit(url)
    if parts.hostname is None or parts.scheme not in ("http", "https"):
        raise ConfigurationError(f"{name}: expected a URL such as https://api.example.com")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ConfigurationError(f"{name}: expected https, for keys and personal data go there; http is for loopback only")
    return url


def retry_after_s(headers: Mapping[str, str], *names: str) -> float:
    """Seconds to wait after a 429, from the first of these headers that says it: seconds, or an HTTP date.

    Bounded, because headers can hold anything: garbage, the past, or a year.
    """
    for name in names:
        value = headers.get(name, "").strip()
        try:
            seconds = float(value)
        except ValueError:
            try:
                seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
            except (TypeError, ValueError, IndexError, OverflowError):
                continue
        if not math.isnan(seconds):
            return min(max(seconds, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
    return DEFAULT_PAUSE_S


async def _read(response: aiohttp.ClientResponse) -> str:
    """The body as text, if it is not larger than it may be. Raises ValueError."""
    body = await response.content.read(LARGEST_BODY_BYTES + 1)
    chunks = [body]
    size = len(body)
    while body and size <= LARGEST_BODY_BYTES:
        body = await response.content.read(LARGEST_BODY_BYTES + 1 - size)
        chunks.append(body)
        size += len(body)
    if size > LARGEST_BODY_BYTES:
        raise ValueError("the body is too large")
    declared = response.headers.get("Content-Length", "")
    if declared.isdigit() and "Content-Encoding" not in response.headers and size != int(declared):
        raise ValueError("the body is shorter than declared")
    return b"".join(chunks).decode("utf-8", errors="replace")


def _parse(text: str) -> Any:
    """Its JSON, or None. A body that is none, or nested as no CRM does, is told apart by who reads it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _usable(answer: Answer) -> Answer:
    status = answer.status
    said = clean(str(answer.get("message") or answer.text[:200] or "no text"))
    if status == 429:
        pause_s = retry_after_s(answer.headers, "Retry-After", "x-sib-ratelimit-reset")
        raise ThrottledError("RATE_LIMITED", f"too many requests: {said}", pause_s)
    if status in (401, 402, 403):
        raise RefusedError("REFUSED", f"the CRM refuses everybody with {status}: {said}")
    if 300 <= status < 400:
        raise RefusedError(
            "REDIRECTED",
            f"the CRM answered with a redirect ({status}), which is not followed: check its base URL",
        )
    if status >= 500 or status == 408:
        raise OutageError("CRM_ERROR", f"the CRM failed with {status}: {said}")
    return answer


def _plain(error: Exception) -> str:
    """The cause, without the request's headers, which repr() of these errors can carry."""
    cause = getattr(error, "os_error", None) or error
    return clean(getattr(cause, "strerror", None) or str(cause) or type(error).__name__)
