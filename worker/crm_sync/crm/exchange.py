"""A request and what came of it: as they go over the wire, and as a person may see them.

What a person sees is masked where the keys are known, in `crm_sync.crm.http`, before it leaves there. Named tuples, where one is
made for every request.
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

# Headers that are no credentials, no matter who sends them. A key can have any name, so all others are masked.
HARMLESS = frozenset({"accept", "accept-encoding", "content-type", "idempotency-key", "origin", "user-agent"})
FORM = "application/x-www-form-urlencoded"
SCHEMES = ("basic", "bearer")
HARMLESS_OF_A_LOGIN = frozenset({"grant_type"})


class Request(NamedTuple):
    """What is sent. body: the very bytes. login: it asks for a token, so that its body and the answer to it are secrets.

    once: it is no upsert, so that it must not be repeated before somebody has looked whether it took effect.
    """

    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes | None = None
    login: bool = False
    once: bool = False


class Response(NamedTuple):
    """What is answered, byte by byte. flaw: why there is no whole body, of which this is the beginning."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    flaw: LaneError | None = None


Wire = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Shown:
    """A request as a person may see it: no keys. body: None if there is none."""

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
    """An answer as a vendor gives it, made up. json: the body."""

    status: int
    json: Any


@dataclass(frozen=True, slots=True)
class Assumption:
    """What a CRM may know of a contact, and would answer then: to the first request, to the second. For `crm-sync preview`.

    words: begin with "if". A request that has no answer here is the last that is shown.
    """

    words: str
    answers: Sequence[Said]


def shown(request: Request, masked: Callable[[bytes], bytes]) -> Shown:
    """masked: takes the keys out that a URL or a body holds. Those of headers and logins are known by where they stand."""

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
    """Which kind it is may be seen: half the questions about a 401 are answered by it."""
    scheme, _, rest = value.partition(" ")
    return f"{scheme} {MASK}" if rest and scheme.lower() in SCHEMES else MASK
