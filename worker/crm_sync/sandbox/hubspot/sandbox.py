"""A fake HubSpot: its routes, token, scopes and limits over an account.

Verified with HubSpot's OpenAPI: routes, statuses, and required members of bodies. Captured or measured by others: error messages,
207 with trace ids, 429 without Retry-After. Guesses are marked as such.
"""

import itertools
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from crm_sync.sandbox.credentials import HUBSPOT_TOKEN
from crm_sync.sandbox.hubspot import beside
from crm_sync.sandbox.hubspot.account import Contact, HubSpotAccount, now
from crm_sync.sandbox.hubspot.batches import SHOWN_BY_DEFAULT, Batches, record, texts
from crm_sync.sandbox.hubspot.errors import HubSpotError
from crm_sync.sandbox.hubspot.limits import Limits
from crm_sync.sandbox.hubspot.properties import properties
from crm_sync.sandbox.server import Answer, Call, Sandbox

CONTACTS = "/crm/v3/objects/contacts"
DATED = re.compile(r"/crm/objects/([0-9]{4}-[0-9]{2})/contacts")
ENFORCES_FROM = "2026-09"
READ_SCOPE, WRITE_SCOPE, ACCOUNT_SCOPE = "crm.objects.contacts.read", "crm.objects.contacts.write", "oauth"
LARGEST_PAGE = 100
DEFAULT_PAGE = 10
NO_ROUTE = b"<html><head><title>404</title></head><body>HTTP ERROR 404</body></html>"  # a guess


