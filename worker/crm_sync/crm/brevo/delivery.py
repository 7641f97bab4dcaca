"""The delivery of one contact: it is looked up where that is necessary, written, and what was to be emptied is checked."""

from collections.abc import Collection, Mapping
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.mode import Mode, already_there, not_there
from crm_sync.core.outcome import Outcome
from crm_sync.crm.answer import Answer
from crm_sync.crm.brevo.draft import Draft, There, id_in, there_in
from crm_sync.crm.brevo.identifiers import Identifier, Identifiers, is_id
from crm_sync.crm.brevo.lists import JOINED, LEFT, Lists, named, without
from crm_sync.crm.brevo.refusals import is_taken, is_taken_by_unnamed, refusal, refused_attributes, said, speaks_of_a_list
from crm_sync.crm.brevo.requests import Requests
from crm_sync.crm.emptied import still_there
from crm_sync.errors import LaneError


class Delivery:
    def __init__(self, requests: Requests, lists: Lists, mode: Mode, identifiers: Identifiers) -> None:
        self._requests = requests
        self._lists = lists
        self._mode = mode
        self._identifiers = identifiers

    async def of(self, draft: Draft) -> Outcome:
        """Raises LaneError."""
        contact = draft.contact
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

    # Before the write.

    async def _look(self, draft: Draft) -> There | Outcome | None:
        """The contact to write. None if it is to be created; an Outcome if nothing is to be written."""
        for identifier, kind in self._looks(draft):
            answer = await self._requests.look(identifier, kind)
            there = there_in(answer)
            # A 404 means that it was deleted in Brevo since, and is created again.
            if answer.status != 404 and there is None:
                return refusal(answer)
            if there is not None:
                answer.confirm()
                if self._mode is Mode.CREATE:
                    return already_there("Brevo", draft.contact, there.id)
                return _unless_others(draft, there, kind)
        return not_there("Brevo") if self._mode is Mode.UPDATE else None

    def _looks(self, draft: Draft) -> list[tuple[str, str]]:
        """The identifiers by which the contact is looked up before it is written, tried in order until it is found."""
        if self._mode is Mode.CREATE and draft.own is not None:
            return []
        remote_id = draft.contact.remote_id
        # Anything but an id could change the path: two dots mean the parent folder.
        looks = [(remote_id, "contact_id")] if remote_id and is_id(remote_id) else []
        looks += [(one.value, one.kind) for one in draft.identifiers]
        # A POST finds a contact by its address.
        return looks[:-1] if draft.email and self._mode is Mode.UPSERT and not draft.reserved else looks

    # The write.

    async def _written(self, draft: Draft, there: There | None) -> tuple[str | None, There | None] | Outcome:
        """Writes it. Returns its id, and the contact that was there before; or why it was not written."""
        members = self._lists.there(draft.members)
        if there is None and draft.own is None:
            return self._nothing_to_create(draft)
        while body := self._body(draft, there, members):
            answer = await self._write(there, body)
            if answer.status == 204 or id_in(answer) is not None:
                answer.confirm()
                return await self._id_of(draft, there, answer), there
            if speaks_of_a_list(answer) and await self._lists.look(named(members)):
                members = self._lists.there(draft.members)
            elif draft.own is not None and body.get("updateEnabled") is False and is_taken(answer, draft.own.name):
                holder = await self._holder(draft, draft.own, answer)
                if isinstance(holder, Outcome):
                    return holder
                there = holder
            elif shared := draft.leavable(refused_attributes(answer), there):
                draft.leave(shared, said(answer))
            elif answer.status == 404 and there is not None and draft.own is not None and self._mode is not Mode.UPDATE:
                there = None  # deleted since the lookup
            else:
                return await self._refused(draft, there, answer, body)
        return there and there.id, there

    async def _holder(self, draft: Draft, own: Identifier, answer: Answer) -> There | Outcome:
        """The contact that has the identifier of a new one: somebody else created it since the lookup, or none was made."""
        creates, is_named = self._mode is Mode.CREATE, not is_taken_by_unnamed(answer)
        there = await self._find(own) if creates and is_named else there_in(await self._requests.look(own.value, own.kind))
        if there is not None:
            holder = _unless_others(draft, there, own.kind)
            return already_there("Brevo", draft.contact, there.id) if creates and isinstance(holder, There) else holder
        if not is_named:
            return refusal(answer)
        if creates:
            return already_there("Brevo", draft.contact, None)
        return Outcome.failed(Code.TOO_EARLY, f"Brevo has this {own.words}, but does not find it yet ({answer.label})")

    def _body(self, draft: Draft, there: There | None, members: Mapping[str, Any]) -> dict[str, Any]:
        return draft.body(there, self._lists.joining(members), updates=self._mode is not Mode.CREATE)

    async def _write(self, there: There | None, body: Mapping[str, Any]) -> Answer:
        return await self._requests.create(body) if there is None else await self._requests.update(there.id, body)

    async def _refused(self, draft: Draft, there: There | None, answer: Answer, body: Mapping[str, Any]) -> Outcome:
        if speaks_of_a_list(answer):
            await self._lists.require()
        if answer.status == 404 and there is not None:
            return not_there("Brevo") if self._mode is Mode.UPDATE else self._nothing_to_create(draft)
        return refusal(answer, body)

    def _nothing_to_create(self, draft: Draft) -> Outcome:
        """It could only be changed by its id."""
        return Outcome.rejected(
            Code.INVALID_EMAIL,
            f"the contact has no email address, and Brevo has no contact {draft.contact.remote_id}: "
            f"{self._identifiers.without_address}",
        )

    # After it.

    async def _id_of(self, draft: Draft, there: There | None, answer: Answer) -> str | None:
        """The id of a contact that was just written."""
        if answer.status != 204:
            return id_in(answer)
        if there is not None:
            return there.id
        found = None if draft.own is None else await self._find(draft.own)
        remote_id = found and found.id
        if stayed := await self._lists.leave(remote_id, draft.members):
            draft.notes += stayed
            draft.left.add(LEFT)
        return remote_id

    async def _find(self, own: Identifier) -> There | None:
        """An update returns no body. The contact counts as delivered whether its id is found or not."""
        try:
            return there_in(await self._requests.look(own.value, own.kind))
        except LaneError:
            return None

    async def _empty(self, remote_id: str, names: Collection[str], *, blanked: bool) -> Collection[str]:
        """Checks whether these attributes are empty now, and which are not. blanked: they were emptied by the previous write;
        otherwise by a separate write, for a contact that was found by its address.
        """
        try:
            there = there_in(await self._requests.look(remote_id, "contact_id"))
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


def _unless_others(draft: Draft, there: There, kind: str) -> There | Outcome:
    own = draft.others(there, kind)
    if own is None:
        return there
    return Outcome.rejected(
        Code.DUPLICATE,
        f"contact {there.id} in Brevo has the same phone number (SMS), and {own}, so it may be another person: add {own} to the "
        "row, or correct its number",
    )
