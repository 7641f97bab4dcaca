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

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from crm_sync.core.codes import Code
from crm_sync.core.mode import Mode
from crm_sync.core.outcome import Contact, Deletion, Outcome
from crm_sync.core.rate import Remaining, parse
from crm_sync.core.remote_schema import RemoteField, RemoteSchema
from crm_sync.crm.account import Account, over_http
from crm_sync.crm.answer import Answer
from crm_sync.crm.brevo import likeness
from crm_sync.crm.brevo.assumptions import assumptions
from crm_sync.crm.brevo.delivery import Delivery
from crm_sync.crm.brevo.draft import Draft, id_in, there_in
from crm_sync.crm.brevo.identifiers import EXT_ID, PHONE, Identifiers, is_id
from crm_sync.crm.brevo.lists import JOINED, LEFT, Lists
from crm_sync.crm.brevo.refusals import is_missing, not_brevo, refusal
from crm_sync.crm.brevo.requests import Requests
from crm_sync.crm.brevo.schema import schema
from crm_sync.crm.brevo.settings import BrevoSettings
from crm_sync.crm.client import Client, Found, Held, Record
from crm_sync.crm.exchange import Assumption
from crm_sync.crm.http import Http
from crm_sync.crm.values import BREVO
from crm_sync.environment import read

API_HOST = "api.brevo.com"
# The form of links used by Brevo's own app and integrations. What a sandbox holds is not there.
RECORD_URL = "https://app.brevo.com/contact/index/{id}"
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
        partial(
            Brevo,
            list_id=settings.brevo_list_id,
            mode=settings.brevo_mode,
            match=settings.brevo_match,
            phone_only=settings.brevo_phone_only,
        ),
        url_setting="BREVO_BASE_URL",
        base_url=settings.brevo_base_url,
        headers={"api-key": key.get_secret_value()},
        default_fields=DEFAULT_FIELDS,
        forms=BREVO,
        limits=LIMITS[settings.brevo_plan],
        remaining=_remaining,
        required=_required(settings),
        record_url=RECORD_URL if urlsplit(settings.brevo_base_url).hostname == API_HOST else None,
    )


