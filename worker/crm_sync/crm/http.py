"""One HTTP layer for all CRMs: rate-limited, no redirects, and no keys in answers."""

import json
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlencode, urlsplit

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from crm_sync import __version__, spans
from crm_sync.core.codes import Code
from crm_sync.core.outcome import Contact
from crm_sync.core.rate import Remaining
from crm_sync.core.text import MASK
from crm_sync.crm.answer import BYTE_ORDER_MARK, Answer, parse, stores_nothing, usable
from crm_sync.crm.connections import Connections, has_left
from crm_sync.crm.exchange import FORM, Request, Wire, Witness, shown
from crm_sync.crm.limiter import UNLIMITED, Limiter
from crm_sync.crm.operations import Operations
from crm_sync.crm.proxy import Proxy
from crm_sync.crm.trail import current
from crm_sync.errors import ConfigurationError, LaneError, NotSentError
from crm_sync.measurements import Operation

REQUEST_TIMEOUT_S = 20.0
SHORTEST_KEY = 8  # shorter header values are not keys, and would mask parts of other words
MOST_TOKENS = 16
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HOST = re.compile(r"\w(?:[\w.:-]*[\w.])?|::[\w:.]*")  # also in letters of its own, and IPv6
READING = frozenset({"GET", "HEAD", "OPTIONS"})

_JSON = json.JSONEncoder(allow_nan=False)


class Http:
    """Requests to one CRM, within its limits. Opened once, closed at the end."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        limiter: Limiter = UNLIMITED,
        remaining: Callable[[Mapping[str, str]], Sequence[Remaining]] = lambda _: (),
        timeout_s: float = REQUEST_TIMEOUT_S,
        proxy: Proxy | None = None,
        witness: Witness | None = None,
        wire: Wire | None = None,
    ) -> None:
        """headers: of every request, including the credentials. remaining: reads from an answer's headers what is left of the
        account's limits. timeout_s: for a request and its answer together. proxy: the one to use. wire: answers instead of the
        CRM.
        """
        self._base_url = base_url.rstrip("/")
        self._headers = {"User-Agent": f"crm-sync/{__version__}", "Accept": "application/json", **headers}
        self._keys: list[bytes] = []
        self._tokens: deque[bytes] = deque(maxlen=MOST_TOKENS)
        for value in headers.values():
            self.hide(*value.split())
        self.hide(*(proxy.secrets if proxy else ()))
        self._limiter = limiter
        self._remaining = remaining
        self._witness = witness
        self._connections = Connections(timeout_s, proxy)
        self._wire = wire or self._connections.send
        self._operations = Operations()

    async def __aenter__(self) -> "Http":
        await self._connections.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.close()

    def hide(self, *keys: str) -> None:
        """Masks these wherever an answer quotes them. Those in the headers are masked anyway."""
        self._keys += _forms(keys)

    def hide_token(self, token: str) -> None:
        """The same for a temporary token: the latest MOST_TOKENS are remembered."""
        self._tokens += _forms([token])

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        once: bool = False,
        writes: Collection[Contact] | None = None,
        **query: str,
    ) -> Answer:
        """Sends, and returns any answer that is about the contacts, whatever its status. Raises as send and usable do."""
        return usable(await self.send(method, path, body, query=query, once=once, writes=writes), body)

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        login: bool = False,
        once: bool = False,
        traced: bool = False,
        writes: Collection[Contact] | None = None,
    ) -> Answer:
        """Sends one request when the limiter allows it, and returns any answer.

        body: bytes are sent unchanged, anything else as JSON. headers: for this request, in addition to the common ones. form: a
        login, sent as an HTML form instead of a body. login: the body is a login too, so it is never shown. once: sent twice, it
        would create two records. traced: sends the trace context, for receivers that continue the trace. writes: the contacts
        whose values it stores; by default those of the whole delivery, and none with the methods in READING.

        Raises HeldBackError, NotSentError, and OutageError if there is no answer.
        """
        await self._limiter.slot()
        login = login or form is not None
        request = self._request(method, path, query, headers, _content(body, form), login=login, once=once)
        if login or method in READING:
            writes = ()
        if self._witness is None:
            return await self._ask(request, writes, traced=traced)
        self._witness.asked(shown(request, lambda text: _masked(text, [*self._keys, *self._tokens])))
        try:
            answer = await self._ask(request, writes, traced=traced)
        except LaneError as error:
            self._witness.answered(error)
            raise
        # The name and the address of the account's owner are not shown.
        self._witness.answered(replace(answer, text="", json=None) if current().operation == Operation.ACCOUNT else answer)
        return answer

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        content: tuple[bytes, str] | None,
        *,
        login: bool,
        once: bool,
    ) -> Request:
        try:
            url = URL(self._base_url + path)
        except ValueError as error:
            raise NotSentError(Code.UNREACHABLE, "no connection: its base URL is not a URL") from error
        body, kind = content or (None, None)
        its_own = {**({"Content-Type": kind} if kind else {}), **(headers or {})}
        url = url.extend_query(query) if query else url
        return Request(method, url, {**self._headers, **its_own}, body, login, once)

    async def _ask(self, request: Request, writes: Collection[Contact] | None, *, traced: bool) -> Answer:
        began = time.monotonic()
        trail = current()
        trail.begin()
        with spans.request(request.method, request.url.host, request.url.port) as span:
            if traced and span.headers:
                request = request._replace(headers={**request.headers, **span.headers})
            try:
                response = await self._wire(request)
            except BaseException as error:  # also where it is cancelled
                if has_left():
                    trail.wrote(writes)
                if isinstance(error, LaneError):
                    trail.ended(0, error, began, login=request.login)
                    span.failed(error)
                raise
            if not stores_nothing(response.status):
                trail.wrote(writes)
            trail.ended(response.status, response.flaw, began, login=request.login)
            span.answered(response.status)
        keys = [*self._keys, *self._tokens]
        content = _masked(response.body, keys)
        text = content.decode("utf-8", errors="replace").lstrip(BYTE_ORDER_MARK)
        await self._limiter.correct(self._remaining(response.headers))
        said = None if response.flaw else parse(content)
        operation = self._operations.of(request.method, request.url.raw_path)
        answer = Answer(response.status, _masked_headers(response.headers, keys), text, said, response.flaw, operation, began)
        trail.answered(answer)
        return answer


def require_https(name: str, url: str, allowed: Collection[str] = ()) -> str:
    """Returns the URL if keys and personal data may be sent to it. Raises ConfigurationError that names the setting.

    allowed: hosts besides loopback that may be reached over plain HTTP.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        understood = _HOST.fullmatch(host) is not None and parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        understood = False
    if not understood:
        raise ConfigurationError(f"{name}: expected a URL such as https://api.example.com")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"{name}: expected a URL without a user and password, which have their own settings")
    if parts.scheme == "http" and parts.hostname not in (*LOOPBACK, *allowed):
        raise ConfigurationError(
            f"{name}: expected https, because keys and personal data are sent there; "
            "http is allowed on loopback and for HTTP_ALLOWED_HOSTS"
        )
    if not {"?", "#"}.isdisjoint(url):
        raise ConfigurationError(f"{name}: expected a URL without ? and #, because paths are appended to it")
    return url


