"""HubSpot, up to a hundred contacts a request.

A contact whose row has HubSpot's id is updated by it, so that a changed address makes no second record; the others, and those
that HubSpot no longer has under their id, are upserted by address. Each is sent with a trace id: with them HubSpot takes the
good ones of a batch and names the others (207), without them one bad contact refuses all. [HubSpot's OpenAPI, its contacts guide
and error handling page, 2026-09]
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold
from crm_sync.core.mode import Mode, already_there, not_there
from crm_sync.core.outcome import Contact, Deletion, Outcome
from crm_sync.core.rate import Remaining
from crm_sync.core.remote_schema import RemoteField, RemoteSchema
from crm_sync.core.text import printable
from crm_sync.crm.account import Account, over_http
from crm_sync.crm.answer import Answer
from crm_sync.crm.client import Client, Entry, Found, Held, Record
from crm_sync.crm.emptied import not_emptied
from crm_sync.crm.exchange import Assumption
from crm_sync.crm.http import Http
from crm_sync.crm.hubspot import likeness
from crm_sync.crm.hubspot.assumptions import assumptions
from crm_sync.crm.hubspot.batch import Batch, Input, Result, is_batch, results, taken_by, trace
from crm_sync.crm.hubspot.beside import Beside
from crm_sync.crm.hubspot.refusals import (
    LONGEST_NAME,
    batch_refused,
    conflict_of,
    context,
    is_id,
    is_missing,
    judged,
    not_hubspot,
)
from crm_sync.crm.hubspot.schema import schema
from crm_sync.crm.hubspot.settings import HubSpotSettings
from crm_sync.crm.hubspot.versions import CURRENT, version_of
from crm_sync.crm.trail import current
from crm_sync.crm.values import HUBSPOT
from crm_sync.environment import read
from crm_sync.errors import BatchRefusedError, LaneError, RefusedError

CONTACTS_PATH = "/crm/v3/objects/contacts"

DEFAULT_FIELDS = {
    "firstname": "first_name",
    "lastname": "last_name",
    "phone": "phone",
    "company": "company",
    "jobtitle": "job_title",
    "website": "website",
    "address": "address",
    "city": "city",
    "state": "state",
    "zip": "zip",
    "country": "country",
}
# Of a private app or service key, and of the account's day [HubSpot, usage guidelines; changelog, "Increasing our API limits"].
# A capacity pack gives 250 in ten seconds and another million a day: HUBSPOT_LIMITS says so.
LIMITS = {
    "free": "100/10s 250000/day",
    "starter": "100/10s 250000/day",
    "professional": "190/10s 650000/day",
    "enterprise": "190/10s 1000000/day",
}


def account() -> Account | None:
    """None without a token. Raises ConfigurationError naming a wrong setting."""
    settings = read(HubSpotSettings)
    token = settings.hubspot_access_token
    if token is None:
        return None
    return over_http(
        "hubspot",
        partial(HubSpot, path=settings.hubspot_contacts_path, mode=settings.hubspot_mode, match=settings.hubspot_match),
        url_setting="HUBSPOT_BASE_URL",
        base_url=settings.hubspot_base_url,
        headers={"Authorization": f"Bearer {token.get_secret_value()}"},
        default_fields=DEFAULT_FIELDS,
        forms=HUBSPOT,
        limits=LIMITS[settings.hubspot_plan],
        remaining=_remaining,
        required={} if settings.hubspot_match == "email" else {settings.hubspot_match: "HUBSPOT_MATCH"},
    )


def _remaining(headers: Mapping[str, str]) -> list[Remaining]:
    """What is left of the ten seconds, and of the day."""
    named = {10.0: "X-HubSpot-RateLimit-Remaining", 86_400.0: "X-HubSpot-RateLimit-Daily-Remaining"}
    texts = {seconds: headers.get(name, "") for seconds, name in named.items()}
    return [Remaining(seconds, int(text)) for seconds, text in texts.items() if text.isdecimal()]


Send = Callable[[Sequence[Contact]], Awaitable[Sequence[Entry | None]]]


class HubSpot(Client):
    """One account of HubSpot."""

    batch_limit = 100
    concurrency = 4
    delete_limit = 100
    read_limit = 100

    def __init__(self, http: Http, *, path: str = CONTACTS_PATH, mode: Mode = Mode.UPSERT, match: str = "email") -> None:
        """path: of the contacts, in which the versions of HubSpot's API differ. match: the property that finds a contact in an
        upsert, for those that have a value.
        """
        self._http = http
        self._path = path
        self._version = version_of(path)
        self._beside = Beside(http, self._version or CURRENT)
        self._mode = mode
        self._match = match
        self._mapped: Collection[str] = ()  # the properties that the mapping has, filled or not

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        self._mapped = contacts[0].fields.keys()
        entries: dict[int, Entry] = {}
        if self._mode is not Mode.CREATE:
            await _settle(entries, self._update, contacts, _known_by_id(contacts))
        by_id = {*entries}
        if self._match != "email" and self._mode is Mode.UPSERT:
            await _settle(entries, self._upsert_matched, contacts, _distinct(contacts, self._match, entries))
        rest = {Mode.UPSERT: self._upsert, Mode.UPDATE: self._update_found, Mode.CREATE: self._create}[self._mode]
        await _settle(entries, rest, contacts, [place for place in range(len(contacts)) if place not in entries])
        found = [
            entries[place] if place in by_id else not_emptied(contact, entries[place]) for place, contact in enumerate(contacts)
        ]
        return await self._beside.apply(contacts, found)

    def assumptions(self, contact: Contact) -> Sequence[Assumption]:
        return () if self._mode is Mode.CREATE else assumptions(contact)

    async def find(self, emails: Sequence[str]) -> Sequence[Found]:
        """By primary address only: who has it among others may be somebody else."""
        found = await self._records([email.lower() for email in emails], ["email"], idProperty="email")
        ids = {result.email: result.id for result in found}
        return [ids.get(fold(email)) for email in emails]

    async def read(self, contacts: Sequence[Contact], names: Sequence[str]) -> Sequence[Held]:
        """Two requests at most. A record that was merged is found by its address, as a delivery finds it."""
        asked = [*dict.fromkeys([*(name for name in names if name != "email"), "email", "hs_additional_emails"])]
        ids = [contact.remote_id if is_id(contact.remote_id or "") else None for contact in contacts]
        by_id = {record.id: record for record in await self._records(filter(None, ids), asked)}
        addresses = [(contact.email or "").strip().lower() for contact in contacts]
        lost = [address for record, address in zip(ids, addresses, strict=True) if record not in by_id and address]
        found = await self._records(lost, asked, idProperty="email")
        by_address = {email: record for record in found for email in record.emails}
        held = [by_id.get(record or "") or by_address.get(fold(address)) for record, address in zip(ids, addresses, strict=True)]
        return [record and Record(frozenset(record.emails), record.properties) for record in held]

    def same(self, field: RemoteField | None, name: str, sent: Any, held: Any) -> bool | None:
        return likeness.same(field, name, sent, held)

    async def _records(self, keys: Iterable[str], names: Sequence[str], **each: str) -> list[Result]:
        """Those that are there. each: what the request says besides the keys."""
        inputs = [{"id": key} for key in dict.fromkeys(keys)]
        if not inputs:
            return []
        body = {**each, "inputs": inputs, "properties": names, "propertiesWithHistory": []}
        answer = judged(await self._http.send("POST", f"{self._path}/batch/read", body, writes=()), body)
        if not is_batch(answer) and not is_missing(answer):
            raise batch_refused(answer, body)
        answer.confirm()
        return results(answer)

    async def delete(self, deletions: Sequence[Deletion]) -> Sequence[Entry]:
        """To be archived, from where HubSpot restores them for 90 days, in one request; to be erased, one by one.

        Erased by id only: HubSpot blocks an address that is erased and that nobody has, for good. [HubSpot, "Delete a contact",
        "Permanently delete a contact (GDPR-compliant)"]
        """
        entries: dict[int, Entry] = {}
        unknown = Outcome.rejected(Code.REJECTED, "the id of the record is not a valid id of HubSpot")
        known = [place for place, one in enumerate(deletions) if is_id(one.remote_id or "")]
        entries.update((place, unknown) for place in range(len(deletions)) if place not in known)
        if archived := [place for place in known if not deletions[place].erase]:
            ids = {deletions[place].remote_id: None for place in archived}
            answer = await self._delete("batch/archive", {"inputs": [{"id": record} for record in ids]}, len(ids))
            entries.update(dict.fromkeys(archived, answer))
        for place in known:
            if place not in entries:
                entries[place] = await self._delete("gdpr-delete", {"objectId": deletions[place].remote_id}, 1)
        return [entries[place] for place in range(len(deletions))]

    async def check(self) -> str:
        """By the contacts, for which the path and the scope must be right too. The account is named where it may be seen."""
        answer = judged(await self._http.send("GET", self._path, query={"limit": "1"}))
        if answer.status != 200 or not isinstance(answer.get("results"), list):
            raise not_hubspot(answer)
        if self._match != "email":
            await self._require_unique(self._match)
        version = self._version
        if version is None:
            return "token accepted; which version of HubSpot's API HUBSPOT_CONTACTS_PATH means is not known"
        until = f"API {version.name}, which HubSpot supports until {version.ends}"
        details = await self._http.send("GET", version.account)
        portal, kind = details.get("portalId"), details.get("accountType")
        if details.status != 200 or not isinstance(portal, int):
            return f"token accepted; {until}"
        return f"portal {portal}, {printable(str(kind), LONGEST_NAME)}; {until}"

    async def _require_unique(self, name: str) -> None:
        """Raises RefusedError if the account cannot match by this property."""
        if self._version is None:
            return
        answer = judged(await self._http.send("GET", f"{self._version.properties}/{name}"))
        if answer.status != 200 or answer.get("hasUniqueValue") is not True:
            raise RefusedError(
                Code.MISCONFIGURED,
                f"HUBSPOT_MATCH names {name}, whose values HubSpot does not keep unique: make it a property that requires"
                " unique values, or match by another",
            )

    async def schema(self) -> RemoteSchema | None:
        """The scope to read contacts is enough. [HubSpot's OpenAPI, CRM properties]"""
        if self._version is None:
            return None
        answer = judged(await self._http.send("GET", self._version.properties))
        found = schema(answer)
        if found is None:
            raise not_hubspot(answer)
        answer.confirm()
        return found

    async def _update(self, contacts: Sequence[Contact]) -> list[Entry | None]:
        """By record id. None for whom HubSpot does not have under it: deleted, or merged into another record."""
        inputs = [Input(contact.remote_id or "", _properties(contact, emptied=True)) for contact in contacts]
        answer = await self._write("update", inputs, contacts)
        if is_missing(answer):
            return _without_missing(answer, inputs)
        entries = Batch(answer, inputs, self._mapped, by_id=True).entries
        current().spared([contact for contact, entry in zip(contacts, entries, strict=True) if entry is None])
        return entries

    async def _upsert(self, contacts: Sequence[Contact]) -> list[Entry]:
        """By address."""
        properties = [_properties_of_found(contact) for contact in contacts]
        inputs = [Input(each["email"], each) for each in properties]
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
        unaccounted = Outcome.failed(
            Code.NOT_ACCOUNTED, f"HubSpot answered with success, but not for this contact ({answer.label})"
        )
        return [entry or unaccounted for entry in batch.entries]

    async def _upsert_matched(self, contacts: Sequence[Contact]) -> list[Entry]:
        """By the property of HUBSPOT_MATCH. The address is a property like others."""
        inputs = [Input(str(contact.fields[self._match]).strip(), _properties_of_found(contact)) for contact in contacts]
        answer = await self._write("upsert", inputs, contacts, idProperty=self._match)
        unaccounted = Outcome.failed(
            Code.NOT_ACCOUNTED, f"HubSpot answered with success, but not for this contact ({answer.label})"
        )
        return [entry or unaccounted for entry in Batch(answer, inputs, self._mapped, by_id=False, match=self._match).entries]

    async def _update_found(self, contacts: Sequence[Contact]) -> list[Entry]:
        """Looked for by all addresses of their records, and updated by the ids of these; their addresses stay as they are."""
        addresses = [(contact.email or "").strip().lower() for contact in contacts]
        found = {email: record.id for record in await self._read(addresses) for email in record.emails}
        entries: list[Entry | None] = [None if fold(address) in found else not_there("HubSpot") for address in addresses]
        # Twice in one request a record is refused: who shares one with another comes again.
        places = {found[fold(address)]: place for place, address in enumerate(addresses) if entries[place] is None}
        inputs = [
            Input(record, {name: value for name, value in _properties_of_found(contacts[place]).items() if name != "email"})
            for record, place in places.items()
        ]
        if inputs:
            answer = await self._write("update", inputs, [contacts[place] for place in places.values()])
            said = (
                _without_missing(answer, inputs)
                if is_missing(answer)
                else Batch(answer, inputs, self._mapped, by_id=True).entries
            )
            for place, entry in zip(places.values(), said, strict=True):
                entries[place] = entry or not_there("HubSpot")
        shared = Outcome.failed(
            Code.LOCKED, "its record in HubSpot is being updated for another contact that has the same record"
        )
        return [entry or shared for entry in entries]

    async def _create(self, contacts: Sequence[Contact]) -> list[Entry]:
        properties = [_properties(contact, emptied=False) for contact in contacts]
        inputs = [Input(each["email"], each) for each in properties]
        body = {
            "inputs": [
                {"properties": each, "associations": [], "objectWriteTraceId": trace(place)}
                for place, each in enumerate(properties)
            ]
        }
        answer = judged(await self._http.send("POST", f"{self._path}/batch/create", body, writes=contacts), body)
        alone = answer.status in (400, 409) and len(contacts) == 1 and isinstance(answer.json, dict)
        if alone and (record := conflict_of(answer.json)) is not None:
            return [already_there("HubSpot", contacts[0], record or None)]
        if not is_batch(answer):
            raise batch_refused(answer, body, self._mapped)
        answer.confirm()
        taken = taken_by(answer)
        unaccounted = Outcome.failed(
            Code.NOT_ACCOUNTED, f"HubSpot answered with success, but not for this contact ({answer.label})"
        )
        entries = Batch(answer, inputs, self._mapped, by_id=False).entries
        return [
            already_there("HubSpot", contact, taken[trace(place)]) if trace(place) in taken else entry or unaccounted
            for place, (contact, entry) in enumerate(zip(contacts, entries, strict=True))
        ]

    async def _write(self, operation: str, inputs: Sequence[Input], contacts: Sequence[Contact], **each: str) -> Answer:
        """each: what every input says in addition to its own. contacts: whose inputs they are. The answer speaks about single
        contacts.
        """
        body = {
            "inputs": [
                {"id": item.key, **each, "properties": item.properties, "objectWriteTraceId": trace(place)}
                for place, item in enumerate(inputs)
            ]
        }
        answer = judged(await self._http.send("POST", f"{self._path}/batch/{operation}", body, writes=contacts), body)
        if not is_batch(answer) and not (operation == "update" and is_missing(answer)):
            raise batch_refused(answer, body, self._mapped)
        if is_batch(answer):
            answer.confirm()
        return answer

    async def _delete(self, operation: str, body: Mapping[str, Any], count: int) -> Entry:
        """Of this many records. Those that are not there are deleted already."""
        try:
            answer = judged(await self._http.send("POST", f"{self._path}/{operation}", body), body)
        except LaneError as error:
            return error
        if answer.status == 204 or (count == 1 and is_missing(answer)):
            answer.confirm()
            return Outcome.delivered(None)
        refused = batch_refused(answer, body)
        if count > 1 or not isinstance(refused, BatchRefusedError):
            return refused
        return (Outcome.failed if refused.retried else Outcome.rejected)(refused.code, refused.reason)

    async def _find(self, batch: Batch) -> None:
        """Addresses that are no record's primary one: HubSpot answers under that, and once where two are of one record."""
        try:
            found = await self._read([batch.inputs[place].key for place in batch.open])
        except LaneError as error:
            batch.leave(error)
        else:
            batch.recognise(found)

    async def _read(self, addresses: Sequence[str]) -> list[Result]:
        """The records that have these, among others or not."""
        body = {
            "idProperty": "email",
            "inputs": [{"id": address} for address in addresses],
            "properties": ["email", "hs_additional_emails"],
            "propertiesWithHistory": [],
        }
        return results(judged(await self._http.send("POST", f"{self._path}/batch/read", body, writes=()), body))


async def _settle(entries: dict[int, Entry], send: Send, contacts: Sequence[Contact], places: Sequence[int]) -> None:
    """Sends the contacts at these places. That it fails takes nothing from those that were sent before."""
    if not places:
        return
    sent: Sequence[Entry | None]
    try:
        sent = await send([contacts[place] for place in places])
    except LaneError as error:
        sent = [error] * len(places)
    entries.update((place, entry) for place, entry in zip(places, sent, strict=True) if entry is not None)


def _known_by_id(contacts: Sequence[Contact]) -> list[int]:
    """The places of those that are updated by their record id.

    Not those that share one: it can have one primary address only, and each would put its own in place of the other's. By
    address each reaches the record that has it. Those that share one with contacts that are not here come without its id
    (`crm_sync.table.shared_records`).
    """
    shared = Counter(contact.remote_id for contact in contacts)
    return [
        place
        for place, contact in enumerate(contacts)
        if contact.remote_id and is_id(contact.remote_id) and shared[contact.remote_id] == 1
    ]


def _distinct(contacts: Sequence[Contact], match: str, settled: Collection[int]) -> list[int]:
    """The places of those that have a value of their own of this property, and are not settled. Of several with one value the
    first: twice in a request HubSpot refuses it, and they are one contact.
    """
    places: dict[str, int] = {}
    for place, contact in enumerate(contacts):
        if place not in settled and match in contact.filled:
            places.setdefault(fold(str(contact.filled[match])), place)
    return [*places.values()]


def _without_missing(answer: Answer, inputs: Sequence[Input]) -> list[Entry | None]:
    """All were refused because of some that are not there; the others come again without them."""
    missing = set(context(answer.json, "ids")) if len(inputs) > 1 else {inputs[0].key}
    again = BatchRefusedError(
        Code.REJECTED, f"HubSpot refused the contacts because of some that it does not have ({answer.label})"
    )
    return [None if item.key in missing else again for item in inputs]


def _properties(contact: Contact, *, emptied: bool) -> dict[str, str]:
    """All are texts already, as HubSpot's OpenAPI wants them. What is empty here stays as it is there, but for what is emptied:
    an empty text clears a property, and null is ignored. [HubSpot, contacts guide]
    """
    cleared = dict.fromkeys(contact.emptied, "") if emptied else {}
    return {**HUBSPOT.fields_of(contact.filled), **cleared, "email": (contact.email or "").strip().lower()}


def _properties_of_found(contact: Contact) -> dict[str, str]:
    """Of a contact that is found otherwise than by the id in its row: of such a record it is not known what is in it, unless that
    is what the first delivery left.
    """
    return _properties(contact, emptied=not contact.remote_id)
