"""listmonk, one subscriber per request [listmonk.app/docs/apis/subscribers, and cmd/subscribers.go of versions 4 to 6].

A new subscriber takes one request, an existing one two or three: listmonk's PUT replaces name, attributes and lists, so the
record is read first and merged. Lists are left unchanged: a person who has left one is not added again.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold
from crm_sync.core.outcome import Contact, Deletion, Outcome
from crm_sync.core.remote_schema import ANY, WRITTEN, RemoteField, RemoteSchema
from crm_sync.crm.answer import Answer, foreign, is_foreign, quoted, usable
from crm_sync.crm.client import Client
from crm_sync.crm.exchange import Assumption, Said
from crm_sync.crm.http import Http
from crm_sync.errors import OutageError, RefusedError

SUBSCRIBERS = "/api/subscribers"
CHECK = "check LISTMONK_URL, the address of listmonk without /api"
KEYS = "check LISTMONK_USERNAME and LISTMONK_TOKEN, and the permissions of that API user"
# Names of unique constraints in listmonk's schema: a PUT with another subscriber's address is answered with 500.
TAKEN = ("subscribers_email_key", "idx_subs_email")


class Listmonk(Client):
    """One installation. list_id: the list that new subscribers are added to."""

    def __init__(self, http: Http, *, list_id: int | None = None) -> None:
        self._http = http
        self._list_id = list_id

    async def deliver(self, contacts: Sequence[Contact]) -> list[Outcome]:
        [contact] = contacts  # batch_limit is 1
        known = await self._read(contact.remote_id) if contact.remote_id else None
        if known is None:
            body = self._new(contact)
            answer = await self._ask("POST", SUBSCRIBERS, body)
            if answer.status != 409:
                return [_outcome(answer, body)]
            known = await self._search(contact.email or "")
        if known is None:
            words = "listmonk has this address, and does not show it: give its API user the permission subscribers:get_all"
            return [Outcome.rejected(Code.DUPLICATE, words)]
        body = _changed(known, contact)
        return [_outcome(await self._ask("PUT", f"{SUBSCRIBERS}/{known['id']}", body), body)]

    async def find(self, emails: Sequence[str]) -> list[str | None]:
        [email] = emails  # delete_limit is 1
        known = await self._search(email)
        return [None if known is None else str(known["id"])]

    async def delete(self, deletions: Sequence[Deletion]) -> list[Outcome]:
        [deletion] = deletions
        answer = await self._ask("DELETE", f"{SUBSCRIBERS}/{deletion.remote_id}")
        if answer.status == 200 and answer.get("data") is True:  # also for a missing one
            return [Outcome.delivered(None)]
        if answer.status == 200:
            raise _broken(answer)
        return [Outcome.rejected(Code.REJECTED, f"listmonk did not delete the subscriber ({answer.label}: {quoted(answer)})")]

    async def schema(self) -> RemoteSchema:
        """Attributes have any name and any value."""
        name = RemoteField("name", "text", WRITTEN)
        return RemoteSchema("listmonk", "attribute", {"name": name}, others=RemoteField("attribute", "JSON value", ANY, ANY))

    async def check(self) -> str:
        if not isinstance(_data(await self._ask("GET", SUBSCRIBERS, per_page="1")).get("total"), int):
            raise RefusedError(Code.NOT_FOUND, f"what answers is not listmonk: {CHECK}")
        if self._list_id is None:
            return "token accepted"
        # For a list that does not exist, a subscriber is silently created without a list.
        answer = await self._ask("GET", f"/api/lists/{self._list_id}")
        if answer.status != 200 or _data(answer).get("id") != self._list_id:
            raise RefusedError(Code.MISCONFIGURED, f"listmonk has no list {self._list_id}: check LISTMONK_LIST_ID")
        return f"token accepted, list {self._list_id} is there"

    def assumptions(self, contact: Contact) -> list[Assumption]:
        known = {"id": 1, "email": contact.email, "name": "as it is", "status": "enabled", "attribs": {}, "lists": []}
        written, found = Said(200, {"data": known}), Said(200, {"data": {"results": [known], "total": 1}})
        if contact.remote_id:
            return [Assumption("if listmonk still has the subscriber", [written, written])]
        taken = Assumption("if listmonk has the address", [Said(409, {"message": "E-mail already exists."}), found, written])
        return [Assumption("if listmonk does not have the address", [written]), taken]

    def _new(self, contact: Contact) -> dict[str, Any]:
        name, attribs = _parts(contact)
        lists = [] if self._list_id is None else [self._list_id]
        return {"email": contact.email, "name": name or "", "status": "enabled", "attribs": attribs, "lists": lists}

    async def _read(self, remote_id: str) -> dict[str, Any] | None:
        answer = await self._ask("GET", f"{SUBSCRIBERS}/{remote_id}")
        return (
            None if answer.status in (400, 404) else _subscriber(_data(answer), answer)
        )  # listmonk answers 400 for a missing one

    async def _search(self, email: str) -> dict[str, Any] | None:
        """`search` is a regular expression over names and addresses; `query`, which is SQL, needs another permission."""
        answer = await self._ask("GET", SUBSCRIBERS, search=f"^{re.escape(fold(email))}$")
        results = _data(answer).get("results")
        if not isinstance(results, list):
            raise _broken(answer)
        found = [_subscriber(one, answer) for one in results]
        return next((one for one in found if fold(one["email"]) == fold(email)), None)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: str) -> Answer:
        """Any answer by listmonk itself about the contact. Raises LaneError."""
        answer = await self._http.send(method, path, body, query=query)
        if answer.status == 500 and any(name in answer.said("message") for name in TAKEN):
            return answer
        usable(answer, body, check=CHECK, keys=KEYS)
        if is_foreign(answer, own=isinstance(answer.get("message"), str)):
            raise foreign(answer, body, whose="listmonk's", check=CHECK)
        if answer.status in (404, 405) and method != "GET":
            raise RefusedError(Code.NOT_FOUND, f"what answered {answer.status} is not listmonk's API: {CHECK}")
        return answer


def _parts(contact: Contact) -> tuple[Any, dict[str, Any]]:
    """The name and the attributes. Empty fields stay unchanged in listmonk."""
    attribs = dict(contact.filled)
    return attribs.pop("name", None), attribs


def _changed(known: Mapping[str, Any], contact: Contact) -> dict[str, Any]:
    name, attribs = _parts(contact)
    return {
        "email": contact.email,
        "name": name if name is not None else known["name"],
        "status": known["status"],
        "attribs": known["attribs"] | attribs,
        "lists": [one["id"] for one in known["lists"]],
    }


def _outcome(answer: Answer, body: Mapping[str, Any]) -> Outcome:
    if answer.status == 200:
        subscriber = _subscriber(_data(answer), answer)
        if fold(subscriber["email"]) != fold(body["email"]):
            raise _broken(answer)
        return Outcome.delivered(str(subscriber["id"]))
    if answer.status in (409, 500):
        return Outcome.rejected(Code.DUPLICATE, f"another subscriber has this address ({answer.label})")
    return Outcome.rejected(Code.REJECTED, f"listmonk refused the contact ({answer.label}: {quoted(answer, body)})")


def _data(answer: Answer) -> dict[str, Any]:
    data = answer.get("data")
    if answer.status != 200 or not isinstance(data, dict):
        raise _broken(answer)
    return data


def _subscriber(value: object, answer: Answer) -> dict[str, Any]:
    """The parts of a record that are used, as listmonk returns them. With only half of them, a PUT would remove the rest."""
    kinds = {"id": int, "email": str, "name": str, "status": str, "attribs": dict, "lists": list}
    if not isinstance(value, dict) or any(type(value.get(name)) is not kind for name, kind in kinds.items()):
        raise _broken(answer)
    if any(not isinstance(one, dict) or type(one.get("id")) is not int for one in value["lists"]):
        raise _broken(answer)
    return value


def _broken(answer: Answer) -> OutageError:
    return OutageError(Code.BROKEN_ANSWER, f"listmonk answered {answer.label}, and not what it documents")