def _content(body: object, form: Mapping[str, str] | None) -> tuple[bytes, str] | None:
    """The bytes of a body, and their content type."""
    if form is not None:
        return urlencode(form).encode(), FORM
    if body is None:
        return None
    return body if isinstance(body, bytes) else _JSON.encode(body).encode(), "application/json"


def _forms(keys: Iterable[str]) -> list[bytes]:
    """How these can appear in an answer. PHP escapes slashes in JSON."""
    forms = [form for key in keys if len(key) >= SHORTEST_KEY for form in (key, key.replace("/", "\\/"))]
    return [form.encode() for form in dict.fromkeys(forms)]


def _masked(body: bytes, keys: Sequence[bytes]) -> bytes:
    """The body without our keys, which a debug page that quotes the request would reveal."""
    for key in keys:
        body = body.replace(key, MASK.encode())
    return body


def _masked_headers(headers: CIMultiDictProxy[str], keys: Sequence[bytes]) -> CIMultiDictProxy[str]:
    values = "\n".join(headers.values()).encode("utf-8", errors="surrogateescape")
    for key in keys:  # no any(): this runs for every answer
        if key in values:
            break
    else:
        return headers
    pairs = ((name, _masked(value.encode("utf-8", errors="replace"), keys).decode("utf-8")) for name, value in headers.items())
    return CIMultiDictProxy(CIMultiDict(pairs))
