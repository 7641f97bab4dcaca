"""The requests that deliver one batch of contacts, and what their answers mean for each of them.

Those whose row has HubSpot's id are updated by it. The others, and those that HubSpot no longer has under their id, are found by
their value of the property of HUBSPOT_MATCH, and those that have none by their address. What becomes of them depends on the mode.

Each of these keys takes a request of its own. HubSpot's OpenAPI has idProperty in each input, but whether the inputs of one
request may name different properties is documented nowhere.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold
from crm_sync.core.mode import Mode, already_there, not_there
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.crm.answer import Answer
from crm_sync.crm.client import Entry
from crm_sync.crm.emptied import not_emptied
from crm_sync.crm.hubspot.api import ContactsApi
from crm_sync.crm.hubspot.batch import ID, Batch, Input, Result, is_batch, taken_by, trace
from crm_sync.crm.hubspot.inputs import EMAIL, address_of, distinct, known_by_id, properties, properties_of_found, value_of
from crm_sync.crm.hubspot.refusals import batch_refused, conflict_of, context, is_missing
from crm_sync.crm.trail import current
from crm_sync.errors import BatchRefusedError, LaneError

# For the contacts at these places, by this property: an entry each; None if HubSpot does not have it under this key.
Send = Callable[[Sequence[int], str], Awaitable[Sequence[Entry | None]]]

_SHARED = Outcome.failed(Code.LOCKED, "its record in HubSpot is being updated for another contact that has the same record")


class Delivery:
    """Of the contacts of one call of deliver. without_address: as the client's."""

    def __init__(self, api: ContactsApi, contacts: Sequence[Contact], mode: Mode, match: str, without_address: str) -> None:
        self._api = api
        self._contacts = contacts
        self._mode = mode
        self._match = match
        self._without_address = without_address
        # The properties that the mapping has, filled or not. The address is one: if HubSpot requires it, that is a contact's.
        self._mapped = contacts[0].fields.keys() | {EMAIL}
        self._entries: dict[int, Entry] = {}
        self._missing: set[int] = set()  # the places of those that HubSpot said it does not have under a key

    async def run(self) -> list[Entry]:
        """The entry of each contact, in order."""
        entries, contacts = self._entries, self._contacts
        ways: dict[Mode, tuple[Send, Send]] = {
            Mode.UPSERT: (self._upsert, self._upsert),
            Mode.UPDATE: (self._update, self._update_found),
            Mode.CREATE: (self._create, self._create),
        }
        by_match, by_address = ways[self._mode]
        known = [] if self._mode is Mode.CREATE else known_by_id(contacts)
        await self._settle(self._update, known, ID)
        by_id = {*entries}
        matched = [] if self._match == EMAIL else distinct(contacts, self._match, entries)
        await self._settle(by_match, matched, self._match)
        addressed = [place for place in range(len(contacts)) if place not in entries and address_of(contacts[place])]
        await self._settle(by_address, addressed, EMAIL)
        if len(entries) < len(contacts):
            self._give_up({*known}, {*matched})
        return [
            entries[place] if contact.sent is None or place in by_id else not_emptied(contact, entries[place])
            for place, contact in enumerate(contacts)
        ]

    async def _settle(self, send: Send, places: Sequence[int], by: str) -> None:
        """That it fails takes nothing from those that were sent before."""
        if not places:
            return
        sent: Sequence[Entry | None]
        try:
            sent = await send(places, by)
        except LaneError as error:
            sent = [error] * len(places)
        self._entries.update((place, entry) for place, entry in zip(places, sent, strict=True) if entry is not None)

    def _give_up(self, known: Collection[int], matched: Collection[int]) -> None:
        """On those without an address that were found by no other key, or not sent because another has the same. known, matched:
        the places of those that were sent by their record's id, and by HUBSPOT_MATCH.
        """
        for place, contact in enumerate(self._contacts):
            if place not in self._entries:
                was_sent = place in (matched if value_of(contact, self._match) else known)
                self._entries[place] = self._unknown(place, contact) if was_sent else _SHARED

    def _unknown(self, place: int, contact: Contact) -> Outcome:
        if place not in self._missing:
            words = "HubSpot answered with success, but not for this contact: perhaps its record was merged into another"
            return Outcome.failed(Code.NOT_ACCOUNTED, words)
        if self._mode is Mode.UPDATE:
            return not_there("HubSpot")
        words = f"the contact has no email address, and HubSpot has no record {contact.remote_id} any more"
        return Outcome.rejected(Code.INVALID_EMAIL, f"{words}: {self._without_address}")

    async def _update(self, places: Sequence[int], by: str) -> list[Entry | None]:
        """None for whom HubSpot does not have under this key: deleted, or merged into another record."""
        contacts = self._at(places)
        self._missing.difference_update(places)  # where they were looked for by another key before
        if by == ID:
            inputs = [Input(contact.remote_id or "", properties(contact, emptied=True)) for contact in contacts]
            answer = await self._write("update", inputs, contacts)
        else:
            inputs = [Input(value_of(contact, by), properties_of_found(contact)) for contact in contacts]
            answer = await self._write("update", inputs, contacts, idProperty=by)
        if is_missing(answer):
            entries = _without_missing(answer, inputs)
            self._missing.update(place for place, entry in zip(places, entries, strict=True) if entry is None)
            return entries
        batch = Batch(answer, inputs, self._mapped, by=by, updates=True)
        self._missing.update(places[number] for number in batch.missing)
        if by == ID:
            current().spared([contacts[number] for number in batch.missing])
        return batch.entries

    async def _upsert(self, places: Sequence[int], by: str) -> list[Entry]:
        contacts = self._at(places)
        sent = [properties_of_found(contact) for contact in contacts]
        inputs = _keyed(contacts, sent, by)
        answer = await self._write("upsert", inputs, contacts, idProperty=by)
        batch = Batch(answer, inputs, self._mapped, by=by)
        if batch.is_empty:
            # Seen for malformed contacts: perhaps only one of them is.
            said = f"HubSpot answered with success, but for none of the contacts ({answer.label})"
            raise BatchRefusedError(Code.NOT_ACCOUNTED, said, retried=True)
        if len(batch.open) == len(batch.strangers) == 1:
            batch.deliver(batch.open[0], batch.strangers[0])
        elif batch.open and by == EMAIL:
            await self._find(batch)
        return _accounted(batch, answer)

    async def _update_found(self, places: Sequence[int], by: str) -> list[Entry]:
        """Looked for by all addresses of their records, and updated by the ids of these; their addresses stay as they are."""
        contacts = self._at(places)
        addresses = [address_of(contact) for contact in contacts]
        found = {email: record.id for record in await self._having(addresses) for email in record.emails}
        entries: list[Entry | None] = [None if fold(address) in found else not_there("HubSpot") for address in addresses]
        # Twice in one request a record is refused: who shares one with another comes again.
        firsts = {found[fold(address)]: number for number, address in enumerate(addresses) if entries[number] is None}
        inputs = [
            Input(record, {name: value for name, value in properties_of_found(contacts[number]).items() if name != by})
            for record, number in firsts.items()
        ]
        if inputs:
            answer = await self._write("update", inputs, [contacts[number] for number in firsts.values()])
            for number, entry in zip(firsts.values(), self._updated(answer, inputs), strict=True):
                entries[number] = entry
        return [entry or _SHARED for entry in entries]

    def _updated(self, answer: Answer, inputs: Sequence[Input]) -> list[Entry]:
        """For records that were there a moment ago."""
        if is_missing(answer):
            return [entry or not_there("HubSpot") for entry in _without_missing(answer, inputs)]
        batch = Batch(answer, inputs, self._mapped, by=ID, updates=True)
        return [
            not_there("HubSpot") if number in batch.missing else entry for number, entry in enumerate(_accounted(batch, answer))
        ]

    async def _create(self, places: Sequence[int], by: str) -> list[Entry]:
        contacts = self._at(places)
        sent = [properties(contact, emptied=False) for contact in contacts]
        body = {
            "inputs": [
                {"properties": each, "associations": [], "objectWriteTraceId": trace(number)} for number, each in enumerate(sent)
            ]
        }
        answer = await self._api.send("batch/create", body, contacts)
        alone = answer.status in (400, 409) and len(contacts) == 1 and isinstance(answer.json, dict)
        if alone and (record := conflict_of(answer.json, self._match)) is not None:
            return [already_there("HubSpot", contacts[0], record or None)]
        if not is_batch(answer):
            raise batch_refused(answer, body, self._mapped)
        answer.confirm()
        taken = taken_by(answer, self._match)
        entries = _accounted(Batch(answer, _keyed(contacts, sent, by), self._mapped, by=by), answer)
        return [
            already_there("HubSpot", contact, taken[trace(number)]) if trace(number) in taken else entry
            for number, (contact, entry) in enumerate(zip(contacts, entries, strict=True))
        ]

    async def _find(self, batch: Batch) -> None:
        """Addresses that are no record's primary one: HubSpot answers under that, and once where two are of one record."""
        try:
            found = await self._having([batch.inputs[place].key for place in batch.open])
        except LaneError as error:
            batch.leave(error)
        else:
            batch.recognise(found)

    async def _having(self, addresses: Sequence[str]) -> list[Result]:
        """The records that have these, among others or not."""
        return await self._api.records(addresses, [EMAIL, "hs_additional_emails"], idProperty=EMAIL)

    def _at(self, places: Sequence[int]) -> list[Contact]:
        return [self._contacts[place] for place in places]

    async def _write(self, operation: str, inputs: Sequence[Input], contacts: Sequence[Contact], **each: str) -> Answer:
        return await self._api.write(operation, inputs, contacts, self._mapped, **each)


def _keyed(contacts: Sequence[Contact], sent: Sequence[dict[str, str]], by: str) -> list[Input]:
    if by == EMAIL:
        return [Input(each[EMAIL], each) for each in sent]
    return [Input(value_of(contact, by), each) for contact, each in zip(contacts, sent, strict=True)]


def _accounted(batch: Batch, answer: Answer) -> list[Entry]:
    unaccounted = Outcome.failed(Code.NOT_ACCOUNTED, f"HubSpot answered with success, but not for this contact ({answer.label})")
    return [entry or unaccounted for entry in batch.entries]


def _without_missing(answer: Answer, inputs: Sequence[Input]) -> list[Entry | None]:
    """All were refused because of some that are not there; the others come again without them."""
    missing = set(context(answer.json, "ids")) if len(inputs) > 1 else {inputs[0].key}
    again = BatchRefusedError(
        Code.REJECTED, f"HubSpot refused the contacts because of some that it does not have ({answer.label})"
    )
    return [None if item.key in missing else again for item in inputs]
