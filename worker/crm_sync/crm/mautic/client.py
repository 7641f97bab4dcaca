"""Mautic, up to 25 contacts per request.

Mautic silently matches contacts itself: of several with one address it takes the newest, an edit of a record whose address
another one has merges the two (4.x, even if the edit does not change it) or is refused (5.0 and later), and its database does not
enforce unique addresses. So this client looks before it writes: one search for the addresses of a call, then edits by id, then
new contacts. An edit includes the address only if it changes, and none is made where there is something to merge. PUT is never
used: it empties fields that are not sent.

On POST and PATCH, Mautic drops 0, false, and any number between -1 and 1, because it takes them for empty. Its answer shows this,
and the row says so (`crm_sync.crm.mautic.storage`). [mautic/mautic: CommonApiController, LeadApiController,
CustomFieldsApiControllerTrait, at 4.4.13 and 5.1.1]
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold
from crm_sync.core.mode import Mode, already_there, not_there
from crm_sync.core.outcome import Contact, Deletion, Outcome, is_empty
from crm_sync.core.remote_schema import RemoteField, RemoteSchema
from crm_sync.core.text import printable
from crm_sync.crm.account import Account, over_http, require_none
from crm_sync.crm.client import Client, Entry, Found, Held
from crm_sync.crm.exchange import Assumption
from crm_sync.crm.http import Http
from crm_sync.crm.mautic import likeness, segments
from crm_sync.crm.mautic.answers import judged
from crm_sync.crm.mautic.assumptions import assumptions
from crm_sync.crm.mautic.deleting import deleted
from crm_sync.crm.mautic.field_match import FieldMatch
from crm_sync.crm.mautic.login import Login, PasswordLogin, TokenLogin
from crm_sync.crm.mautic.lookup import Lookup, holders
from crm_sync.crm.mautic.matching import Edit, New, Step, address, disputed, holds, key, plan, record_id
from crm_sync.crm.mautic.reading import located, only
from crm_sync.crm.mautic.reading import read as read_held
from crm_sync.crm.mautic.schema import FIELDS, PAGE_OF_FIELDS, schema, shown
from crm_sync.crm.mautic.settings import MauticSettings
from crm_sync.crm.mautic.storage import COUNTED, OTHER_MEMBERS, held_by
from crm_sync.crm.mautic.writing import Planned, Write, Writer
from crm_sync.crm.values import MAUTIC
from crm_sync.environment import read
from crm_sync.errors import BatchRefusedError, ConfigurationError, LaneError

TIMEOUT_S = 60.0  # 200 contacts took two minutes on a large installation [mautic/mautic#8921]

WITHOUT_ADDRESS = (
    "add one to the row, or set MAUTIC_MATCH to a unique identifier of Mautic that the mapping sends, and queue it again"
)

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
    site = _site(settings.mautic_base_url or "")
    return lambda http: Mautic(login(http, name, key), settings.mautic_mode, match=settings.mautic_match, site=site)


def _site(url: str) -> str:
    """Host, port unless it is the usual one, and path."""
    place = urlsplit(url)
    port = f":{place.port}" if place.port not in (None, 80, 443) else ""
    return f"{place.hostname}{port}{place.path.rstrip('/')}"


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

    def __init__(self, login: Login, mode: Mode = Mode.UPSERT, *, match: str = "email", site: str | None = None) -> None:
        """match: the field that finds a contact without a known id, before its address does, and one without an address. site:
        host and path of the installation.
        """
        self._site = site
        self._login = login
        self._mode = mode
        self._lookup = Lookup(login)
        self._writer = Writer(login, self.batch_limit)
        self._match = None if match == "email" else FieldMatch(match, self._lookup)
        self.matched_by = frozenset() if self._match is None else frozenset({match})
        self.without_address = WITHOUT_ADDRESS if self._match is None else self._match.without_address

    def key(self, contact: Contact) -> str | None:
        record = record_id(contact.remote_id)
        return self.also_known_by(contact) or (key("id", record) if record else None)

    def also_known_by(self, contact: Contact) -> str | None:
        return None if self._match is None else self._match.key(contact)

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        identities = [self._identity(contact) for contact in contacts]
        entries: list[Planned] = [*await self._plan(contacts, identities)]
        # Edits first: if a record is gone, its contact becomes a new one.
        for stage in (Edit, New):
            entries = [self._possible(*each) for each in zip(contacts, identities, entries, strict=True)]
            steps = {place: entry for place, entry in enumerate(entries) if isinstance(entry, stage)}
            trouble = next((entry for entry in entries if _is_trouble(entry)), None)
            writes = [Write(contacts[place], identities[place], step) for place, step in steps.items()]
            said = await self._writer.write(stage, writes) if trouble is None else [trouble] * len(writes)
            for place, entry in zip(steps, said, strict=True):
                entries[place] = entry
        settled: list[Entry] = [entry for entry in entries if isinstance(entry, Entry)]
        return await segments.applied(self._login, contacts, settled)

    def assumptions(self, contact: Contact) -> Sequence[Assumption]:
        identity = self._identity(contact)
        found = assumptions(contact, identity, sorted(self._reserved(contact)))
        return found if self._match is None or not holds(identity) else self._match.assumptions(contact, found)

    async def find(self, emails: Sequence[str]) -> Sequence[Found]:
        """An address that Mautic cannot store has no record."""
        held = holders(await self._lookup.with_addresses([fold(email) for email in emails if holds(fold(email))]))
        return [only(held.get(fold(email), ())) for email in emails]

    async def locate(self, contacts: Sequence[Contact]) -> Sequence[Found]:
        return await located(self._lookup, self._match, contacts, [self._identity(contact) for contact in contacts])

    async def read(self, contacts: Sequence[Contact], names: Sequence[str]) -> Sequence[Held]:
        return await read_held(self._lookup, self._match, contacts, [self._identity(contact) for contact in contacts], names)

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

    async def account(self) -> str | None:
        """By its place: Mautic has no name for an installation that its API shows."""
        return self._site

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

    def _identity(self, contact: Contact) -> str:
        """As in `crm_sync.crm.mautic.matching`."""
        return address(contact) or self.key(contact) or ""

    async def _plan(self, contacts: Sequence[Contact], identities: Sequence[str]) -> list[Step]:
        whole = any(map(self._reserved, contacts))
        known = None if self._match is None else await self._match.identified(contacts, identities, whole=whole)
        found = await self._lookup.with_addresses([identity for identity in identities if holds(identity)], whole=whole)
        held: Mapping[str, Sequence[int]] = holders(found)
        if known is not None:
            contacts, found, held = known.contacts, [*found, *known.records], {**held, **known.holders}
        existing = {int(record["id"]) for record in await self._lookup.with_ids(disputed(contacts, identities, held))}
        steps = plan(contacts, identities, held, existing, merges=self._lookup.merges)
        if known is not None and known.refused:
            steps = [known.refused.get(place, step) for place, step in enumerate(steps)]
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
        return replace(step, left=step.left | held.keys(), theirs=frozenset(theirs)) if held else step

    def _reserved(self, contact: Contact) -> list[str]:
        """The fields of this contact that are sent only where Mautic has no value."""
        return [name for name in contact.filled if name in self.if_empty] if self.if_empty else []

    def _possible(self, contact: Contact, identity: str, entry: Planned) -> Planned:
        """The step, or what becomes of a contact for which the mode, or what is known of it, does not allow it."""
        if isinstance(entry, New) and self._mode is Mode.UPDATE:
            return not_there("Mautic")
        if isinstance(entry, New) and identity.startswith("id "):
            reason = f"the contact has no email address, and Mautic has no record {contact.remote_id}: {self.without_address}"
            return Outcome.rejected(Code.INVALID_EMAIL, reason)
        if isinstance(entry, Edit) and self._mode is Mode.CREATE:
            return already_there("Mautic", contact, str(entry.record))
        return entry


def _is_trouble(entry: Planned) -> bool:
    """Whether it makes further requests pointless: the CRM is down or refuses every contact, or we have to wait."""
    return isinstance(entry, LaneError) and not isinstance(entry, BatchRefusedError)
