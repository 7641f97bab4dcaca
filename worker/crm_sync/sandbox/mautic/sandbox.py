"""A fake Mautic: its contacts API, its logins and its limits over an account.

As read in mautic/mautic at 4.4.13 and 5.1.1: CommonApiController, ApiSubscriber and their tests. Guesses: the body for an expired
token, the answer of /users/self to a token, that X-RateLimit-Reset is in seconds since 1970, and that a duplicate id in one edit
changes nothing before it ends in an error 500.

Its database does not enforce unique addresses: a request sees the records that existed when it arrived, and writes `work_s`
later, as if PHP were working meanwhile. So two overlapping requests with the same new address create two records. The wait comes
before the request is applied as a whole; records that others created meanwhile are hidden from it.
"""

import asyncio
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from aiohttp import web

from crm_sync.sandbox.credentials import MAUTIC_PASSWORD, MAUTIC_USERNAME
from crm_sync.sandbox.limits import HOUR_S, Window
from crm_sync.sandbox.mautic import batches
from crm_sync.sandbox.mautic.account import DENIED, NOT_FOUND, Contact, ItemError, MauticAccount
from crm_sync.sandbox.mautic.login import TOKEN_PATH, Logins, MauticError
from crm_sync.sandbox.mautic.showing import details, shown_fields
from crm_sync.sandbox.server import Answer, Call, Sandbox

CONTACTS = "/api/contacts"
BATCH_LIMIT = 200  # the default of api_batch_max_limit
DEFAULT_PAGE = 30  # the default of default_pagelimit
ROUTES_OF_ONE = {("GET", ""), ("PATCH", "/edit"), ("PUT", "/edit"), ("DELETE", "/delete")}

_ONE = re.compile(rf"{CONTACTS}/([^/]+)(/edit|/delete|)")
_SEGMENT = re.compile(r"/api/segments/([0-9]+)/(?:contacts/add|contact/([0-9]+)/remove)")
_newest_seen: ContextVar[int | None] = ContextVar("newest_seen", default=None)


