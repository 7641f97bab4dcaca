"""Brevo, one contact per request.

Each contact is a separate upsert: POST with updateEnabled; or, if the row has Brevo's id, a lookup of the contact and a PUT by
that id, so that a changed email address does not create a second record. The lookup costs a request, but ensures that nobody is
subscribed against their will: Brevo removes a contact from its blocklist when its address is updated [Brevo, "Update a contact"],
so an address is sent only if it has changed, and then with its current blocklisting.

Why no batches: POST /contacts/batch never creates, fails as a whole for one unknown contact, and is deprecated from 30 October
2026 on [Brevo's changelog, 2026-05-12]. POST /contacts/import does both, 8 MB per request, some 50,000 contacts. One by one, a
million new contacts take 28 hours at the 10 requests a second (36,000 an hour) of a General account, or 14 at the 20 of an
Advanced one; the import would save that. It is not used because it cannot deliver what each row is promised. It answers 202 and a
processId, and reports on contacts only in CSV files, so a row would learn neither its id nor why it failed. It requires a list.
Its progress can be polled once in 36 seconds, because /processes shares 100 requests an hour with everything else, or is sent to
a public URL: a flip would take minutes. To start with a million contacts, import them in Brevo, and let crm-sync keep them in
step.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold
from crm_sync.core.mode import Mode, already_there, not_there
from crm_sync.core.outcome import Contact, Deletion, Outcome
from crm_sync.core.rate import Remaining, parse
from crm_sync.core.remote_schema import RemoteField, RemoteSchema
from crm_sync.crm.account import Account, over_http
from crm_sync.crm.answer import Answer
from crm_sync.crm.brevo import likeness
from crm_sync.crm.brevo.assumptions import assumptions
from crm_sync.crm.brevo.draft import Draft, There, id_in, is_id, there_in
from crm_sync.crm.brevo.lists import JOINED, LEFT, Lists, in_words, named, without
from crm_sync.crm.brevo.refusals import (
    is_missing,
    is_taken,
    judged,
    not_brevo,
    refusal,
    refused_attributes,
    said,
    speaks_of_a_list,
    unknown_list,
)
from crm_sync.crm.brevo.schema import schema
from crm_sync.crm.brevo.settings import BrevoSettings
from crm_sync.crm.client import Client, Found, Held, Record
from crm_sync.crm.emptied import still_there
from crm_sync.crm.exchange import Assumption
from crm_sync.crm.http import Http
from crm_sync.crm.values import BREVO
from crm_sync.environment import read
from crm_sync.errors import LaneError

DEFAULT_FIELDS = {"FIRSTNAME": "first_name", "LASTNAME": "last_name", "SMS": "phone"}
# Limits of /contacts, for the whole account [Brevo, API limits, 2026-08]. For Extended only the first number is known; the hourly
# limit is derived from it.
LIMITS = {
    "general": "10/s 36000/h",
    "advanced": "20/s 72000/h",
    "extended": "60/s 216000/h",
}
_WINDOWS = {str(window.limit): window.seconds for limits in LIMITS.values() for window in parse(limits)}  # seconds by limit


def account() -> Account | None:
    """None without a key. Raises ConfigurationError that names a wrong setting."""
    settings = read(BrevoSettings)
    key = settings.brevo_api_key
    if key is None:
        return None
    return over_http(
        "brevo",
        partial(Brevo, list_id=settings.brevo_list_id, mode=settings.brevo_mode, match=settings.brevo_match),
        url_setting="BREVO_BASE_URL",
        base_url=settings.brevo_base_url,
        headers={"api-key": key.get_secret_value()},
        default_fields=DEFAULT_FIELDS,
        forms=BREVO,
        limits=LIMITS[settings.brevo_plan],
        remaining=_remaining,
        required={"EXT_ID": "BREVO_MATCH"} if settings.brevo_match == "ext_id" else {},
        record_url="https://app.brevo.com/contact/index/{id}",  # the form of links used by Brevo's own app and integrations
    )


def _remaining(headers: Mapping[str, str]) -> list[Remaining]:
    """Brevo does not say which window it means. Each plan has a different limit, and the remaining time is never longer than the
    window.
    """
    seconds, left = _WINDOWS.get(headers.get("x-sib-ratelimit-limit", "")), headers.get("x-sib-ratelimit-remaining", "")
    return [Remaining(seconds, int(left))] if seconds is not None and left.isdecimal() else []


class Brevo(Client):
    """One Brevo account."""

    batch_limit = 1
    concurrency = 16
    read_members = BREVO.members.keys()

    def __init__(self, http: Http, *, list_id: int | None = None, mode: Mode = Mode.UPSERT, match: str = "email") -> None:
        """list_id: the list that delivered contacts are added to. match: ext_id, for contacts that have one."""
        self._http = http
        self._list_id = list_id
        self._lists = Lists(self._look_at_list)
        self._mode = mode
        self._by_ext_id = match == "ext_id"
        self._attributes: Mapping[str, RemoteField] = {}  # once they have been requested

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Outcome]:
        return [await self._upsert(contact) for contact in contacts]

    def assumptions(self, contact: Contact) -> Sequence[Assumption]:
        if self._mode is Mode.CREATE:
            return ()
        draft = Draft(contact, self.if_empty, self._attributes)
        return assumptions(contact, sorted(draft.reserved), by_ext_id=self._by_ext_id and "EXT_ID" in draft.fields)

    async def find(self, emails: Sequence[str]) -> Sequence[Found]:
        return [await self._find(email) for email in emails]

    async def read(self, contacts: Sequence[Contact], names: Sequence[str]) -> Sequence[Held]:
        """One request each; two if the id no longer exists."""
        return [await self._read(contact, names) for contact in contacts]

    def same(self, field: RemoteField | None, name: str, sent: Any, held: Any) -> bool | None:
        member = BREVO.member(name)
        return likeness.same(field, name.upper(), sent, held) if member is None else likeness.same_member(member, sent, held)

    async def delete(self, deletions: Sequence[Deletion]) -> Sequence[Outcome]:
        """Permanently in any case: Brevo cannot restore contacts. [Brevo, "Delete a contact"]"""
        return [await self._delete(deletion) for deletion in deletions]

    async def check(self) -> str:
        """From the contacts' rate limit: /account allows 100 requests an hour for everything on the account."""
        answer = await self._request("GET", "/contacts", limit="1")
        if answer.status != 200 or not isinstance(answer.get("contacts"), list):
            raise not_brevo(answer)
        if self._list_id is None:
            return "key accepted"
        await self._find_list(self._list_id)
        return f"key accepted, list {self._list_id} found"

    async def schema(self) -> RemoteSchema:
        """Also from the contacts' rate limit."""
        answer = await self._request("GET", "/contacts/attributes")
        found = schema(answer)
        if found is None:
            raise not_brevo(answer)
        answer.confirm()
        self._attributes = found.fields
        return found

    async def _find(self, email: str) -> Found:
        answer = await self._get_contact(email, "email_id")
        if is_missing(answer) or (record := id_in(answer)) is None:
            return None if is_missing(answer) else refusal(answer)
        answer.confirm()
        return record

    async def _read(self, contact: Contact, names: Sequence[str]) -> Held:
        looks = [(contact.remote_id, "contact_id")] if contact.remote_id and is_id(contact.remote_id) else []
        looks += [(address, "email_id")] if (address := (contact.email or "").strip()) else []
        for identifier, kind in looks:
            answer = await self._get_contact(identifier, kind)
            if is_missing(answer):
                continue
            there, attributes = there_in(answer), answer.get("attributes")
            if there is None or not isinstance(attributes, dict):
                return refusal(answer)
            answer.confirm()
            addresses = frozenset({there.email} if there.email else ())
            return Record(addresses, _values(answer, attributes, names))
        return None

    async def _delete(self, deletion: Deletion) -> Outcome:
        if not is_id(deletion.remote_id):
            return Outcome.rejected(Code.REJECTED, "the id of the contact is not a valid id of Brevo")
        path = f"/contacts/{deletion.remote_id}"
        answer = await self._request("DELETE", path, identifierType="contact_id")
        if answer.status != 204 and not is_missing(answer):
            return refusal(answer)
        answer.confirm()
        return Outcome.delivered(None)

    async def _upsert(self, contact: Contact) -> Outcome:
        draft = Draft(contact, self.if_empty, self._attributes)
        before = await self._look(draft)
        if isinstance(before, Outcome):
            return before
        written = await self._written(draft, before)
        if isinstance(written, Outcome):
            return written
        remote_id, before = written
        if missing := self._lists.missing(draft.members):
            draft.notes += without(missing)
            draft.left |= {member for member in (JOINED, LEFT) if not set(missing).isdisjoint(draft.members.get(member, ()))}
        outcome, emptied = draft.outcome(remote_id, before), draft.emptied(before)
        if not emptied or remote_id is None or contact.remote_id not in (remote_id, None):
            return outcome
        kept = await self._empty(remote_id, emptied, blanked=before is not None)
        return still_there(outcome, "Brevo", [name for name in contact.emptied if name.upper() in kept])

    async def _look(self, draft: Draft) -> There | Outcome | None:
        """The contact to write. None if it is to be created; an Outcome if nothing is to be written."""
        for identifier, kind in self._looks(draft):
            answer = await self._get_contact(identifier, kind)
            there = there_in(answer)
            # A 404 means that it was deleted in Brevo since, and is created again.
            if answer.status != 404 and there is None:
                return refusal(answer)
            if there is not None:
                answer.confirm()
                return there
        return not_there("Brevo") if self._mode is Mode.UPDATE else None

    def _looks(self, draft: Draft) -> list[tuple[str, str]]:
        """The identifiers by which the contact is looked up before it is written, tried in order until it is found."""
        if self._mode is Mode.CREATE:
            return []
        remote_id, ext_id = draft.contact.remote_id, draft.fields.get("EXT_ID") if self._by_ext_id else None
        # Anything but an id could change the path: two dots mean the parent folder.
        by_id = [(remote_id, "contact_id")] if remote_id and is_id(remote_id) else []
        by_id += [(str(ext_id), "ext_id")] if ext_id is not None and str(ext_id) not in (".", "..") else []
        return [*by_id, (draft.email, "email_id")] if self._mode is Mode.UPDATE or draft.reserved else by_id

    async def _written(self, draft: Draft, there: There | None) -> tuple[str | None, There | None] | Outcome:
        """Writes it. Returns its id, and the contact that was there before; or why it was not written."""
        members = self._lists.there(draft.members)
        while body := self._body(draft, there, members):
            answer = await self._write(there, body)
            if answer.status == 204 or id_in(answer) is not None:
                answer.confirm()
                return await self._id_of(draft, there, answer), there
            if speaks_of_a_list(answer) and await self._lists.look(named(members)):
                members = self._lists.there(draft.members)
            elif shared := refused_attributes(answer) & draft.attributes(there).keys():
                draft.leave(shared, said(answer))
            elif answer.status == 404 and there is not None and self._mode is not Mode.UPDATE:
                there = None  # deleted since the lookup
            elif is_taken(answer) and self._mode is not Mode.CREATE and body.get("updateEnabled") is False:
                # Created since the lookup, by somebody else.
                if (there := there_in(await self._get_contact(draft.email, "email_id"))) is None:
                    return Outcome.failed(Code.TOO_EARLY, f"Brevo has this address, but does not find it yet ({answer.label})")
            else:
                return await self._refused(draft, there, answer, body)
        return there and there.id, there

    async def _id_of(self, draft: Draft, there: There | None, answer: Answer) -> str | None:
        """The id of a contact that was just written."""
        if answer.status != 204:
            return id_in(answer)
        if there is not None:
            return there.id
        remote_id = await self._find_id(draft.email)
        if stayed := await self._leave(remote_id, draft.members):
            draft.notes += stayed
            draft.left.add(LEFT)
        return remote_id

    async def _refused(self, draft: Draft, there: There | None, answer: Answer, body: Mapping[str, Any]) -> Outcome:
        if answer.status == 404 and there is not None:
            return not_there("Brevo")
        if self._mode is Mode.CREATE and is_taken(answer):
            return already_there("Brevo", draft.contact, await self._find_id(draft.email))
        await self._refuse_an_unknown_list(answer)
        return refusal(answer, body)

    def _body(self, draft: Draft, there: There | None, members: Mapping[str, Any]) -> dict[str, Any]:
        """The body to write: empty if the contact exists and nothing is known about it except its address."""
        attributes = draft.attributes(there)
        # A contact created since the lookup may have a value that must not be overwritten.
        updates = self._mode is not Mode.CREATE and not draft.reserves(attributes)
        body: dict[str, Any] = {}
        if (ext_id := attributes.pop("EXT_ID", None)) is not None:
            body["ext_id"] = str(ext_id)
        if there is None:
            # Whether getId saves the lookup of the id, or is only for merges, is not documented; it does no harm.
            body |= {"email": draft.email, "updateEnabled": updates, "getId": True}
        elif there.email != fold(draft.email):
            attributes["EMAIL"] = draft.email
            if there.is_blocklisted:
                body["emailBlacklisted"] = True
        if attributes:
            body["attributes"] = attributes
        # The row outweighs the setting.
        of_all = [self._list_id] if self._list_id is not None and self._list_id not in members.get(LEFT, ()) else []
        joined = [*of_all, *members.get(JOINED, ())]
        # The consent in the row takes precedence over the existing one. A POST cannot remove a contact from a list.
        body |= {name: value for name, value in members.items() if name not in (JOINED, LEFT)}
        if joined:
            body[JOINED] = list(dict.fromkeys(joined))
        if there is not None and members.get(LEFT):
            body[LEFT] = members[LEFT]
        return body

    async def _leave(self, remote_id: str | None, wanted: Mapping[str, Any]) -> list[str]:
        """Removes a contact that was updated by POST from lists, which a POST cannot do. Returns the note for the row if it stays
        on them.

        Raises as a request does.
        """
        while lists := self._lists.there(wanted).get(LEFT):
            if remote_id is None:
                return [f"the contact was not taken off {in_words(lists)}: Brevo did not say its id"]
            query = {"identifierType": "contact_id"}
            body = {LEFT: lists}
            answer = judged(await self._http.send("PUT", f"/contacts/{remote_id}", body, query=query, writes=()), body)
            if answer.status == 204:
                answer.confirm()
                break
            if not (speaks_of_a_list(answer) and await self._lists.look(lists)):
                return [f"Brevo did not take the contact off {in_words(lists)} ({answer.label}: {said(answer)})"]
        return []

    async def _empty(self, remote_id: str, names: Collection[str], *, blanked: bool) -> Collection[str]:
        """Checks whether these attributes are empty now, and which are not. blanked: they were emptied by the previous write;
        otherwise by a separate write, for a contact that was found by its address.
        """
        try:
            there = there_in(await self._get_contact(remote_id, "contact_id"))
            if there is None:
                return names
            body = {"attributes": dict.fromkeys(sorted(there.held(names)), "")}
            if blanked or not body["attributes"]:
                return body["attributes"]
            if (await self._write(there, body)).status != 204:
                return names
        except LaneError:
            return names
        return await self._empty(remote_id, names, blanked=True)

    async def _write(self, there: There | None, body: Mapping[str, Any]) -> Answer:
        if there is None:
            return await self._request("POST", "/contacts", body)
        return await self._request("PUT", f"/contacts/{there.id}", body, identifierType="contact_id")

    async def _find_id(self, email: str) -> str | None:
        """An update returns no body. The contact counts as delivered whether its id is found or not."""
        try:
            return id_in(await self._get_contact(email, "email_id"))
        except LaneError:
            return None

    async def _get_contact(self, identifier: str, identifier_type: str) -> Answer:
        return await self._request("GET", f"/contacts/{quote(identifier, safe='')}", identifierType=identifier_type)

    async def _refuse_an_unknown_list(self, answer: Answer) -> None:
        """Raises RefusedError if that is the cause.

        Brevo's message for a missing list is not documented, and a message about lists may be about this contact alone. So the
        list itself is looked up.
        """
        if self._list_id is not None and speaks_of_a_list(answer):
            await self._find_list(self._list_id)

    async def _find_list(self, list_id: int) -> None:
        """Raises RefusedError if there is none. Also from the contacts' rate limit."""
        answer = await self._look_at_list(list_id)
        if answer.status in (400, 404):
            raise unknown_list(list_id, answer)
        if answer.status != 200 or answer.get("id") != list_id:
            raise not_brevo(answer)

    async def _look_at_list(self, list_id: int) -> Answer:
        return await self._request("GET", f"/contacts/lists/{list_id}")

    async def _request(self, method: str, path: str, body: object = None, **query: str) -> Answer:
        return judged(await self._http.send(method, path, body, query=query), body)


def _values(answer: Answer, attributes: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """By the names of the mapping. A list to leave is compared with the lists that the contact is on."""
    members = BREVO.members_among(names)
    return {
        name: answer.get(JOINED if members[name] == LEFT else members[name]) if name in members else attributes.get(name.upper())
        for name in names
    }
