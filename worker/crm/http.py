"""One HTTP shell for all CRMs: limits on everything, no redirects, and foreign errors in our words."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDictProxy

from worker import __version__
from worker.core.text import MASK, clean
from worker.errors import ConfigurationError, NotSentError, OutageError, RefusedError, ThrottledError
from worker.pace import Pace

CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 20.0
LARGEST_BODY_BYTES = 4 * 1024 * 1024
LONGEST_SAID = 1000  # characters of what a CRM says that are looked at; fewer are kept
SHORTEST_KEY = 8  # shorter header values are no keys, and would mask parts of other words
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

    def said(self, *keys: str) -> str:
        """What it says for people: those of these members that are plain, else how the body begins. Cut, not cleaned."""
        members = [value for key in keys if isinstance(value := self.get(key), str | int) and value]
        return " ".join(str(value)[:LONGEST_SAID] for value in members) or self.text[:LONGEST_SAID] or "no text"


class Http:
    """Requests to one CRM, at its pace. Opened once, closed at the end."""

    def __init__(self, base_url: str, headers: Mapping[str, str], *, concurrency: int, pace: Pace) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"User-Agent": f"crm-sync/{__version__}", "Accept": "application/json", **headers}
        keys = [word for value in headers.values() for word in value.split() if len(word) >= SHORTEST_KEY]
        # The second form is how PHP writes a slash into JSON.
        self._keys = [form.encode() for key in keys for form in (key, key.replace("/", "\\/"))]
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
                content = _masked(await _read(response), self._keys)
                text = content.decode("utf-8", errors="replace")
                answer = Answer(response.status, response.headers, text, _parse(content))
        except aiohttp.InvalidURL as error:
            raise NotSentError("UNREACHABLE", "no connection: its base URL is no URL") from error
        except aiohttp.ClientConnectorError as error:
            raise NotSentError("UNREACHABLE", f"no connection: {_plain(error)}") from error
        except aiohttp.ConnectionTimeoutError as error:
            raise NotSentError("UNREACHABLE", f"no connection within {CONNECT_TIMEOUT_S:g} s") from error
        except TimeoutError as error:
            raise OutageError("TIMEOUT", f"no answer within {REQUEST_TIMEOUT_S:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise OutageError("BROKEN_ANSWER", f"the connection or the answer broke: {type(error).__name__}") from error
        return _usable(answer, body)


def require_https(name: str, url: str) -> str:
    """The URL, if it is one that keys and personal data may be sent to. Raises ConfigurationError naming the setting."""
    try:
        parts = urlsplit(url)
        understood = parts.hostname is not None and parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        understood = False
    if not understood:
        raise ConfigurationError(f"{name}: expected a URL such as https://api.example.com")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ConfigurationError(f"{name}: expected https, for keys and personal data go there; http is for loopback only")
    return url


def retry_after_s(headers: Mapping[str, str], *names: str) -> float:
    """Seconds to wait after a 429, from the first of these headers that says it: seconds, or an HTTP date.

    Bounded, because headers can hold anything: garbage, the past, or a year.
    """
    for name in names:
        seconds = _seconds(headers.get(name, "").strip())
        if not math.isnan(seconds):
            return min(max(seconds, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
    return DEFAULT_PAUSE_S


def _seconds(value: str) -> float:
    """From now on. NaN for what is neither a number nor a date."""
    try:
        return float(value)
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
        # The oldest of the three forms of HTTP names no zone. It is UTC too.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time()
    except (TypeError, ValueError, IndexError, OverflowError):
        return math.nan


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, if it is not larger than it may be. Raises ValueError."""
    body = bytearray()
    while part := await response.content.read(LARGEST_BODY_BYTES + 1 - len(body)):
        body += part
        if len(body) > LARGEST_BODY_BYTES:
            raise ValueError("the body is too large")
    return bytes(body)


def _masked(body: bytes, keys: Sequence[bytes]) -> bytes:
    """The body without our keys, which a debug page that quotes the request would hand on."""
    for key in keys:
        body = body.replace(key, MASK.encode())
    return body


def _parse(body: bytes) -> Any:
    """Its JSON, or None where it is none, is not all UTF-8, or is nested as no CRM does."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_json)
    except (ValueError, RecursionError):
        return None


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _usable(answer: Answer, body: object) -> Answer:
    """The answer to this body, if it speaks about the contact."""
    status = answer.status
    if status == 429:
        pause_s = retry_after_s(answer.headers, "Retry-After", "x-sib-ratelimit-reset")
        raise ThrottledError("RATE_LIMITED", f"too many requests: {_said(answer, body)}", pause_s)
    if status in (401, 402, 403):
        raise RefusedError("REFUSED", f"the CRM refuses everybody with {status}: {_said(answer, body)}")
    if 300 <= status < 400:
        raise RefusedError(
            "REDIRECTED",
            f"the CRM answered with a redirect ({status}), which is not followed: check its base URL",
        )
    if status >= 500 or status == 408:
        raise OutageError("CRM_ERROR", f"the CRM failed with {status}: {_said(answer, body)}")
    return answer


def _said(answer: Answer, body: object) -> str:
    """What the CRM says, masked where it quotes what it was sent."""
    said = answer.said("message")
    quotable = said.lower()
    return clean(said, hide=[value for value in _values(body) if value.lower() in quotable])


def _values(body: object) -> Iterator[str]:
    """Every text and number in a request's body."""
    if isinstance(body, Mapping):
        for member in body.values():
            yield from _values(member)
    elif isinstance(body, list | tuple):
        for member in body:
            yield from _values(member)
    elif body is not None and not isinstance(body, bool):
        yield str(body)


def _plain(error: Exception) -> str:
    """The cause, without the request's headers, which repr() of these errors can carry."""
    cause = getattr(error, "os_error", None) or error
    return clean(getattr(cause, "strerror", None) or str(cause) or type(error).__name__)
