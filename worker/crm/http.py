"""One HTTP shell for all CRMs: limits on everything, no redirects, and foreign errors in our words."""

import json
import math
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDictProxy

from worker import __version__
from worker.core.codes import Code
from worker.core.text import MASK, clean, printable
from worker.errors import ConfigurationError, NotSentError, OutageError, RefusedError, ThrottledError
from worker.pace import Pace

CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 20.0
LARGEST_BODY_BYTES = 4 * 1024 * 1024
LONGEST_SAID = 1000  # characters of what a CRM says that are looked at; fewer are kept
SHORTEST_KEY = 8  # shorter header values are no keys, and would mask parts of other words
MOST_TOKENS = 16
SHORTEST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 3600.0
DEFAULT_PAUSE_S = 10.0  # HubSpot's own SDK waits so long where a 429 says nothing
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# By these a CRM's support finds a request. HubSpot puts its own into the body too.
REQUEST_ID_HEADERS = ("x-hubspot-correlation-id", "sib-request-id", "x-request-id", "x-correlation-id", "cf-ray")
LONGEST_REQUEST_ID = 64


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

    @property
    def label(self) -> str:
        """What it was, for people and the CRM's support: `400`, or `400, request 4f0c...`."""
        named = [self.headers.get(name) for name in REQUEST_ID_HEADERS] + [self.get("correlationId")]
        request_id = next((printable(value, LONGEST_REQUEST_ID) for value in named if isinstance(value, str) and value), "")
        return f"{self.status}, request {request_id}" if request_id else str(self.status)

    def said(self, *keys: str) -> str:
        """What it says for people: those of these members that are plain, else how the body begins. Cut, not cleaned."""
        members = [value for key in keys if isinstance(value := self.get(key), str | int) and value]
        return " ".join(str(value)[:LONGEST_SAID] for value in members) or self.text[:LONGEST_SAID] or "no text"


class Http:
    """Requests to one CRM, at its pace. Opened once, closed at the end."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        pace: Pace,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        """headers: of every request, the credentials among them. timeout_s: of a request and its answer together."""
        self._base_url = base_url.rstrip("/")
        self._headers = {"User-Agent": f"crm-sync/{__version__}", "Accept": "application/json", **headers}
        self._keys: list[bytes] = []
        self._tokens: deque[bytes] = deque(maxlen=MOST_TOKENS)
        for value in headers.values():
            self.hide(*value.split())
        self._pace = pace
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Http":
        timeout = aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        self._session = aiohttp.ClientSession(
            # The lane bounds what is under way. A pool here would time out in its own queue, which is not the CRM's fault.
            connector=aiohttp.TCPConnector(limit=0),
            headers=self._headers,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_field_size=16 * 1024,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def hide(self, *keys: str) -> None:
        """Masks these wherever an answer quotes them. Those of the headers are masked anyway."""
        self._keys += _forms(keys)

    def hide_token(self, token: str) -> None:
        """The same for one that is good for a while: the latest MOST_TOKENS are remembered."""
        self._tokens += _forms([token])

    async def request(self, method: str, path: str, body: object = None, **query: str) -> Answer:
        """Sends, and returns any answer that speaks about the contacts, whatever its status. Raises as send and usable do."""
        return usable(await self.send(method, path, body, query=query), body)

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, when the pace allows. Whatever is answered comes back.

        body: bytes are sent as they are, anything else as JSON. headers: of this request, beside those of all. form: sent instead
        of a body, as HTML forms are. Raises HeldBackError, NotSentError, and OutageError where there is no whole answer.
        """
        if self._session is None:
            raise RuntimeError("the HTTP session is not open")
        await self._pace.slot()
        own = {"Content-Type": "application/json", **(headers or {})} if isinstance(body, bytes) else headers
        try:
            async with self._session.request(
                method,
                self._base_url + path,
                json=None if isinstance(body, bytes) else body,
                data=body if isinstance(body, bytes) else form,
                params=query or None,
                headers=own,
                allow_redirects=False,
            ) as response:
                content = _masked(await _read(response), [*self._keys, *self._tokens])
                text = content.decode("utf-8", errors="replace")
                return Answer(response.status, response.headers, text, _parse(content))
        except aiohttp.InvalidURL as error:
            raise NotSentError(Code.UNREACHABLE, "no connection: its base URL is no URL") from error
        except aiohttp.ClientConnectorError as error:
            raise NotSentError(Code.UNREACHABLE, f"no connection: {_plain(error)}") from error
        except aiohttp.ConnectionTimeoutError as error:
            raise NotSentError(Code.UNREACHABLE, f"no connection within {CONNECT_TIMEOUT_S:g} s") from error
        except TimeoutError as error:
            raise OutageError(Code.TIMEOUT, f"no answer within {self._timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise OutageError(Code.BROKEN_ANSWER, f"the connection or the answer broke: {type(error).__name__}") from error


def require_https(name: str, url: str, allowed: Collection[str] = ()) -> str:
    """The URL, if it is one that keys and personal data may be sent to. Raises ConfigurationError naming the setting.

    allowed: hosts that may be spoken to in plain http, beside loopback.
    """
    try:
        parts = urlsplit(url)
        understood = parts.hostname is not None and parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        understood = False
    if not understood:
        raise ConfigurationError(f"{name}: expected a URL such as https://api.example.com")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"{name}: expected a URL without user and password: those have settings of their own")
    if parts.scheme == "http" and parts.hostname not in (*LOOPBACK, *allowed):
        raise ConfigurationError(
            f"{name}: expected https, for keys and personal data go there; http is for loopback and for HTTP_ALLOWED_HOSTS"
        )
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


def _forms(keys: Iterable[str]) -> list[bytes]:
    """How these can stand in an answer. PHP writes a slash into JSON with another before it."""
    forms = [form for key in keys if len(key) >= SHORTEST_KEY for form in (key, key.replace("/", "\\/"))]
    return [form.encode() for form in dict.fromkeys(forms)]


def _masked(body: bytes, keys: Sequence[bytes]) -> bytes:
    """The body without our keys, which a debug page that quotes the request would hand on."""
    for key in keys:
        body = body.replace(key, MASK.encode())
    return body


def _parse(body: bytes) -> Any:
    """Its JSON, or None where it is none, is not all UTF-8, or is nested as no CRM does."""
    try:
        return _JSON.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_JSON = json.JSONDecoder(parse_constant=_no_json)


def usable(answer: Answer, body: object = None) -> Answer:
    """The answer to this body, if it speaks about the contacts.

    Raises OutageError (5xx, 408), RefusedError (3xx, 401, 402, 403), ThrottledError (429).
    """
    status = answer.status
    if status == 429:
        pause_s = retry_after_s(answer.headers, "Retry-After", "x-sib-ratelimit-reset")
        raise ThrottledError(Code.RATE_LIMITED, f"too many requests ({answer.label}: {quoted(answer, body)})", pause_s)
    if status in (401, 402, 403):
        raise RefusedError(Code.REFUSED, f"the CRM refuses everybody ({answer.label}: {quoted(answer, body)})")
    if 300 <= status < 400:
        raise RefusedError(
            Code.REDIRECTED,
            f"the CRM answered with a redirect ({status}), which is not followed: check its base URL",
        )
    if status >= 500 or status == 408:
        raise OutageError(Code.CRM_ERROR, f"the CRM failed ({answer.label}: {quoted(answer, body)})")
    return answer


def quoted(answer: Answer, body: object = None) -> str:
    """What the CRM says, masked where it quotes this body, which it was sent."""
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