def _required(settings: BrevoSettings) -> dict[str, str]:
    by_ext_id = {EXT_ID: "BREVO_MATCH"} if settings.brevo_match == "ext_id" else {}
    return by_ext_id | ({PHONE: "BREVO_PHONE_ONLY"} if settings.brevo_phone_only else {})


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

    def __init__(
        self,
        http: Http,
        *,
        list_id: int | None = None,
        mode: Mode = Mode.UPSERT,
        match: str = "email",
        phone_only: bool = False,
    ) -> None:
        """list_id: the list that delivered contacts are added to. match: ext_id, for contacts that have one. phone_only: contacts
        without an address are known by their phone numbers.
        """
        self._identifiers = Identifiers(match == "ext_id", phone_only)
        self.without_address = self._identifiers.without_address
        self.matched_by = self._identifiers.fields
        self._requests = Requests(http)
        self._lists = Lists(self._requests, list_id)
        self._list_id = list_id
        self._mode = mode
        self._delivery = Delivery(self._requests, self._lists, mode, self._identifiers)
        self._attributes: Mapping[str, RemoteField] = {}  # once they have been requested

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Outcome]:
        return [await self._delivery.of(self._draft(contact)) for contact in contacts]

    def key(self, contact: Contact) -> str | None:
        return self._identifiers.key(contact)

    def also_known_by(self, contact: Contact) -> str | None:
        return self._identifiers.ext_id(contact)

    def assumptions(self, contact: Contact) -> Sequence[Assumption]:
        return () if self._mode is Mode.CREATE else assumptions(self._draft(contact))

    async def find(self, emails: Sequence[str]) -> Sequence[Found]:
        return [await self._find(email) for email in emails]

    async def locate(self, contacts: Sequence[Contact]) -> Sequence[Found]:
        """One request each; two for those with an address whose ext_id Brevo does not have."""
        return [await self._locate(self._draft(contact)) for contact in contacts]

    async def read(self, contacts: Sequence[Contact], names: Sequence[str]) -> Sequence[Held]:
        """One request each; two if the id no longer exists."""
        return [await self._read(contact, names) for contact in contacts]

    def joined(self, contact: Contact) -> Mapping[str, Any]:
        own = {member: value for name, value in contact.filled.items() if (member := BREVO.member(name)) is not None}
        return {} if self._list_id in (None, *own.get(LEFT, ())) else {JOINED: [self._list_id]}

    def same(self, field: RemoteField | None, name: str, sent: Any, held: Any) -> bool | None:
        member = BREVO.member(name)
        return likeness.same(field, name.upper(), sent, held) if member is None else likeness.same_member(member, sent, held)

    async def delete(self, deletions: Sequence[Deletion]) -> Sequence[Outcome]:
        """Permanently in any case: Brevo cannot restore contacts. [Brevo, "Delete a contact"]"""
        return [await self._delete(deletion) for deletion in deletions]

    async def check(self) -> str:
        """From the contacts' rate limit: /account allows 100 requests an hour for everything on the account."""
        answer = await self._requests.first_page()
        if answer.status != 200 or not isinstance(answer.get("contacts"), list):
            raise not_brevo(answer)
        return f"key accepted, list {self._list_id} found" if await self._lists.require() else "key accepted"

    async def account(self) -> str | None:
        """The organization. At most a hundred times an hour. [SDK: AccountApi; developers.brevo.com/docs/api-limits]"""
        answer = await self._requests.account()
        organization = answer.get("organization_id")
        if answer.status != 200 or not isinstance(organization, str) or not organization:
            return None
        answer.confirm()
        return f"organization {organization}"

    async def schema(self) -> RemoteSchema:
        """Also from the contacts' rate limit."""
        answer = await self._requests.attributes()
        found = schema(answer)
        if found is None:
            raise not_brevo(answer)
        answer.confirm()
        self._attributes = found.fields
        return found

    def _draft(self, contact: Contact) -> Draft:
        return Draft(contact, self._identifiers, self.if_empty, self._attributes)

    async def _find(self, email: str) -> Found:
        answer = await self._requests.look(email, "email_id")
        if is_missing(answer) or (record := id_in(answer)) is None:
            return None if is_missing(answer) else refusal(answer)
        answer.confirm()
        return record

    async def _locate(self, draft: Draft) -> Found:
        for known_by in draft.identifiers:
            answer = await self._requests.look(known_by.value, known_by.kind)
            if is_missing(answer):
                continue
            there = there_in(answer)
            if there is None:
                return refusal(answer)
            answer.confirm()
            if own := draft.others(there, known_by.kind):
                return Outcome.rejected(Code.AMBIGUOUS, f"contact {there.id} in Brevo has the same phone number, and {own}")
            return there.id
        return None

    async def _read(self, contact: Contact, names: Sequence[str]) -> Held:
        draft = self._draft(contact)
        looks = [(contact.remote_id, "contact_id")] if contact.remote_id and is_id(contact.remote_id) else []
        looks += [(draft.own.value, draft.own.kind)] if draft.own else []
        for identifier, kind in looks:
            answer = await self._requests.look(identifier, kind)
            if is_missing(answer):
                continue
            there, attributes = there_in(answer), answer.get("attributes")
            if there is None or not isinstance(attributes, dict):
                return refusal(answer)
            answer.confirm()
            if draft.others(there, kind):
                return None
            addresses = frozenset({there.email} if there.email else ())
            return Record(addresses, _values(answer, attributes, names))
        return None

    async def _delete(self, deletion: Deletion) -> Outcome:
        if deletion.remote_id is None or not is_id(deletion.remote_id):
            return Outcome.rejected(Code.REJECTED, "the id of the contact is not a valid id of Brevo")
        answer = await self._requests.delete(deletion.remote_id)
        if answer.status != 204 and not is_missing(answer):
            return refusal(answer)
        answer.confirm()
        return Outcome.delivered(None)


def _values(answer: Answer, attributes: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """By the names of the mapping. A list to leave is compared with the lists that the contact is on."""
    members = BREVO.members_among(names)
    return {
        name: answer.get(JOINED if members[name] == LEFT else members[name]) if name in members else attributes.get(name.upper())
        for name in names
    }
