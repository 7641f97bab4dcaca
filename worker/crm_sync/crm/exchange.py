"""A request and its answer: as they go over the wire, and as people may see them.

What people see is masked in `crm_sync.crm.http`, where the keys are known. Types created for every request are named tuples.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl

from multidict import CIMultiDictProxy
from yarl import URL

from crm_sync.core.text import MASK
from crm_sync.crm.answer import Answer
from crm_sync.errors import LaneError

# Headers that are never credentials. A key can have any name, so all other headers are masked.
HARMLESS = frozenset({"accept", "accept-encoding", "content-type", "idempotency-key", "origin", "user-agent"})
FORM = "application/x-www-form-urlencoded"
SCHEMES = ("basic", "bearer")
HARMLESS_OF_A_LOGIN = frozenset({"grant_type"})


class Request(NamedTuple):
    """What is sent. body: the exact bytes. login: it requests a token, so its body and its answer are secret.

    once: it is not an upsert, so it must not be repeated before checking whether it took effect.
    """

    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes | None = None
    login: bool = False
    once: bool = False


class Response(NamedTuple):
    """The answer, byte for byte. flaw: why the body, of which this is the beginning, is incomplete."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    flaw: LaneError | None = None


Wire = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Shown:
    """A request as people may see it: without keys. body: None if there is none."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str | None
    login: bool


class Witness(Protocol):
    """Sees every request as it starts, and then its answer, or why there is none."""

    def asked(self, request: Shown) -> None: ...

    def answered(self, said: Answer | LaneError) -> None: ...


@dataclass(frozen=True, slots=True)
class Said:
    """A made-up answer in the vendor's format. json: the body."""

    status: int
    json: Any


@dataclass(frozen=True, slots=True)
class Assumption:
    """What a CRM may know about a contact, and its answers in that case: to the first request, to the second. For `crm-sync
    preview`.

    words: begin with "if". A request without an answer here is the last one shown.
    """

    words: str
    answers: Sequence[Said]


def shown(request: Request, masked: Callable[[bytes], bytes]) -> Shown:
    """masked: removes keys from a URL or a body. Those in headers and logins are known by their position."""

    def text(value: str) -> str:
        return masked(value.encode("utf-8", errors="replace")).decode("utf-8", errors="replace")

    body = request.body
    if body is None:
        shown_body = None
    elif request.login and request.headers.get("Content-Type") != FORM:
        shown_body = MASK
    elif request.login:
        fields = parse_qsl(body.decode(), keep_blank_values=True)
        shown_body = "&".join(f"{name}={value if name in HARMLESS_OF_A_LOGIN else MASK}" for name, value in fields)
    else:
        shown_body = masked(body).decode("utf-8", errors="replace")
    headers = {name: text(value) if name.lower() in HARMLESS else _credential(value) for name, value in request.headers.items()}
    return Shown(request.method, text(str(request.url)), headers, shown_body, request.login)


def _credential(value: str) -> str:
    """The kind of credential is shown: it answers half the questions about a 401."""
    scheme, _, rest = value.partition(" ")
    return f"{scheme} {MASK}" if rest and scheme.lower() in SCHEMES else MASK
