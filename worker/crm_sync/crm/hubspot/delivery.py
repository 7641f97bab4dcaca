"""The requests that deliver one batch of contacts, and what their answers mean for each of them.

Those whose row has HubSpot's id are updated by it. The others, and those that HubSpot no longer has under their id, are found by
the property of HUBSPOT_MATCH or by address. What becomes of them then depends on the mode.
"""

from collections.abc import Awaitable, Callable, Sequence

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold
from crm_sync.core.mode import Mode, already_there, not_there
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.crm.answer import Answer
from crm_sync.crm.client import Entry
from crm_sync.crm.emptied import not_emptied
from crm_sync.crm.hubspot.api import ContactsApi
from crm_sync.crm.hubspot.batch import Batch, Input, Result, is_batch, taken_by, trace
from crm_sync.crm.hubspot.inputs import distinct, known_by_id, properties, properties_of_found
from crm_sync.crm.hubspot.refusals import batch_refused, conflict_of, context, is_missing
from crm_sync.crm.trail import current
from crm_sync.errors import BatchRefusedError, LaneError

# Returns an entry for each contact; None if it is to be found by another key.
Send = Callable[[Sequence[Contact]], Awaitable[Sequence[Entry | None]]]


class Delivery:
    """Of the contacts of one call of deliver."""

    def __init__(self, api: ContactsApi, contacts: Sequence[Contact], mode: Mode, match: str) -> None:
        self._api = api
        self._contacts = contacts
        self._mode = mode
        self._match = match
        self._mapped = contacts[0].fields.keys()  # the properties that the mapping has, filled or not
        self._entries: dict[int, Entry] = {}

    async def run(self) -> list[Entry]:
        """The entry of each contact, in order."""
        entries, contacts = self._entries, self._contacts
        if self._mode is not Mode.CREATE:
            await self._settle(self._update, known_by_id(contacts))
        by_id = {*entries}
        if self._match != "email" and self._mode is Mode.UPSERT:
            await self._settle(self._upsert_matched, distinct(contacts, self._match, entries))
        rest = {Mode.UPSERT: self._upsert, Mode.UPDATE: self._update_found, Mode.CREATE: self._create}[self._mode]
        await self._settle(rest, [place for place in range(len(contacts)) if place not in entries])
        return [
            entries[place] if place in by_id else not_emptied(contact, entries[place]) for place, contact in enumerate(contacts)
        ]

    async def _settle(self, send: Send, places: Sequence[int]) -> None:
        """Sends the contacts at these places. That it fails takes nothing from those that were sent before."""
        if not places:
            return
        sent: Sequence[Entry | None]
        try:
            sent = await send([self._contacts[place] for place in places])
        except LaneError as error:
            sent = [error] * len(places)
        self._entries.update((place, entry) for place, entry in zip(places, sent, strict=True) if entry is not None)

    async def _update(self, contacts: Sequence[Contact]) -> list[Entry | None]:
        """By record id. None for whom HubSpot does not have under it: deleted, or merged into another record."""
        inputs = [Input(contact.remote_id or "", properties(contact, emptied=True)) for contact in contacts]
        answer = await self._write("update", inputs, contacts)
        if is_missing(answer):
            return _without_missing(answer, inputs)
        batch = Batch(answer, inputs, self._mapped, by_id=True)
        current().spared([contacts[place] for place in batch.missing])
        return batch.entries

    async def _upsert(self, contacts: Sequence[Contact]) -> list[Entry]:
        """By address."""
        sent = [properties_of_found(contact) for contact in contacts]
        inputs = [Input(each["email"], each) for each in sent]
        answer = await self._write("upsert", inputs, contacts, idProperty="email")
        batch = Batch(answer, inputs, self._mapped, by_id=False)
        if batch.is_empty:
            # Seen for malformed contacts: perhaps only one of them is.
            said = f"HubSpot answered with success, but for none of the contacts ({answer.label})"
            raise BatchRefusedError(Code.NOT_ACCOUNTED, said, retried=True)
        if len(batch.open) == len(batch.strangers) == 1:
            batch.deliver(batch.open[0], batch.strangers[0])
        elif batch.open:
            await self._find(batch)
        return _accounted(batch, answer)

    async def _upsert_matched(self, contacts: Sequence[Contact]) -> list[Entry]:
        """By the property of HUBSPOT_MATCH. The address is a property like others."""
        inputs = [Input(str(contact.fields[self._match]).strip(), properties_of_found(contact)) for contact in contacts]
        answer = await self._write("upsert", inputs, contacts, idProperty=self._match)
        return _accounted(Batch(answer, inputs, self._mapped, by_id=False, match=self._match), answer)

    async def _update_found(self, contacts: Sequence[Contact]) -> list[Entry]:
        """Looked for by all addresses of their records, and updated by the ids of these; their addresses stay as they are."""
        addresses = [(contact.email or "").strip().lower() for contact in contacts]
        found = {email: record.id for record in await self._having(addresses) for email in record.emails}
        entries: list[Entry | None] = [None if fold(address) in found else not_there("HubSpot") for address in addresses]
        # Twice in one request a record is refused: who shares one with another comes again.
        places = {found[fold(address)]: place for place, address in enumerate(addresses) if entries[place] is None}
        inputs = [
            Input(record, {name: value for name, value in properties_of_found(contacts[place]).items() if name != "email"})
            for record, place in places.items()
        ]
        if inputs:
            answer = await self._write("update", inputs, [contacts[place] for place in places.values()])
            for place, entry in zip(places.values(), self._updated(answer, inputs), strict=True):
                entries[place] = entry
        shared = Outcome.failed(
            Code.LOCKED, "its record in HubSpot is being updated for another contact that has the same record"
        )
        return [entry or shared for entry in entries]

    def _updated(self, answer: Answer, inputs: Sequence[Input]) -> list[Entry]:
        """For records that were there a moment ago."""
        if is_missing(answer):
            return [entry or not_there("HubSpot") for entry in _without_missing(answer, inputs)]
        batch = Batch(answer, inputs, self._mapped, by_id=True)
        return [
            not_there("HubSpot") if place in batch.missing else entry for place, entry in enumerate(_accounted(batch, answer))
        ]

    async def _create(self, contacts: Sequence[Contact]) -> list[Entry]:
        sent = [properties(contact, emptied=False) for contact in contacts]
        body = {
            "inputs": [
                {"properties": each, "associations": [], "objectWriteTraceId": trace(place)} for place, each in enumerate(sent)
            ]
        }
        answer = await self._api.send("batch/create", body, contacts)
        alone = answer.status in (400, 409) and len(contacts) == 1 and isinstance(answer.json, dict)
        if alone and (record := conflict_of(answer.json)) is not None:
            return [already_there("HubSpot", contacts[0], record or None)]
        if not is_batch(answer):
            raise batch_refused(answer, body, self._mapped)
        answer.confirm()
        taken = taken_by(answer)
        entries = _accounted(Batch(answer, [Input(each["email"], each) for each in sent], self._mapped, by_id=False), answer)
        return [
            already_there("HubSpot", contact, taken[trace(place)]) if trace(place) in taken else entry
            for place, (contact, entry) in enumerate(zip(contacts, entries, strict=True))
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
        return await self._api.records(addresses, ["email", "hs_additional_emails"], idProperty="email")

    async def _write(self, operation: str, inputs: Sequence[Input], contacts: Sequence[Contact], **each: str) -> Answer:
        return await self._api.write(operation, inputs, contacts, self._mapped, **each)


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