class HubSpotSandbox(Sandbox):
    """One account. The limits are those of a private app on Free or Starter; None is off.

    path: of the contacts; /crm/v3/..., or one of a date-based version. scopes: those of the token.
    """

    def __init__(
        self,
        *,
        token: str = HUBSPOT_TOKEN,
        path: str = CONTACTS,
        requests_per_ten_seconds: int | None = 100,
        requests_per_day: int | None = 250_000,
        seed: int = 0,
        port: int = 0,
        keep_log: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(port=port, keep_log=keep_log, clock=clock)
        self.token = token
        self.path = path
        self.scopes = {READ_SCOPE, WRITE_SCOPE, ACCOUNT_SCOPE}
        self.account = HubSpotAccount()
        date = match[1] if (match := DATED.fullmatch(path)) else None
        version = date or "v3"
        # HubSpot answers under each version; here only under the version of the path, so that mixing them is detected.
        self.properties_path = f"/crm/properties/{date}/contacts" if date else "/crm/v3/properties/contacts"
        self.details_path = f"/account-info/{version}/details"
        self.usage_path = f"/account-info/{version}/api-usage/daily/private-apps"
        self.account.enforces = date is not None and date >= ENFORCES_FROM
        self.batches = Batches(self.account, seed)
        self.limits = Limits(requests_per_ten_seconds, requests_per_day)
        self._correlations = itertools.count(1)

    @property
    def contacts(self) -> dict[str, Contact]:
        return self.account.contacts

    @property
    def limit_breaches(self) -> int:
        return self.limits.breaches

    def arrivals(self) -> list[tuple[str, float]]:
        """From the log: each email address in a body, and when it first arrived (seconds since 1970)."""
        first: dict[str, float] = {}
        for request in self.requests:
            for email in _emails(request.body):
                first[email] = min(request.wall_s, first.get(email, request.wall_s))
        return list(first.items())

    def stats(self) -> dict[str, Any]:
        return {**super().stats(), "contacts": len(self.contacts), "limit_breaches": self.limit_breaches}

    def table(self, name: str) -> Sequence[Any] | None:
        match name:
            case "contacts":
                return [record(contact, {*SHOWN_BY_DEFAULT, *contact.properties}) for contact in self.contacts.values()]
            case "arrivals":
                return self.arrivals()
        return super().table(name)

    def throttled(self) -> Answer:
        """A 429 of the ten-second limit, to be used as a fault, whatever the limits are. HubSpot does not say
        how long to wait.
        """
        return self._answer(429, _too_many("TEN_SECONDLY_ROLLING"))

    def refused(self) -> Answer:
        return self._answer(400, HubSpotError(400, "VALIDATION_ERROR", "Property values were not valid: []").body)

    def respond(self, call: Call) -> Answer:
        now_s = self.clock()
        try:
            self._authorise(call)
            if policy := self.limits.broken_policy(now_s):
                answer = self._answer(429, _too_many(policy))
            else:
                answer = self._answer(*self._route(call))
        except HubSpotError as error:
            answer = self._answer(error.status, error.body)
        return Answer(answer.status, answer.body, {**answer.headers, **self.limits.headers(now_s)})

    def _answer(self, status: int, body: Any) -> Answer:
        """Every answer has a correlation id; errors also have it in the body."""
        number = next(self._correlations)
        correlation = f"01a0d038-933c-7ace-b4af-{number:012x}"
        headers = {"X-HubSpot-Correlation-Id": correlation}
        if isinstance(body, bytes):
            headers["Content-Type"] = "text/html"
        elif status >= 400:
            body = {**body, "correlationId": correlation}
        return Answer(status, body, headers)

    def _authorise(self, call: Call) -> None:
        if call.headers.get("Authorization") != f"Bearer {self.token}":
            message = (
                "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more"
                " details at https://developers.hubspot.com/docs/methods/auth/oauth-overview"
            )
            raise HubSpotError(401, "INVALID_AUTHENTICATION", message)
        reads = call.method == "GET" or call.path.endswith("/batch/read")
        needed = ACCOUNT_SCOPE if call.path in (self.details_path, self.usage_path) else READ_SCOPE if reads else WRITE_SCOPE
        needed = beside.scope(call.path) or needed
        if needed not in self.scopes:
            message = "One or more of the following scopes are required."
            context = {"requiredGranularScopes": [needed], "links": ["https://developers.hubspot.com/scopes"]}
            raise HubSpotError(403, "MISSING_SCOPES", message, context=context)

    def _route(self, call: Call) -> tuple[int, Any]:
        if call.method == "GET" and (said := self._of_account(call.path)) is not None:
            return said
        if beside.scope(call.path) is not None:
            return beside.route(self.account, call.path, dict(call.query), call.body)
        if call.path == self.path:
            return self._all(call)
        if call.path == f"{self.path}/gdpr-delete":
            return self._erase(call)
        collection, _, name = call.path.removeprefix(f"{self.path}/").rpartition("/")
        if not call.path.startswith(f"{self.path}/") or collection not in ("", "batch"):
            return 404, NO_ROUTE
        return self._batch(call, name) if collection else self._one(call, name)

    def _of_account(self, path: str) -> tuple[int, Any] | None:
        if path.startswith(self.properties_path):
            return self._properties(path.removeprefix(self.properties_path).lstrip("/"))
        if path == self.details_path:
            return 200, self._details()
        return (200, self._usage()) if path == self.usage_path else None

    def _properties(self, name: str) -> tuple[int, Any]:
        """All, or one. The message for a missing one is a guess."""
        shown = properties(self.account)
        if not name:
            return 200, shown
        for one in shown["results"]:
            if one["name"] == name:
                return 200, one
        raise HubSpotError(404, "OBJECT_NOT_FOUND", f"No property exists with name: {name}")

    def _batch(self, call: Call, name: str) -> tuple[int, Any]:
        operations = {
            "upsert": self.batches.upsert,
            "create": self.batches.create,
            "update": self.batches.update,
            "read": self.batches.read,
            "archive": self.batches.archive,
        }
        if name not in operations:
            return 404, NO_ROUTE
        if call.method != "POST":
            raise _wrong_method()
        return operations[name](call.body)

    def _all(self, call: Call) -> tuple[int, Any]:
        if call.method == "POST":
            contact = self.account.apply(self.account.plan(None, texts(call.body), {}))
            return 201, record(contact, {*SHOWN_BY_DEFAULT, *contact.properties})
        if call.method == "GET":
            return self._page(call)
        raise _wrong_method()

    def _one(self, call: Call, key: str) -> tuple[int, Any]:
        if call.method not in ("GET", "PATCH", "DELETE"):
            raise _wrong_method()
        contact = self.account.find(key, call.query.get("idProperty"))
        if call.method == "DELETE":
            if contact is not None:
                self.account.archive(contact)
            return 204, None
        if contact is None:
            raise HubSpotError(404, None, "resource not found")
        if call.method == "GET":
            return 200, record(contact, _names(call))
        write = self.account.plan(contact, texts(call.body), {})
        return 200, record(self.account.apply(write), {*SHOWN_BY_DEFAULT, *write.values})

    def _erase(self, call: Call) -> tuple[int, Any]:
        """By id or by address: an address that no contact has is blocked permanently. That an unknown id is answered with 404 is
        a guess.
        """
        if call.method != "POST":
            raise _wrong_method()
        body = call.body if isinstance(call.body, dict) else {}
        key = body.get("objectId")
        if not isinstance(key, str) or not key:
            raise HubSpotError(400, "VALIDATION_ERROR", "Invalid input", context={"objectId": ["must not be empty"]})
        by_email = body.get("idProperty") == "email"
        contact = self.account.by_email(key) if by_email else self.account.by_id(key)
        if contact is not None:
            self.account.erase(contact)
        elif by_email:
            self.account.blocked.add(key.strip().lower())
        else:
            raise HubSpotError(404, "OBJECT_NOT_FOUND", "resource not found")
        return 204, None

    def _page(self, call: Call) -> tuple[int, Any]:
        """In the order of their ids."""
        limit, after = call.query.get("limit", str(DEFAULT_PAGE)), call.query.get("after", "0")
        if not (limit.isdecimal() and after.isdecimal() and 0 < int(limit) <= LARGEST_PAGE):
            raise HubSpotError(400, "VALIDATION_ERROR", f"limit must be from 1 to {LARGEST_PAGE}, after an id")
        left = [contact for contact in self.contacts.values() if int(contact.id) > int(after)]
        page = left[: int(limit)]
        body: dict[str, Any] = {"results": [record(contact, _names(call)) for contact in page]}
        if len(left) > len(page):
            link = f"{self.url}{self.path}?limit={limit}&after={page[-1].id}"
            body["paging"] = {"next": {"after": page[-1].id, "link": link}}
        return 200, body

    def _details(self) -> dict[str, Any]:
        return {
            "portalId": self.account.portal,
            "accountType": "STANDARD",
            "timeZone": "Europe/Paris",
            "companyCurrency": "EUR",
            "additionalCurrencies": [],
            "utcOffset": "+01:00",
            "utcOffsetMilliseconds": 3_600_000,
            "uiDomain": "app.hubspot.com",
            "dataHostingLocation": "eu1",
        }

    def _usage(self) -> dict[str, Any]:
        usage = {
            "name": "private-apps-api-calls-daily",
            "usageLimit": self.limits.per_day,
            "currentUsage": self.limits.used_today,
            "collectedAt": now(),
            "fetchStatus": "SUCCESS",
            "resetsAt": now(),
        }
        return {"results": [usage]}


def _names(call: Call) -> Sequence[str]:
    """The requested properties."""
    return call.query["properties"].split(",") if "properties" in call.query else SHOWN_BY_DEFAULT


def _too_many(policy: str) -> dict[str, Any]:
    """Not in the format of other errors: errorType, and no category."""
    return {
        "status": "error",
        "message": f"You have reached your {policy.lower()} limit.",
        "errorType": "RATE_LIMIT",
        "policyName": policy,
        "groupName": "publicapi:private-apps:sandbox",
    }


def _wrong_method() -> HubSpotError:
    """Its body is a guess."""
    return HubSpotError(405, None, "HTTP 405 Method Not Allowed")


def _emails(body: Any) -> list[str]:
    """Those written by a body, in lower case."""
    inputs = body.get("inputs", [body]) if isinstance(body, dict) else []
    found = []
    for item in inputs if isinstance(inputs, list) else []:
        properties = item.get("properties") if isinstance(item, dict) else None
        email = properties.get("email") if isinstance(properties, dict) else None
        email = email or (item.get("id") if isinstance(properties, dict) and item.get("idProperty") == "email" else None)
        if isinstance(email, str) and email:
            found.append(email.strip().lower())
    return found