class MauticSandbox(Sandbox):
    """One installation. requests_per_hour: None is off, Mautic's default.

    work_s: seconds between the read and the write of a writing request. may_create: whether the API's user may create contacts.
    """

    def __init__(
        self,
        *,
        username: str = MAUTIC_USERNAME,
        password: str = MAUTIC_PASSWORD,
        client_id: str = "sandbox-client",
        client_secret: str = "sandbox-client-secret",  # noqa: S107 (of a fake)
        requests_per_hour: int | None = None,
        batch_limit: int = BATCH_LIMIT,
        port: int = 0,
        keep_log: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(port=port, keep_log=keep_log, clock=clock)
        self.logins = Logins(username, password, client_id, client_secret)
        self.account = MauticAccount()
        self.batch_limit = batch_limit
        self.work_s = 0.0
        self.may_create = True
        self.limit_breaches = 0
        self._hour = Window(requests_per_hour, HOUR_S)

    @property
    def contacts(self) -> dict[int, Contact]:
        return self.account.contacts

    def arrivals(self) -> list[tuple[str, float]]:
        """From the log: each email address in a body, and when it first arrived (seconds since 1970)."""
        first: dict[str, float] = {}
        for request in self.requests:
            items = request.body if isinstance(request.body, list) else [request.body]
            for email in (item.get("email") for item in items if isinstance(item, dict)):
                if isinstance(email, str):
                    first[email.lower()] = min(request.wall_s, first.get(email.lower(), request.wall_s))
        return list(first.items())

    def stats(self) -> dict[str, Any]:
        return {**super().stats(), "contacts": len(self.contacts), "limit_breaches": self.limit_breaches}

    def table(self, name: str) -> Sequence[Any] | None:
        match name:
            case "contacts":
                return [self._details(contact) for contact in self.contacts.values()]
            case "arrivals":
                return self.arrivals()
        return super().table(name)

    def throttled(self) -> Answer:
        """The answer of an hourly limit that ends in a second."""
        return self._too_many(self._hour.limit or 1000, 1.0)

    def refused(self) -> Answer:
        return _error(400, "This is a bad request.")

    def crashed(self) -> Answer:
        """The answer to an unhandled exception, to be used as a fault."""
        text = "Looks like I encountered an error (error #500). If I do it again, please report me to the system administrator!"
        return Answer(500, {"errors": [{"message": text, "code": 500, "type": None}]})

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        works = self.work_s > 0 and request.method != "GET" and request.path.startswith(CONTACTS)
        _newest_seen.set(self.account.last_id if works else None)
        if works:
            await asyncio.sleep(self.work_s)
        return await super().serve(request)

    def respond(self, call: Call) -> Answer:
        now_s = self.clock()
        try:
            self.logins.admit(call, now_s)
            if call.path == TOKEN_PATH:
                return self.logins.token(call, now_s)
        except MauticError as error:
            return Answer(error.status, error.body)
        if not self._admit(now_s):
            return self._too_many(self._hour.limit or 0, self._hour.ends_s - now_s)
        try:
            answer = self._route(call)
        except ItemError as error:
            answer = _error(error.code, error.message, error.details)
        return Answer(answer.status, answer.body, {**self._headers(now_s), **answer.headers})

    def _admit(self, now_s: float) -> bool:
        self._hour.renew(now_s)
        admits = self._hour.remaining() >= 1
        self._hour.used += admits
        self.limit_breaches += not admits
        return admits

    def _too_many(self, limit: int, pause_s: float) -> Answer:
        text = f"You exceeded the rate limit of {limit} API calls per hour."
        return Answer(429, {"errors": [{"code": 429, "message": text, "details": []}]}, _limit_headers(limit, 0, pause_s))

    def _headers(self, now_s: float) -> dict[str, str]:
        if self._hour.limit is None:
            return {"Mautic-Version": self.account.version}
        left = self._hour.limit - self._hour.used
        return {"Mautic-Version": self.account.version, **_limit_headers(self._hour.limit, left, self._hour.ends_s - now_s)}

    # Routes.

    def _route(self, call: Call) -> Answer:
        if isinstance(call.body, bytes):  # the framework's message; that Mautic passes it on like this is a guess
            raise ItemError(400, "Invalid json message received")
        newest_seen, last = _newest_seen.get(), self.account.last_id
        self.account.hidden = range(last + 1 if newest_seen is None else newest_seen + 1, last + 1)
        match call.method, call.path:
            case "GET", "/api/users/self":
                return Answer(200, {"id": 1, "username": self.logins.username, "firstName": "Ada", "lastName": "Example"})
            case "GET", ("/api/contacts" | "/api/fields/contact"):
                return self._list(call.query) if call.path == CONTACTS else self._fields(call.query)
            case "POST", "/api/contacts/new":
                return self._new(_item(call.body))
            case ("POST", "/api/contacts/batch/new") | (("PATCH" | "PUT"), "/api/contacts/batch/edit"):
                return self._batch(call)
            case "DELETE", "/api/contacts/batch/delete":
                return batches.delete(self.account, call.query)
        return self._other(call)

    def _other(self, call: Call) -> Answer:
        """Routes that contain an id."""
        if call.method == "POST" and (in_segment := _SEGMENT.fullmatch(call.path)):
            return self._segment(call, int(in_segment[1]), in_segment[2])
        found = _ONE.fullmatch(call.path)
        if found is None or (call.method, found[2]) not in ROUTES_OF_ONE:
            raise ItemError(404, f"Requested URL not found: {call.path}")
        return self._one(call, found[1])

    def _segment(self, call: Call, number: int, contact: str | None) -> Answer:
        """contact: the one that leaves; None if those in the body join."""
        members = self.account.segments.get(number)
        if members is None:
            raise ItemError(404, NOT_FOUND)
        if number in self.account.closed_segments:  # [ListModel, getUserLists]
            raise ItemError(403, DENIED)
        if contact is not None:
            if self.account.with_id(contact) is None:
                raise ItemError(404, NOT_FOUND)
            members.discard(int(contact))
            return Answer(200, {"success": 1})
        ids = _item(call.body).get("ids", [])
        there = {str(one): self.account.with_id(one) is not None for one in ids}
        members |= {int(one) for one, is_there in there.items() if is_there}
        return Answer(200, {"success": 1, "details": {one: {"success": is_there} for one, is_there in there.items()}})

    def _list(self, query: Mapping[str, str]) -> Answer:
        found = self.account.search(query)
        start, limit = (int(query.get(name, usual)) for name, usual in (("start", 0), ("limit", DEFAULT_PAGE)))
        page = {str(one.id): self._details(one) for one in found[start : start + limit if limit else None]}
        # The total comes from the database as text; the contacts are an object even if there are none.
        return Answer(200, {"total": str(len(found)), "contacts": page})

    def _fields(self, query: Mapping[str, str]) -> Answer:
        fields = shown_fields(self.account)
        start, limit = (int(query.get(name, usual)) for name, usual in (("start", 0), ("limit", DEFAULT_PAGE)))
        return Answer(200, {"total": len(fields), "fields": fields[start : start + limit]})

    def _new(self, item: Mapping[str, Any]) -> Answer:
        contact, is_new = self._add(item)
        headers = {"Location": f"{self.url}{CONTACTS}/{contact.id}"} if is_new else {}
        return Answer(201 if is_new else 200, {"contact": self._details(contact)}, headers)

    def _add(self, item: Mapping[str, Any]) -> tuple[Contact, bool]:
        if not self.may_create:
            raise ItemError(403, DENIED)
        return self.account.add(item)

    def _one(self, call: Call, identifier: str) -> Answer:
        contact = self.account.with_id(identifier)
        if contact is None and call.method != "PUT":
            raise ItemError(404, NOT_FOUND)
        status = 200
        if contact is None:
            contact, status = self.account.create(_item(call.body)), 201
        elif call.method == "DELETE":
            if contact.id in self.account.denied_ids:
                raise ItemError(403, DENIED)
            self.account.delete(contact)
            return Answer(200, {"contact": {**self._details(contact), "id": None}})
        elif call.method != "GET":
            contact = self.account.edit(contact, _item(call.body), put=call.method == "PUT")
        return Answer(status, {"contact": self._details(contact)})

    # Batches.

    def _batch(self, call: Call) -> Answer:
        items = [_item(one) for one in call.body] if isinstance(call.body, list) else []
        if len(items) > self.batch_limit:
            return _error(500, f"A max of {self.batch_limit} entities are supported at a time.")
        if call.path.endswith("new"):
            if not self.may_create:
                raise ItemError(403, DENIED)
            return batches.new(self.account, items)
        ids = [str(item["id"]) for item in items if "id" in item]
        if len(ids) > len(set(ids)):
            return self.crashed()
        return batches.edit(self.account, items, put=call.method == "PUT")

    def _details(self, contact: Contact) -> dict[str, Any]:
        return details(contact, self.account.fields)


def _limit_headers(limit: int, left: int, pause_s: float) -> dict[str, str]:
    numbers = {"Limit": limit, "Remaining": left, "Reset": math.ceil(time.time() + pause_s)}
    return {f"X-RateLimit-{name}": str(number) for name, number in numbers.items()}


def _item(body: object) -> Mapping[str, Any]:
    return body if isinstance(body, dict) else {}


def _error(status: int, message: str, problems: Mapping[str, list[str]] | None = None) -> Answer:
    return Answer(status, {"errors": [{"code": status, "message": message, "details": problems or [], "type": None}]})
