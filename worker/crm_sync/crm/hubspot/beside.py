"""What HubSpot keeps apart from the properties of a contact, behind endpoints of its own: email subscriptions and static lists.

These requests follow those for the contacts of a batch. There is one for all contacts that opt out of every email, one for each
hundred changes of single subscriptions, and one for each list. The limiter paces them like all others.
[HubSpot, communication preferences, statuses/batch/unsubscribe-all and statuses/batch/write; lists, memberships/add-and-remove]

The requests for many subscriptions at once need a scope of their own, which only Marketing Hub Enterprise can give. Without it,
each contact and each subscription takes a request. [HubSpot, communication preferences, "Scope requirements"]

HubSpot keeps subscriptions by address. A contact without one, as a row that has lost it, is opted out by the address of its
record, because HubSpot would go on writing to that. It is opted in to nothing: nobody asked for that with this address.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from crm_sync.core.codes import Code
from crm_sync.core.mode import is_written
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.crm.answer import Answer, quoted
from crm_sync.crm.client import Entry
from crm_sync.crm.http import Http
from crm_sync.crm.hubspot.api import ContactsApi
from crm_sync.crm.hubspot.inputs import EMAIL, address_of
from crm_sync.crm.hubspot.refusals import judged, lacks_scope
from crm_sync.crm.hubspot.versions import Version
from crm_sync.crm.values import HUBSPOT
from crm_sync.errors import LaneError, OutageError

TOGETHER = 100  # statuses in one request
_ADDRESS = re.compile(r"""[^\s"'<>()\[\]{},;:]+@[^\s"'<>()\[\]{},;:]+""")
CHANNEL = "EMAIL"
OUT_OF_ALL, OUT_OF, INTO = "unsubscribeAll", "unsubscribeFrom", "subscribeTo"
JOINED, LEFT = "listIds", "unlinkListIds"
BASIS, EXPLANATION = "legalBasis", "legalBasisExplanation"


class _Delivered(NamedTuple):
    """place: in the batch. email: as in the row. members: the names and values that are not properties."""

    place: int
    record: str
    email: str
    members: Mapping[str, Any]


_Told = Callable[[Answer, Sequence[_Delivered]], None]


class Beside:
    """Of one account. It learns whether the token has the scope for many subscriptions at once."""

    def __init__(self, http: Http, api: ContactsApi, version: Version) -> None:
        self.http = http
        self.api = api
        self.statuses = version.statuses
        self.lists = version.lists
        self.in_bulk = True

    async def apply(self, contacts: Sequence[Contact], entries: Sequence[Entry]) -> list[Entry]:
        """Returns the entries of these contacts. A contact is not delivered, and comes again, if HubSpot did not say whether it
        was opted out or has joined a list. What HubSpot refused is FIELD_NOT_SENT.
        """
        work = _Work(self, [*entries], _delivered(contacts, entries))
        if work.those:
            await work.find_addresses()
            await work.opt_out_of_all()
            await work.set_statuses()
            await work.change_lists()
        return work.entries


def _delivered(contacts: Sequence[Contact], entries: Sequence[Entry]) -> list[_Delivered]:
    named = HUBSPOT.members_among(set().union(*(contact.fields for contact in contacts)))
    if not named:
        return []
    found = []
    for place, (contact, entry) in enumerate(zip(contacts, entries, strict=True)):
        if not isinstance(entry, Outcome) or not is_written(entry) or not entry.remote_id:
            continue
        if members := {named[name]: value for name, value in contact.filled.items() if name in named}:
            found.append(_Delivered(place, entry.remote_id, address_of(contact), members))
    return found


class _Work:
    """For the contacts of one batch."""

    def __init__(self, beside: Beside, entries: list[Entry], those: Sequence[_Delivered]) -> None:
        self.entries = entries
        self.those = those
        self._beside = beside

    async def find_addresses(self) -> None:
        """For those without one: that of their record, to opt out by."""
        out = [one for one in self.those if not one.email and (one.members.get(OUT_OF_ALL) or one.members.get(OUT_OF))]
        found: dict[str, str] = {}
        try:
            records = await self._beside.api.records([one.record for one in out], [EMAIL])
            found = {record.id: str(record.properties.get(EMAIL) or "") for record in records}
        except LaneError as error:
            for one in out:
                self.entries[one.place] = error
        self.those = [one if one.email else self._with_address(one, found) for one in self.those]

    def _with_address(self, one: _Delivered, found: Mapping[str, str]) -> _Delivered:
        email = found.get(one.record, "")
        unsent = [name for name in (OUT_OF_ALL, OUT_OF, INTO) if one.members.get(name) and (name == INTO or not email)]
        if unsent:
            words = "not sent: HubSpot keeps subscriptions by address, and the contact has none"
            self._note([one], f"{', '.join(unsent)} {words}")
        return one._replace(email=email, members={name: value for name, value in one.members.items() if name not in unsent})

    async def opt_out_of_all(self) -> None:
        path = self._beside.statuses
        out = [one for one in self.those if one.members.get(OUT_OF_ALL)]
        body = {"inputs": [one.email for one in out]}
        if out and not await self._sent_in_bulk(f"{path}/batch/unsubscribe-all", body, out, channel=CHANNEL):
            for one in out:
                await self._send(
                    "POST", f"{path}/{quote(one.email, safe='@')}/unsubscribe-all", {}, [one], self._named, channel=CHANNEL
                )

    async def set_statuses(self) -> None:
        """Opting in first: a contact that is to be in and out of the same subscription ends up out of it."""
        path = self._beside.statuses
        for member, state in ((INTO, "SUBSCRIBED"), (OUT_OF, "UNSUBSCRIBED")):
            pairs = [
                (one, _status(one, subscription, state)) for one in self.those for subscription in one.members.get(member, ())
            ]
            for first in range(0, len(pairs), TOGETHER):
                some = pairs[first : first + TOGETHER]
                body = {"inputs": [{"subscriberIdString": one.email, **status} for one, status in some]}
                if await self._sent_in_bulk(f"{path}/batch/write", body, [one for one, _ in some]):
                    continue
                for one, status in some:
                    await self._send("POST", f"{path}/{quote(one.email, safe='@')}", status, [one], self._named)

    async def change_lists(self) -> None:
        numbers = dict.fromkeys(number for one in self.those for name in (JOINED, LEFT) for number in one.members.get(name, ()))
        for number in numbers:
            join = [one for one in self.those if number in one.members.get(JOINED, ())]
            leave = [one for one in self.those if number in one.members.get(LEFT, ())]
            body = {"recordIdsToAdd": [one.record for one in join], "recordIdsToRemove": [one.record for one in leave]}

            def told(answer: Answer, those: Sequence[_Delivered], number: int = number) -> None:
                if answer.status in (400, 404):
                    self._note(those, _no_list(number, answer))
                missing = answer.get("recordIdsMissing")
                if isinstance(missing, list) and missing:
                    absent = {str(one) for one in missing}
                    self._note(
                        [one for one in those if one.record in absent], f"HubSpot did not add the contact to list {number}"
                    )

            await self._send("PUT", f"{self._beside.lists}/{number}/memberships/add-and-remove", body, [*join, *leave], told)

    def _named(self, answer: Answer, those: Sequence[_Delivered]) -> None:
        """An error names the address that it is about, or is about all."""
        errors = [error for error in answer.get("errors") or [] if isinstance(error, dict)]
        if answer.status >= 400:
            errors = errors or [{"message": quoted(answer, None)}]
        for error in errors:
            named = {found.rstrip(".") for found in _ADDRESS.findall(str(error).lower())}
            concerned = [one for one in those if one.email in named] or those
            self._note(concerned, f"HubSpot refused the subscription ({answer.label}: {error.get('message') or 'no text'})")

    async def _sent_in_bulk(self, path: str, body: Mapping[str, Any], those: Sequence[_Delivered], **query: str) -> bool:
        """False if nothing was done: the token lacks the scope for it, or all were refused for what may be one contact's."""
        return self._beside.in_bulk and await self._send("POST", path, body, those, self._named, in_bulk=True, **query)

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any],
        those: Sequence[_Delivered],
        told: _Told,
        *,
        in_bulk: bool = False,
        **query: str,
    ) -> bool:
        """in_bulk: for many contacts, with a scope that the token may lack. False if each is to be sent by itself instead."""
        try:
            answer = await self._beside.http.send(method, path, body, query=query, writes=())
            if in_bulk and lacks_scope(answer):
                self._beside.in_bulk = False
                return False
            if in_bulk and answer.status == 400 and len(those) > 1:
                return False
            answer = judged(answer, body)
            if answer.status not in (200, 201, 202, 204, 207, 400, 404):
                raise OutageError(
                    Code.BROKEN_ANSWER, f"HubSpot answered with a status that it does not document here ({answer.label})"
                )
        except LaneError as error:
            for one in those:
                self.entries[one.place] = error
            return True
        answer.confirm()
        told(answer, those)
        return True

    def _note(self, those: Sequence[_Delivered], words: str) -> None:
        for one in those:
            entry = self.entries[one.place]
            if isinstance(entry, Outcome) and words not in (entry.reason or ""):
                reason = "; ".join(filter(None, [entry.reason, words]))
                self.entries[one.place] = entry._replace(code=entry.code or Code.FIELD_NOT_SENT, reason=reason)


def _no_list(number: int, answer: Answer) -> str:
    """Why no contact can be put on it or taken off it, and what to do."""
    if answer.status == 404:
        words = f"HubSpot has no list {number}: create a static list there, or correct the row"
    else:
        words = f"HubSpot does not change who is on list {number}: name a static list in the row, whose members can change"
    return f"{words} ({answer.label}: {quoted(answer, None)})"


def _status(one: _Delivered, subscription: int, state: str) -> dict[str, Any]:
    basis = {name: one.members[name] for name in (BASIS, EXPLANATION) if name in one.members}
    return {"subscriptionId": subscription, "statusState": state, "channel": CHANNEL, **basis}
