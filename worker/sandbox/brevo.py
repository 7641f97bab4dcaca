"""A fake Brevo (API v3): its routes, key and limits over an account.

`python -m worker.sandbox.brevo` runs it as a process of its own: it prints one JSON line with its url and
serves until SIGTERM.
"""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import uvloop

from worker.sandbox.brevo_account import BrevoAccount, BrevoError, Contact
from worker.sandbox.brevo_limits import HOUR_S, Limit, Window
from worker.sandbox.server import HOST, Answer, Call, Sandbox

KEY = "xkeysib-sandbox"
CONTACTS = "/v3/contacts"
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
        key: str = KEY,
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
        """From the log: each email address in a body, and when it first came (seconds since 1970)."""
        first: dict[str, float] = {}
        for request in self.requests:
            if isinstance(request.body, dict) and isinstance(email := request.body.get("email"), str):
                first[email.lower()] = min(request.wall_s, first.get(email.lower(), request.wall_s))
        return list(first.items())

    def stats(self) -> dict[str, Any]:
        return {**super().stats(), "contacts": len(self.contacts), "limit_breaches": self.limit_breaches}

    def table(self, name: str) -> Sequence[Any] | None:
        match name:
            case "contacts":
                return [_details(contact) for contact in self.contacts.values()]
            case "arrivals":
                return self.arrivals()
        return super().table(name)

    def respond(self, call: Call) -> Answer:
        now_s = self.clock()
        limit = self.contacts_limit if call.path.startswith(CONTACTS) else self.others_limit
        try:
            self._authorise(call)
            if not limit.admit(now_s):
                # The body of a real 429 is not known.
                raise BrevoError(429, "too_many_requests", "The limit of requests has been reached")  # noqa: TRY301
            status, body = self._route(call)
        except BrevoError as error:
            status, body = error.status, error.body
        return Answer(status, body, limit.headers(now_s))

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
        if call.path.startswith(f"{CONTACTS}/"):
            return self._one(call, call.path.removeprefix(f"{CONTACTS}/"))
        match call.method, call.path:
            case "POST", "/v3/contacts":
                return self._save(_body(call))
            case "GET", "/v3/contacts":
                return self._page(call)
            case "GET", "/v3/account":
                return 200, ACCOUNT_DETAILS
            case _, "/v3/contacts" | "/v3/account":
                raise BrevoError(405, "method_not_allowed", "Method not allowed")
        raise BrevoError(404, "document_not_found", "Route does not exist")

    def _one(self, call: Call, identifier: str) -> tuple[int, Any]:
        if call.method not in {"GET", "PUT", "DELETE"}:
            raise BrevoError(405, "method_not_allowed", "Method not allowed")
        contact = self.account.find(identifier, call.query.get("identifierType"))
        if call.method == "GET":
            return 200, _details(contact) | {"statistics": {}}
        if call.method == "PUT":
            self.account.update(contact, _body(call))
        else:
            self.account.delete(contact)
        return 204, None

    def _save(self, body: dict[str, Any]) -> tuple[int, Any]:
        contact, is_new = self.account.save(body)
        if is_new:
            return 201, {"id": contact.id}
        if self.id_after_update and body.get("getId") is True:
            return 200, {"id": contact.id}
        return 204, None

    def _page(self, call: Call) -> tuple[int, Any]:
        """A page of contacts, the newest first as Brevo sorts them."""
        limit, offset = call.query.get("limit", str(DEFAULT_PAGE)), call.query.get("offset", "0")
        if not (limit.isdecimal() and offset.isdecimal()):
            raise BrevoError(400, "invalid_parameter", "limit and offset should be type number")
        if int(limit) > LARGEST_PAGE:
            raise BrevoError(400, "out_of_range", f"limit exceeds {LARGEST_PAGE}")
        newest_first = list(reversed(self.contacts.values()))
        page = newest_first[int(offset) : int(offset) + int(limit)]
        return 200, {"contacts": [_details(contact) for contact in page], "count": len(self.contacts)}


ACCOUNT_DETAILS = {
    "organization_id": "sandbox",
    "user_id": 1,
    "enterprise": False,
    "companyName": "Example Ltd",
    "email": "owner@example.com",
    "firstName": "Ada",
    "lastName": "Example",
    "address": {"street": "1 Example Street", "city": "Exampleton", "zipCode": "00000", "country": "France"},
    "plan": [{"type": "free", "credits": 300, "creditsType": "sendLimit"}],
    "relay": {"enabled": False},
}


def _body(call: Call) -> dict[str, Any]:
    if not isinstance(call.body, dict):
        raise BrevoError(400, "bad_request", "The body should be a JSON object")
    return call.body


def _details(contact: Contact) -> dict[str, Any]:
    return {
        "id": contact.id,
        "email": contact.email,
        "emailBlacklisted": False,
        "smsBlacklisted": False,
        "whatsappBlacklisted": False,
        "createdAt": _time(contact.created),
        "modifiedAt": _time(contact.modified),
        "listIds": sorted(contact.list_ids),
        "attributes": contact.attributes,
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _numbers(_: click.Context, __: click.Parameter, text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",") if number]
    except ValueError as error:
        raise click.BadParameter("numbers with commas between them, such as 1,2") from error


async def _serve_until_stopped(sandbox: BrevoSandbox) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with sandbox:
        click.echo(json.dumps({"url": sandbox.url}))
        await stopped.wait()


@click.command()
@click.option("--port", default=0, help="0 takes a free one.", show_default=True)
@click.option("--key", default=KEY, help="The API key it accepts.", show_default=True)
@click.option("--no-limit", is_flag=True, help="Answers any number of requests.")
@click.option("--list", "list_ids", default="", callback=_numbers, help="Ids of the account's lists, such as 1,2.")
def main(port: int, key: str, no_limit: bool, list_ids: list[int]) -> None:
    """Serves a fake Brevo on loopback."""
    limits: dict[str, Any] = {}
    if no_limit:
        limits = {"contacts_per_second": None, "contacts_per_hour": None, "others_per_hour": None}
    uvloop.run(_serve_until_stopped(BrevoSandbox(port=port, key=key, list_ids=list_ids, **limits)))


if __name__ == "__main__":
    main()
