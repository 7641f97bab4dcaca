"""Answers that no CRM documents but every CRM sends one day: HTML pages, truncated bodies, other types, and data about somebody
else.

Each is a function of the CRM's own answer. Those in REPLACED are sent instead of it, and the request takes no effect; those in
MANGLED modify it after the request took effect.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from crm_sync.sandbox.server import Answer, Call

Odd = Callable[[Answer], Answer]

STRANGER = "stranger@example.org"
DEEP = 100_000
HUGE_BYTES = 5 * 1024 * 1024  # more than is read of one answer

PAGE = b"<!DOCTYPE html><html><body><h1>Sign in to the network</h1></body></html>"
_HTML = {"Content-Type": "text/html"}
_JSON = {"Content-Type": "application/json"}


def _page(status: int) -> Odd:
    return lambda _: Answer(status, PAGE, _HTML)


def _said(body: bytes, status: int = 200) -> Odd:
    return lambda _: Answer(status, body, _JSON)


REPLACED: Mapping[str, Odd] = {
    "a page instead of JSON": _page(200),
    "a page that says not found": _page(404),
    "a page of a firewall": _page(403),
    "nothing": _said(b""),
    "null": _said(b"null"),
    "an empty list": _said(b"[]"),
    "an empty object": _said(b"{}"),
    "a text": _said(b'"ok"'),
    "a number": _said(b"7"),
    "true": _said(b"true"),
    "half of it": _said(b'{"data": {"id": 1, "ema'),
    "a number that JSON has not": _said(b'{"id": NaN, "data": {"id": Infinity}}'),
    "what is not UTF-8": _said(b'{"id": 1, "email": "\xff\xfe"}'),
    "lists within lists": _said(b"[" * DEEP + b"]" * DEEP),
    "megabytes": _said(b'{"data": "' + b"x" * HUGE_BYTES + b'"}'),
}


def _leaves(change: Callable[[Any], Any]) -> Odd:
    return lambda own: _with(own, lambda value: _each_leaf(value, change))


def _lists(change: Callable[[list[Any]], list[Any]]) -> Odd:
    return lambda own: _with(own, lambda value: _each_list(value, change))


def _with(own: Answer, change: Callable[[Any], Any]) -> Answer:
    return own if own.body is None or isinstance(own.body, bytes) else Answer(own.status, change(own.body), own.headers)


def _each_leaf(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, Mapping):
        return {name: _each_leaf(member, change) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_each_leaf(member, change) for member in value]
    return change(value)


def _each_list(value: Any, change: Callable[[list[Any]], list[Any]]) -> Any:
    if isinstance(value, Mapping):
        return {name: _each_list(member, change) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return change([_each_list(member, change) for member in value])
    return value


def _estranged(value: Any) -> Any:
    return STRANGER if isinstance(value, str) and "@" in value else value


def _with_a_stranger(members: list[Any]) -> list[Any]:
    return [*members, *(_each_leaf(member, _estranged) for member in members[-1:])]


MANGLED: Mapping[str, Odd] = {
    "no member of any list": _lists(lambda _: []),
    "all but one of each list": _lists(lambda members: members[:-1]),
    "one more in each list": _lists(_with_a_stranger),
    "lists in another order": _lists(lambda members: members[::-1]),
    "the address of somebody else": _leaves(_estranged),
    "null instead of each value": _leaves(lambda _: None),
    "an object instead of each value": _leaves(lambda value: {"value": value}),
    "a list instead of each value": _leaves(lambda value: [value]),
}


def quoting(call: Call | None) -> bytes:
    """What a debug page shows: the request, with its key and the person's data."""
    said = "" if call is None else f"{dict(call.headers)} {dict(call.query)} {call.path} {call.body}"
    return json.dumps({"message": said, "error": said, "errors": [{"message": said}]}).encode()
