"""Requests and answers for people: head and body, without anything that a terminal interprets."""

import json
import re
from collections.abc import Iterator, Mapping

from crm_sync.core.text import INVISIBLE
from crm_sync.crm.answer import Answer
from crm_sync.crm.exchange import Shown
from crm_sync.errors import LaneError

MOST_LINES = 24  # of an answer
MOST_CHARACTERS = 3000

# All except the newline, which is ours. Escaped as in JSON, so that a JSON body stays valid.
_OBEYED = re.compile(rf"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff{INVISIBLE}]")


def harmless(text: str) -> str:
    return _OBEYED.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    number = ord(match.group())
    return f"\\u{number:04x}" if number < 0x10000 else json.dumps(match.group())[1:-1]


def request_lines(request: Shown, before: Mapping[str, str] | None = None) -> Iterator[str]:
    """before: the headers of the previous request, which are not repeated."""
    yield f"{request.method} {request.url}"
    told = before or {}
    yield from (f"  {name}: {value}" for name, value in sorted(request.headers.items()) if told.get(name) != value)
    if request.headers.items() & told.items():
        yield "  (and the headers above)"
    if request.body is not None:
        yield ""
        yield from (f"  {line}" for line in pretty(request.body).splitlines())


def answer_lines(said: Answer | LaneError, *, login: bool = False) -> Iterator[str]:
    """login: the answer contains a token, which is hidden."""
    if isinstance(said, LaneError):
        yield f"no answer: {said}"
        return
    yield f"answered {said.label}"
    if login:
        yield "  (a token, not shown)" if said.status < 300 else "  (not shown)"
    elif said.text.strip():
        yield from (f"  {line}" for line in _cut(pretty(said.text)))


def pretty(text: str) -> str:
    """JSON is pretty-printed; anything else is unchanged."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _cut(text: str) -> Iterator[str]:
    lines = text[:MOST_CHARACTERS].splitlines()
    yield from lines[:MOST_LINES]
    if len(lines) > MOST_LINES or len(text) > MOST_CHARACTERS:
        yield f"... (truncated; {len(text):,} characters in all)"
