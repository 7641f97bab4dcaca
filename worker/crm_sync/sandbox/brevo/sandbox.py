"""A fake Brevo (API v3): its routes, key and limits over an account."""

import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from crm_sync.sandbox.brevo.account import BrevoAccount, Contact
from crm_sync.sandbox.brevo.errors import BrevoError
from crm_sync.sandbox.brevo.limits import Limit
from crm_sync.sandbox.credentials import BREVO_KEY
from crm_sync.sandbox.limits import HOUR_S, Window
from crm_sync.sandbox.server import HOST, Answer, Call, Sandbox

CONTACTS = "/v3/contacts"
LISTS = "/v3/contacts/lists"
# The body of a real 429 is not known.
TOO_MANY = (429, "too_many_requests", "The limit of requests has been reached")
DEFAULT_PAGE = 50
LARGEST_PAGE = 1000


class BrevoSandbox(Sandbox):
    """One account. The limits are those of a General one (developers.brevo.com/docs/api-limits); None is off.

    unknown_ip: the key is right, but the caller's address is not among the authorised IPs. id_after_update: a
    POST with getId that updates answers 200 and the id; whether Brevo does so is not known, so it is off.
    """

    def __init__(
        self,
        *,
        key: str = BREVO_KEY,
        list_ids: Collection[int] = (),
        contacts_per_second: int | None = 10,
        contacts_per_hour: int | None = 36_000,
        others_per_hour: int | None = 100,
        port: int = 0,
        keep_log: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(port=port, keep_log=keep_log, clock=clock)
        self.key = key
        self.account = BrevoAccount(list_ids)
        self.unknown_ip = False
        self.id_after_update = False
        self.contacts_limit = Limit(Window(contacts_per_second, 1), Window(contacts_per_hour, HOUR_S))
        self.others_limit = Limit(Window(others_per_hour, HOUR_S))

    @property
    def contacts(self) -> dict[int, Contact]:
        return self.account.contacts

    @property
    def limit_breaches(self) -> int:
        return self.contacts_limit.breaches + self.others_limit.breaches

    def arrivals(self) -> list[tuple[str, float]]:
        """From the log: each email address in a body, and when it first arrived (seconds since 1970)."""
        first: dict[str, float] = {}
        for request in self.requests:
            if isinstance(request.body, dict) and isinstance(email := request.body.get("email"), str):
                first[email.lower()] = min(request.wall_s, first.get(email.lower(), request.wall_s))
        return list(first.items())

    def refused(self) -> Answer:
        return Answer(400, BrevoError(400, "invalid_parameter", "Invalid email address").body)

    def stats(self) -> dict[str, Any]:
        return {**super().stats(), "contacts": len(self.contacts), "limit_breaches": self.limit_breaches}

    def table(self, name: str) -> Sequence[Any] | None:
        match name:
            case "contacts":
                return [self._details(contact) for contact in self.contacts.values()]
            case "arrivals":
                return self.arrivals()
        return super().table(name)

    def respond(self, call: Call) -> Answer:
        now_s = self.clock()
        limit = self.contacts_limit if call.path.startswith(CONTACTS) else self.others_limit
        try:
            self._authorise(call)
            if not limit.admit(now_s):
                raise BrevoError(*TOO_MANY)  # noqa: TRY301
            status, body = self._route(call)
        except BrevoError as error:
            status, body = error.status, error.body
        return Answer(status, body, limit.headers(now_s))

    def throttled(self) -> Answer:
        """A 429 that says to wait a second, to be used as a fault, whatever the limits are."""
        headers = {"x-sib-ratelimit-limit": "10", "x-sib-ratelimit-remaining": "0", "x-sib-ratelimit-reset": "1"}
        return Answer(429, BrevoError(*TOO_MANY).body, headers)

    def _authorise(self, call: Call) -> None:
        if call.headers.get("api-key") != self.key:
            raise BrevoError(401, "unauthorized", "Key not found")
        if self.unknown_ip:
            raise BrevoError(
                401,
                "unauthorized",
                f"We have detected you are using an unrecognised IP address {HOST}. If you performed this"
                " action make sure to add the new IP address in this link:"
                " https://app.brevo.com/security/authorised_ips",
            )

    def _route(self, call: Call) -> tuple[int, Any]:
        if call.method == "GET" and call.path == f"{CONTACTS}/attributes":
            return 200, {"attributes": self.account.shown_attributes()}
        if call.path.startswith(f"{LISTS}/"):
            return self._list(call, call.path.removeprefix(f"{LISTS}/"))
        if call.path.startswith(f"{CONTACTS}/"):
            return self._one(call, call.path.removeprefix(f"{CONTACTS}/"))
        match call.method, call.path:
            case "POST", "/v3/contacts":
                return self._save(_body(call))
            case "GET", "/v3/contacts":
                return self._page(call)
            case "GET", "/v3/account":
                return 200, {**ACCOUNT_DETAILS, "organization_id": self.account.organization}
            case _, "/v3/contacts" | "/v3/account":
                raise BrevoError(405, "method_not_allowed", "Method not allowed")
        raise BrevoError(404, "document_not_found", "Route does not exist")

    def _one(self, call: Call, identifier: str) -> tuple[int, Any]:
        if call.method not in {"GET", "PUT", "DELETE"}:
            raise BrevoError(405, "method_not_allowed", "Method not allowed")
        contact = self.account.find(identifier, call.query.get("identifierType"))
        if call.method == "GET":
            return 200, self._details(contact) | {"statistics": {}}
        if call.method == "PUT":
            self.account.update(contact, _body(call))
        else:
            self.account.delete(contact)
        return 204, None

    def _list(self, call: Call, identifier: str) -> tuple[int, Any]:
        if call.method != "GET":
            raise BrevoError(405, "method_not_allowed", "Method not allowed")
        if not identifier.isdecimal() or int(identifier) not in self.account.list_ids:
            # The status is documented, the message is not.
            raise BrevoError(404, "document_not_found", "List ID does not exist")
        subscribers = [contact for contact in self.contacts.values() if int(identifier) in contact.list_ids]
        blocklisted = [contact for contact in subscribers if contact.is_blocklisted]
        return 200, LIST_DETAILS | {
            "id": int(identifier),
            "name": f"List {identifier}",
            "totalSubscribers": len(subscribers),
            "uniqueSubscribers": len(subscribers),
            "totalBlacklisted": len(blocklisted),
        }

    def _save(self, body: dict[str, Any]) -> tuple[int, Any]:
        contact, is_new = self.account.save(body)
        if is_new:
            return 201, {"id": contact.id}
        if self.id_after_update and body.get("getId") is True:
            return 200, {"id": contact.id}
        return 204, None

    def _page(self, call: Call) -> tuple[int, Any]:
        """A page of contacts, newest first, as Brevo sorts them."""
        limit, offset = call.query.get("limit", str(DEFAULT_PAGE)), call.query.get("offset", "0")
        if not (limit.isdecimal() and offset.isdecimal()):
            raise BrevoError(400, "invalid_parameter", "limit and offset should be type number")
        if int(limit) > LARGEST_PAGE:
            raise BrevoError(400, "out_of_range", f"limit exceeds {LARGEST_PAGE}")
        newest_first = list(reversed(self.contacts.values()))
        page = newest_first[int(offset) : int(offset) + int(limit)]
        return 200, {"contacts": [self._details(contact) for contact in page], "count": len(self.contacts)}

    def _details(self, contact: Contact) -> dict[str, Any]:
        return {
            "id": contact.id,
            "email": self.account.shown_email(contact),
            "emailBlacklisted": contact.is_blocklisted,
            "smsBlacklisted": contact.is_sms_blocklisted,
            "whatsappBlacklisted": False,
            "createdAt": _time(contact.created),
            "modifiedAt": _time(contact.modified),
            "listIds": sorted(contact.list_ids),
            "attributes": contact.attributes,
        }


ACCOUNT_DETAILS = {
    "user_id": 1,
    "enterprise": False,
    "companyName": "Example Ltd",
    "email": "owner@example.com",
    "firstName": "Ada",
    "lastName": "Example",
    "address": {"street": "1 Example Street", "city": "Exampleton", "zipCode": "00000", "country": "France"},
    "plan": [{"type": "free", "credits": 300, "creditsType": "sendLimit"}],
    "relay": {"enabled": False, "data": {"userName": "owner@example.com", "relay": "smtp-relay.example.com", "port": 587}},
}

LIST_DETAILS = {"folderId": 1, "createdAt": "2026-01-01T00:00:00.000Z", "dynamicList": False}


def _body(call: Call) -> dict[str, Any]:
    if not isinstance(call.body, dict):
        raise BrevoError(400, "bad_request", "The body should be a JSON object")
    return call.body


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
