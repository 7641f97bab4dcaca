"""What a CRM answered, and how it is interpreted if the CRM has no specific meaning for it."""

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import urlsplit

from multidict import CIMultiDictProxy

from crm_sync.core.codes import Code
from crm_sync.core.operation import Operation
from crm_sync.core.text import clean, printable
from crm_sync.errors import LaneError, OutageError, RefusedError, StatusRefusedError, ThrottledError

LONGEST_SAID = 1000  # characters of a CRM's message that are examined; fewer are kept
SHORTEST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 3600.0
DEFAULT_PAUSE_S = 10.0  # HubSpot's own SDK waits this long if a 429 does not say
# A CRM's support finds a request by these. HubSpot also puts its own into the body.
REQUEST_ID_HEADERS = ("x-hubspot-correlation-id", "sib-request-id", "x-request-id", "x-correlation-id", "cf-ray")
LONGEST_REQUEST_ID = 64
BYTE_ORDER_MARK = "\ufeff"
REQUEST_TIMEOUT = 408
# These 4xx are not refusals: they may be transient, and say when to retry.
PASSING = frozenset({REQUEST_TIMEOUT, 429})

# Parts of a page that are not text for readers.
_MARKUP = re.compile(r"<!--.*?(?:-->|$)|<(script|style)\b.*?(?:</\1>|$)|<[^>]*(?:>|$)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a CRM answered. json: None if the body is empty or not JSON.

    flaw: why the body is incomplete. text is its beginning then, and json is None. operation: the kind of request it answers.
    began: when that request began, by the monotonic clock.
    """

    status: int
    headers: CIMultiDictProxy[str]
    text: str
    json: Any
    flaw: LaneError | None = None
    operation: Operation = field(default_factory=Operation)
    began: float = 0.0

    def confirm(self) -> None:
        """Marks it as a success by the CRM itself, so the CRM serves requests of this kind. Called by code that can tell."""
        self.operation.served(self.began, time.monotonic())

    def get(self, key: str) -> Any:
        """A member of the answer's JSON object; None if it is not an object, or has no such member."""
        return self.json.get(key) if isinstance(self.json, dict) else None

    @property
    def label(self) -> str:
        """The status, for people and the CRM's support: `400`, or `400, request 4f0c...`."""
        return f"{self.status}, request {self.request_id}" if self.request_id else str(self.status)

    @property
    def request_id(self) -> str:
        """The id by which the CRM's support finds it, empty if there is none."""
        for name in REQUEST_ID_HEADERS:
            if value := self.headers.get(name):
                return printable(value, LONGEST_REQUEST_ID)
        value = self.get("correlationId")
        return printable(value, LONGEST_REQUEST_ID) if isinstance(value, str) else ""

    def said(self, *keys: str) -> str:
        """Its message for people: those of these members that are plain values, else the beginning of the body. Truncated, not
        cleaned.
        """
        members = [value for key in keys if isinstance(value := self.get(key), str | int) and value]
        return " ".join(str(value)[:LONGEST_SAID] for value in members) or self.text[:LONGEST_SAID] or "no text"


def usable(answer: Answer, body: object = None, *, check: str = "check its base URL", keys: str = "") -> Answer:
    """The answer to this body, if it is about the contacts. check: the settings to check if something else answers; keys: those
    to check if the credentials are refused.

    Raises OutageError (5xx, 408, below 200), RefusedError (401, 402, 403, 407), StatusRefusedError (3xx; 401, 402 and 403 without
    a JSON object), ThrottledError (429), and the flaw of the answer.
    """
    status = answer.status
    if status == 429:
        pause_s = retry_after_s(answer.headers, "Retry-After", "x-sib-ratelimit-reset")
        raise ThrottledError(Code.RATE_LIMITED, f"too many requests ({answer.label}: {quoted(answer, body)})", pause_s)
    if status in (401, 402, 403) and isinstance(answer.json, dict):
        hint = f": {keys}" if keys and status != 402 else ""
        raise RefusedError(Code.REFUSED, f"the CRM refuses everybody ({answer.label}: {quoted(answer, body)}){hint}")
    if status in (401, 402, 403, 407):
        raise foreign(answer, body, whose="the CRM's", check=check)
    if 300 <= status < 400:
        raise _redirected(answer, body, check)
    if status >= 500 or status == REQUEST_TIMEOUT:
        raise OutageError(Code.CRM_ERROR, f"the CRM failed ({answer.label}: {quoted(answer, body)})")
    if status < 200:
        # Interim, and so none; or no status of HTTP at all.
        raise OutageError(Code.BROKEN_ANSWER, f"what answered {answer.label} is not the CRM: {check}")
    if answer.flaw is not None:
        raise answer.flaw
    return answer


def stores_nothing(status: int) -> bool:
    """Whether a request that is answered so was refused as a whole, so that nothing of it was stored: 3xx, and 4xx but 408.

    With 408 and 5xx it may have been. A server that fails, or whatever answers in front of one, need not know.
    """
    return 300 <= status < 500 and status != REQUEST_TIMEOUT


def is_foreign(answer: Answer, *, own: bool) -> bool:
    """Whether it refuses by status alone. own: whether it is in the vendor's own format, if the vendor has one.

    For an incomplete answer this is unknown.
    """
    return not own and answer.flaw is None and 400 <= answer.status < 500 and answer.status not in PASSING


def foreign(answer: Answer, body: object, *, whose: str, check: str) -> RefusedError:
    """For an answer to this body that refuses in words that are not the vendor's. whose: `Brevo's`. check:
    the settings to check.
    """
    said = f"{answer.label}: {page_words(answer, body)}"
    if answer.status == 407:
        # What it lets through does not depend on the contact.
        return RefusedError(
            Code.NOT_FOUND, f"a proxy in front of {whose} API requires credentials of its own ({said}): {check}, and the proxy"
        )
    if answer.status in (401, 402, 403):
        code, reason = Code.REFUSED, f"refused by something that does not answer as {whose} API does ({said}): {check}, and"
        reason += " whether a firewall or proxy is in front of it"
    else:
        code, reason = Code.NOT_FOUND, f"what answered {answer.status} is not {whose} API ({said}): {check}"
    return StatusRefusedError(code, reason, said=said, operation=answer.operation)


def page_words(answer: Answer, body: object = None) -> str:
    """The text of a page without its markup, masked where it quotes this body."""
    text = _MARKUP.sub(" ", answer.text[: 8 * LONGEST_SAID]).strip()
    return quoted(replace(answer, text=text), body)


def _redirected(answer: Answer, body: object, check: str) -> StatusRefusedError:
    """Some firewalls also answer like this: a redirect to a page with the reason."""
    said = f"{answer.status} to {where}" if (where := _target(answer, body)) else str(answer.status)
    reason = f"the CRM answered with a redirect ({said}), which is not followed: {check}"
    return StatusRefusedError(Code.REDIRECTED, reason, said=f"a redirect, {said}", operation=answer.operation)


def _target(answer: Answer, body: object) -> str:
    """Host and path of the Location, masked where they quote this body. The query is left out, because it may
    contain anything.
    """
    try:
        parts = urlsplit(answer.headers.get("Location", "").strip())
        host = f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""
    except ValueError:
        return "something that is not a URL"
    return quoted(replace(answer, text=host + parts.path, json=None), body) if host or parts.path else ""


def quoted(answer: Answer, body: object = None) -> str:
    """The CRM's message, masked where it quotes the body it was sent."""
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


def retry_after_s(headers: Mapping[str, str], *names: str) -> float:
    """Seconds to wait after a 429, from the first of these headers that gives them, as a number or an HTTP date.

    Bounded, because headers can hold anything: garbage, the past, or a year.
    """
    for name in names:
        seconds = _seconds(headers.get(name, "").strip(), headers)
        if not math.isnan(seconds):
            return min(max(seconds, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
    return DEFAULT_PAUSE_S


def number(value: object) -> float:
    """A number from a CRM, or its text. Infinity for anything else, or below 0: as a time, that means no end."""
    try:
        found = float(value) if isinstance(value, int | float | str) else math.inf
    except (ValueError, OverflowError):
        return math.inf
    return found if found >= 0 else math.inf


def crm_time(headers: Mapping[str, str]) -> float:
    """The CRM's clock at the time of the answer, in seconds since 1970: this machine's clock may be wrong."""
    date = _timestamp(headers.get("Date", ""))
    return time.time() if math.isnan(date) else date


def _seconds(value: str, headers: Mapping[str, str]) -> float:
    """From now. NaN if it is neither a number nor a date."""
    try:
        return float(value)
    except ValueError:
        return _timestamp(value) - crm_time(headers)


def _timestamp(value: str) -> float:
    """An HTTP date in seconds since 1970, NaN if it is not one."""
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return math.nan
    # The oldest of HTTP's three date formats names no zone. It is UTC too.
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def parse(body: bytes) -> Any:
    """Its JSON, or None if it is not JSON, not valid UTF-8, or nested too deeply.

    Invisible characters before it are ignored: PHP sends the byte order mark of each of its source files.
    """
    try:
        return _JSON.decode(body.decode("utf-8").lstrip(BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        return None


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not valid JSON")


_JSON = json.JSONDecoder(parse_constant=_no_json)
