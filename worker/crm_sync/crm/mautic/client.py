"""Mautic, up to 25 contacts per request.

Mautic silently matches contacts itself: of several with one address it writes the newest, an edit whose address belongs to
another contact merges the two (4.x) or is refused (5.x), and its database does not enforce unique addresses. So this client looks
before it writes: one search for the addresses of a call, then edits by id, then new contacts. An edit includes the address only
if it changes, so that there is nothing to match or merge. PUT is never used: it empties fields that are not sent.

On POST and PATCH, Mautic drops 0, false, and any number between -1 and 1, because it takes them for empty. Its answer shows this,
and the row says so (`crm_sync.crm.mautic.storage`). [mautic/mautic: CommonApiController, LeadApiController,
CustomFieldsApiControllerTrait, at 4.4.13 and 5.1.1]
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold
from crm_sync.core.mode import Mode, already_there, not_there
from crm_sync.core.outcome import Contact, Deletion, Outcome, is_empty
from crm_sync.core.remote_schema import RemoteField, RemoteSchema
from crm_sync.core.text import printable
from crm_sync.crm.account import Account, over_http, require_none
from crm_sync.crm.client import Client, Entry, Found, Held, Record
from crm_sync.crm.exchange import Assumption
from crm_sync.crm.http import Http
from crm_sync.crm.mautic import likeness, segments
from crm_sync.crm.mautic.answers import email, judged
from crm_sync.crm.mautic.assumptions import assumptions
from crm_sync.crm.mautic.deleting import deleted
from crm_sync.crm.mautic.field_match import FieldMatch
from crm_sync.crm.mautic.login import Login, PasswordLogin, TokenLogin
from crm_sync.crm.mautic.lookup import Lookup, holders
from crm_sync.crm.mautic.matching import Edit, New, Step, address, disputed, holds, is_holdable, plan, record_id
from crm_sync.crm.mautic.schema import FIELDS, PAGE_OF_FIELDS, schema, shown
from crm_sync.crm.mautic.settings import MauticSettings
from crm_sync.crm.mautic.storage import COUNTED, OTHER_MEMBERS, held_by
from crm_sync.crm.mautic.writing import Planned, Writer
from crm_sync.crm.values import MAUTIC
from crm_sync.environment import read
from crm_sync.errors import BatchRefusedError, ConfigurationError, LaneError, OutageError

TIMEOUT_S = 60.0  # 200 contacts took two minutes on a large installation [mautic/mautic#8921]

DEFAULT_FIELDS = {
    "firstname": "first_name",
    "lastname": "last_name",
    "phone": "phone",
    "company": "company",
    "position": "job_title",
    "website": "website",
    "address1": "address",
    "city": "city",
    "state": "state",
    "zipcode": "zip",
    "country": "country",
}


def account() -> Account | None:
    """None if no setting for a login is set. Raises ConfigurationError that names a wrong setting."""
    settings = read(MauticSettings)
    if settings.mautic_base_url is None:
        require_none("MAUTIC_BASE_URL", settings)
        return None
    return over_http(
        "mautic",
        _client(settings),
        url_setting="MAUTIC_BASE_URL",
        base_url=settings.mautic_base_url,
        headers={},
        default_fields=DEFAULT_FIELDS,
        forms=MAUTIC,
        timeout_s=TIMEOUT_S,
        required={} if settings.mautic_match == "email" else {settings.mautic_match: "MAUTIC_MATCH"},
        # As in its routes: app/bundles/LeadBundle/Config/config.php.
        record_url=settings.mautic_base_url.rstrip("/").replace("{", "%7B").replace("}", "%7D") + "/s/contacts/view/{id}",
    )


def _client(settings: MauticSettings) -> Callable[[Http], "Mautic"]:
    """One of the two ways to log in. Raises ConfigurationError if both, only half of one, or neither is configured."""
    by_password = {"MAUTIC_USERNAME": settings.mautic_username, "MAUTIC_PASSWORD": _secret(settings.mautic_password)}
    by_token = {"MAUTIC_CLIENT_ID": settings.mautic_client_id, "MAUTIC_CLIENT_SECRET": _secret(settings.mautic_client_secret)}
    given = [way for way in (by_password, by_token) if any(way.values())]
    if len(given) != 1:
        names = ", ".join((*by_password, *by_token))
        problem = "contradict each other" if given else "none is set"
        raise ConfigurationError(f"{names}: {problem}; Mautic accepts either a username and password, or an OAuth2 client")
    missing = [name for name, value in given[0].items() if not value]
    if missing:
        raise ConfigurationError(f"{missing[0]}: not set; {' and '.join(given[0])} go together")
    name, key = (value or "" for value in given[0].values())
    login = PasswordLogin if given[0] is by_password else TokenLogin
    return lambda http: Mautic(login(http, name, key), settings.mautic_mode, match=settings.mautic_match)


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


class Mautic(Client):
    """One Mautic installation."""

    batch_limit = 25
    concurrency = 8
    adaptive = True
    delete_limit = 25
    read_limit = 25
    unread = OTHER_MEMBERS
    read_members = likeness.MEMBERS
    moving = COUNTED

    def __init__(self, login: Login, mode: Mode = Mode.UPSERT, *, match: str = "email") -> None:
        """match: the field that finds a contact without a known id, before its address does."""
        self._login = login
        self._mode = mode
        self._lookup = Lookup(login)
        self._writer = Writer(login, self.batch_limit)
        self._match = None if match == "email" else FieldMatch(match, self._lookup)

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        entries: list[Planned] = [*await self._plan(contacts)]
        # Edits first: if a record is gone, its contact becomes a new one.
        for stage in (Edit, New):
            entries = [self._within_mode(contact, entry) for contact, entry in zip(contacts, entries, strict=True)]
            steps = {place: entry for place, entry in enumerate(entries) if isinstance(entry, stage)}
            trouble = next((entry for entry in entries if _is_trouble(entry)), None)
            writes = [(contacts[place], step) for place, step in steps.items()]
            said = await self._writer.write(stage, writes) if trouble is None else [trouble] * len(writes)
            for place, entry in zip(steps, said, strict=True):
                entries[place] = entry
        settled: list[Entry] = [entry for entry in entries if isinstance(entry, Entry)]
        return await segments.applied(self._login, contacts, settled)

    def assumptions(self, contact: Contact) -> Sequence[Assumption]:
        found = assumptions(contact, sorted(self._reserved(contact)))
        return found if self._match is None else self._match.assumptions(contact, found)

    async def find(self, emails: Sequence[str]) -> Sequence[Found]:
        """An address that Mautic cannot store has no record."""
        held = holders(await self._lookup.with_addresses([fold(email) for email in emails if holds(fold(email))]))
        return [_only(held.get(fold(email), ())) for email in emails]

    async def read(self, contacts: Sequence[Contact], names: Sequence[str]) -> Sequence[Held]:
        """One search by id, and one by address for those whose id is gone."""
        ids = [record_id(contact.remote_id) for contact in contacts]
        found = await self._lookup.with_ids([record for record in dict.fromkeys(ids) if record], whole=True)
        by_id = {int(record["id"]): record for record in found}
        places = [place for place, record in enumerate(ids) if record not in by_id and is_holdable(contacts[place])]
        by_address: dict[str, list[Mapping[str, Any]]] = {}
        found = await self._lookup.with_addresses([address(contacts[place]) for place in places], whole=True)
        for record in found:
            by_address.setdefault(email(record) or "", []).append(record)
        return [
            _record(by_id[record], names) if record in by_id else _only_record(by_address.get(address(contact), ()), names)
            for record, contact in zip(ids, contacts, strict=True)
        ]

    def same(self, field: RemoteField | None, name: str, sent: Any, held: Any) -> bool | None:
        member = MAUTIC.member(name)
        return likeness.same(field, sent, held) if member is None else likeness.same_member(member, sent, held)

    async def delete(self, deletions: Sequence[Deletion]) -> Sequence[Entry]:
        return await deleted(self._login, deletions)

    async def check(self) -> str:
        answer = await self._lookup.first()
        if self._match is not None:
            self._match.require_unique(await self.schema())
        version = printable(answer.headers.get("Mautic-Version", ""), 32)
        return f"credentials accepted by Mautic {version}" if version else "credentials accepted"

    async def schema(self) -> RemoteSchema:
        """Page by page: by default Mautic shows thirty. [mautic/mautic: default_pagelimit]"""
        fields: list[Mapping[str, Any]] = []
        page: Sequence[Mapping[str, Any]] = ()
        while not fields or len(page) == PAGE_OF_FIELDS:
            query = {"start": str(len(fields)), "limit": str(PAGE_OF_FIELDS), "orderBy": "id"}
            answer = judged(await self._login.send("GET", FIELDS, query=query))
            page = shown(answer, after=bool(fields))
            fields += page
        return schema(fields)

    # Looking up records.

    async def _plan(self, contacts: Sequence[Contact]) -> list[Step]:
        contacts, ambiguous = (contacts, {}) if self._match is None else await self._match.identified(contacts)
        whole = any(map(self._reserved, contacts))
        addresses = [address(contact) for contact in contacts if is_holdable(contact)]
        found = await self._lookup.with_addresses(addresses, whole=whole)
        held = holders(found)
        existing = {int(record["id"]) for record in await self._lookup.with_ids(disputed(contacts, held))}
        steps = [ambiguous.get(place, step) for place, step in enumerate(plan(contacts, held, existing))]
        return await self._sparing(contacts, steps, found) if whole else steps

    async def _sparing(
        self, contacts: Sequence[Contact], steps: Sequence[Step], found: Iterable[Mapping[str, Any]]
    ) -> list[Step]:
        """The same steps, without what is sent only where Mautic has no value. found: records that have been looked at."""
        seen = {int(record["id"]): record for record in found}
        edits = [
            step for step, contact in zip(steps, contacts, strict=True) if isinstance(step, Edit) and self._reserved(contact)
        ]
        unseen = [step.record for step in edits if step.record not in seen]
        seen |= {int(record["id"]): record for record in await self._lookup.with_ids(unseen, whole=True)}
        return [
            # One that is gone becomes a new contact.
            self._sparing_edit(contact, step, seen[step.record]) if isinstance(step, Edit) and step.record in seen else step
            for contact, step in zip(contacts, steps, strict=True)
        ]

    def _sparing_edit(self, contact: Contact, step: Edit, record: Mapping[str, Any]) -> Edit:
        held = {name: value for name in self._reserved(contact) if not is_empty(value := held_by(record, name))}
        theirs = [name for name, value in held.items() if likeness.same(None, contact.fields[name], value) is not True]
        return replace(step, left=frozenset(held), theirs=frozenset(theirs)) if held else step

    def _reserved(self, contact: Contact) -> list[str]:
        """The fields of this contact that are sent only where Mautic has no value."""
        return [name for name in contact.filled if name in self.if_empty] if self.if_empty else []

    def _within_mode(self, contact: Contact, entry: Planned) -> Planned:
        if isinstance(entry, New) and self._mode is Mode.UPDATE:
            return not_there("Mautic")
        if isinstance(entry, Edit) and self._mode is Mode.CREATE:
            return already_there("Mautic", contact, str(entry.record))
        return entry


def _only(held: Sequence[int]) -> Found:
    if len(held) > 1:
        records = ", ".join(map(str, held))
        return Outcome.rejected(Code.AMBIGUOUS, f"email: several records of Mautic have this address: {records}")
    return str(held[0]) if held else None


def _record(record: Mapping[str, Any], names: Sequence[str]) -> Held:
    groups = record.get("fields")
    values = groups.get("all") if isinstance(groups, dict) else None
    if not isinstance(values, dict):
        return OutageError(Code.BROKEN_ANSWER, "Mautic answered a search with a contact without its fields")
    known_by = email(record)
    return Record(frozenset({known_by} if known_by else ()), _values(record, values, names))


def _values(record: Mapping[str, Any], fields: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """By the names of the mapping; without a member that the record does not show."""
    members = {name: MAUTIC.member(name) for name in names}
    return {
        name: fields.get(name) if member is None else record[member]
        for name, member in members.items()
        if member is None or member in record
    }


def _only_record(held: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Held:
    several = _only([int(record["id"]) for record in held])
    return several if isinstance(several, Outcome) else _record(held[0], names) if held else None


def _is_trouble(entry: Planned) -> bool:
    """Whether it makes further requests pointless: the CRM is down or refuses every contact, or we have to wait."""
    return isinstance(entry, LaneError) and not isinstance(entry, BatchRefusedError)
