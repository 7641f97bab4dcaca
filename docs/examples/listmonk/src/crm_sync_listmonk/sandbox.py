"""A fake listmonk: what it stores, and what it refuses. `python -m crm_sync_listmonk.sandbox` serves one.

As read in listmonk 4 to 6: cmd/subscribers.go, internal/core/subscribers.go, internal/auth/auth.go, queries.sql.
"""

import base64
import re
from typing import Any

from crm_sync.testing import Answer, Call, RoutedSandbox, route, serve

USERNAME, TOKEN = "crm-sync", "sandbox-token-0123456789"
LONGEST_NAME = 2000  # stdInputMaxLen, only for a PUT
DUPLICATE = 'pq: duplicate key value violates unique constraint "subscribers_email_key". Key (email)=({}) already exists.'

_EMAIL = re.compile(r"[^\s@<>]+@[^\s@<>]+")


class ListmonkSandbox(RoutedSandbox):
    """subscribers: by id. lists: names, by id. blocked: domains whose addresses it refuses."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.subscribers: dict[int, dict[str, Any]] = {}
        self.lists = {1: "Default list"}
        self.blocked: set[str] = set()
        self._last_id = 0

    def admits(self, call: Call) -> Answer | None:
        """API users authenticate with `token NAME:TOKEN` or basic authentication. Otherwise 403, not 401."""
        scheme, _, key = call.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            key = base64.b64decode(key).decode()
        return None if key == f"{USERNAME}:{TOKEN}" else self.error(403, "invalid API credentials")

    @route("GET", "/api/subscribers")
    def query(self, call: Call) -> Answer:
        pattern = re.compile(call.query.get("search", ""), re.IGNORECASE)
        found = [one for one in self.subscribers.values() if pattern.search(one["name"]) or pattern.search(one["email"])]
        results = [self._shown(one) for one in found[: int(call.query.get("per_page", 20))]]
        return Answer(200, {"data": {"results": results, "total": len(found), "per_page": 20, "page": 1}})

    @route("POST", "/api/subscribers")
    def create(self, call: Call) -> Answer:
        if refusal := self._refusal(call.body):
            return refusal
        email = call.body["email"].lower()
        if self._by_email(email):
            return self.error(409, "E-mail already exists.")
        self._last_id += 1
        name = call.body.get("name", "").strip() or email.partition("@")[0].replace(".", " ").title()
        lists = dict.fromkeys((number for number in call.body.get("lists") or [] if number in self.lists), "unconfirmed")
        one = {"id": self._last_id, "email": email, "name": name, "status": call.body.get("status") or "enabled"}
        self.subscribers[self._last_id] = one | {"attribs": call.body.get("attribs") or {}, "lists": lists}
        return self.read(call, str(self._last_id))

    @route("GET", "/api/subscribers/{number}")
    def read(self, call: Call, number: str) -> Answer:
        one = self._found(number)
        return Answer(200, {"data": self._shown(one)}) if one else self.error(400, f"Subscriber ({number}: ) not found")

    @route("PUT", "/api/subscribers/{number}")
    def replace(self, call: Call, number: str) -> Answer:
        """Attributes and lists that are not sent are removed."""
        one = self._found(number)
        if refusal := self._refusal(call.body):
            return refusal
        if one is None:
            return self.error(400, f"Subscriber (0: {call.body['email']}) not found")
        if len(call.body.get("name", "")) > LONGEST_NAME:
            return self.error(400, "Invalid length for `name`.")
        email = call.body["email"].lower()
        if self._by_email(email) not in (None, one):
            return self.error(500, f"Error updating subscriber: {DUPLICATE.format(email)}")
        kept = {
            number: one["lists"].get(number, "unconfirmed") for number in call.body.get("lists") or [] if number in self.lists
        }
        one |= {"email": email, "attribs": call.body.get("attribs") or {}, "lists": kept}
        one |= {name: call.body[name].strip() for name in ("name", "status") if call.body.get(name)}
        return self.read(call, number)

    @route("DELETE", "/api/subscribers/{number}")
    def delete(self, call: Call, number: str) -> Answer:
        if not number.isdecimal() or number == "0":
            return self.error(400, "Invalid ID(s)")
        self.subscribers.pop(int(number), None)
        return Answer(200, {"data": True})

    @route("GET", "/api/lists/{number}")
    def show_list(self, call: Call, number: str) -> Answer:
        name = self.lists.get(int(number))
        return Answer(200, {"data": {"id": int(number), "name": name}}) if name else self.error(400, "List not found")

    def _refusal(self, body: Any) -> Answer | None:
        texts = isinstance(body, dict) and all(isinstance(body.get(name, ""), str) for name in ("email", "name", "status"))
        if not texts or not isinstance(body.get("attribs", {}), dict):
            return self.error(400, "Unmarshal type error")
        if not _EMAIL.fullmatch(body.get("email", "").strip()):
            return self.error(400, "Invalid e-mail.")
        if body["email"].rpartition("@")[2].lower() in self.blocked:
            return self.error(400, "The e-mail domain is blocklisted.")
        return None

    def _found(self, number: str) -> dict[str, Any] | None:
        return self.subscribers.get(int(number)) if number.isdecimal() else None

    def _by_email(self, email: str) -> dict[str, Any] | None:
        return next((one for one in self.subscribers.values() if one["email"] == email), None)

    def _shown(self, one: dict[str, Any]) -> dict[str, Any]:
        lists = [{"id": number, "subscription_status": status} for number, status in one["lists"].items()]
        return {**one, "uuid": f"00000000-0000-4000-8000-{one['id']:012}", "lists": lists}


if __name__ == "__main__":
    serve(ListmonkSandbox())
