"""Mautic, up to 25 contacts per request.

Mautic silently matches contacts itself: of several with one address it writes the newest, an edit whose address belongs to
another contact merges the two (4.x) or is refused (5.x), and its database does not enforce unique addresses. So this client looks
before it writes: one search for the addresses of a call, then edits by id, then new contacts. An edit includes the address only
if it changes, so that there is nothing to match or merge. PUT is never used: it empties fields that are not sent.

On POST and PATCH, Mautic drops 0, false, and any number between -1 and 1, because it takes them for empty. Its answer shows this,
and the row says so (`crm_sync.crm.mautic.storage`). [mautic/mautic: CommonApiController, LeadApiController,
CustomFieldsApiControllerTrait, at 4.4.13 and 5.1.1]
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold, with_ascii_domain
from crm_sync.core.mode import Mode, already_there, not_there
from crm_sync.core.outcome import Contact, Deletion, Outcome, Verdict, is_empty
from crm_sync.core.remote_schema import RemoteField, RemoteSchema
from crm_sync.core.text import printable
from crm_sync.crm.account import Account, over_http, require_none
from crm_sync.crm.answer import Answer, quoted
from crm_sync.crm.client import Client, Entry, Found, Held, Record
from crm_sync.crm.exchange import Assumption
from crm_sync.crm.http import Http
from crm_sync.crm.mautic import likeness, segments
from crm_sync.crm.mautic.answers import email, is_gone, judged, plain, records, written
from crm_sync.crm.mautic.assumptions import assumptions
from crm_sync.crm.mautic.field_match import FieldMatch
from crm_sync.crm.mautic.login import Login, PasswordLogin, TokenLogin
from crm_sync.crm.mautic.matching import Edit, New, Step, address, disputed, holds, is_holdable, plan, record_id
from crm_sync.crm.mautic.schema import FIELDS, PAGE_OF_FIELDS, schema, shown
from crm_sync.crm.mautic.settings import MauticSettings
from crm_sync.crm.mautic.storage import COUNTED, OTHER_MEMBERS, held_by
from crm_sync.crm.trail import current
from crm_sync.crm.values import MAUTIC
from crm_sync.environment import read
from crm_sync.errors import BatchRefusedError, ConfigurationError, LaneError, OutageError

SEARCH = "/api/contacts"
DELETE_BATCH = "/api/contacts/batch/delete"
PAGE = 50  # records in a search result: twice as many as are requested, and with all their fields below the largest body
TIMEOUT_S = 60.0  # 200 contacts took two minutes on a large installation [mautic/mautic#8921]

_TOO_MANY = re.compile(r"A max of ([1-9][0-9]{0,5}) entities", re.IGNORECASE)
_ROUTES = {Edit: ("PATCH", "/api/contacts/batch/edit"), New: ("POST", "/api/contacts/batch/new")}

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

Planned = Step | LaneError


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
        self._match = None if match == "email" else FieldMatch(match, self._found_by)
        self._most = self.batch_limit  # an installation can be set to less than we send, which its first answer shows

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        entries: list[Planned] = [*await self._plan(contacts)]
        # Edits first: if a record is gone, its contact becomes a new one.
        for stage in (Edit, New):
            entries = [self._within_mode(contact, entry) for contact, entry in zip(contacts, entries, strict=True)]
            steps = {place: entry for place, entry in enumerate(entries) if isinstance(entry, stage)}
            trouble = next((entry for entry in entries if _is_trouble(entry)), None)
            writes = [(contacts[place], step) for place, step in steps.items()]
            said = await self._write(stage, writes) if trouble is None else [trouble] * len(writes)
            for place, entry in zip(steps, said, strict=True):
                entries[place] = entry
        settled: list[Entry] = [entry for entry in entries if isinstance(entry, Entry)]
        return await segments.applied(self._login, contacts, settled)

    def assumptions(self, contact: Contact) -> Sequence[Assumption]:
        found = assumptions(contact, sorted(self._reserved(contact)))
        return found if self._match is None else self._match.assumptions(contact, found)

    async def find(self, emails: Sequence[str]) -> Sequence[Found]:
        """An address that Mautic cannot store has no record."""
        holders = _holders(await self._with_addresses([fold(email) for email in emails if holds(fold(email))]))
        return [_only(holders.get(fold(email), ())) for email in emails]

    async def read(self, contacts: Sequence[Contact], names: Sequence[str]) -> Sequence[Held]:
        """One search by id, and one by address for those whose id is gone."""
        ids = [record_id(contact.remote_id) for contact in contacts]
        found = await self._search("id", [str(record) for record in dict.fromkeys(ids) if record], whole=True)
        by_id = {int(record["id"]): record for record in found}
        places = [place for place, record in enumerate(ids) if record not in by_id and is_holdable(contacts[place])]
        by_address: dict[str, list[Mapping[str, Any]]] = {}
        found = await self._search("email", [address(contacts[place]) for place in places], whole=True)
        if len(found) >= PAGE:
            raise BatchRefusedError(Code.AMBIGUOUS, f"email: {PAGE} records of Mautic or more have such an address")
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
        """Permanently in any case: Mautic cannot restore contacts.

        The answer to a batch has the deleted records, and an error for each that was not deleted, with indexes that do not match
        the request if others were missing. In that case each record is looked up individually: one that is gone counts as
        deleted. [mautic/mautic: CommonApiController, deleteEntitiesAction]
        """
        ids = [record_id(deletion.remote_id) for deletion in deletions]
        wanted = list(dict.fromkeys(record for record in ids if record is not None))
        said: dict[int | None, Entry] = {None: Outcome.rejected(Code.REJECTED, "the id is not a valid id of Mautic")}
        if len(wanted) > 1:
            answer = judged(await self._login.send("DELETE", DELETE_BATCH, query={"ids": ",".join(map(str, wanted))}))
            if answer.status == 200 and isinstance(answer.get("contacts"), list | dict) and not answer.get("errors"):
                answer.confirm()
                said.update(dict.fromkeys(wanted, Outcome.delivered(None)))
        for record in wanted:
            if record not in said:
                said[record] = await self._delete(record)
        return [said[record] for record in ids]

    async def check(self) -> str:
        answer = await self._ask({"limit": "1", "minimal": "1"})
        records(answer)
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
        found = await self._with_addresses([address(contact) for contact in contacts if is_holdable(contact)], whole=whole)
        holders = _holders(found)
        disputes = [str(record) for record in disputed(contacts, holders)]
        existing = {int(record["id"]) for record in await self._search("id", disputes)}
        steps = [ambiguous.get(place, step) for place, step in enumerate(plan(contacts, holders, existing))]
        return await self._sparing(contacts, steps, found) if whole else steps

    async def _sparing(
        self, contacts: Sequence[Contact], steps: Sequence[Step], found: Iterable[Mapping[str, Any]]
    ) -> list[Step]:
        """The same steps, without what is sent only where Mautic has no value. found: records that have been looked at."""
        seen = {int(record["id"]): record for record in found}
        edits = [
            step for step, contact in zip(steps, contacts, strict=True) if isinstance(step, Edit) and self._reserved(contact)
        ]
        unseen = [str(step.record) for step in edits if step.record not in seen]
        seen |= {int(record["id"]): record for record in await self._search("id", unseen, whole=True)}
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

    async def _found_by(self, column: str, values: Collection[str]) -> Sequence[Mapping[str, Any]]:
        found = await self._search(column, values)
        if len(found) >= PAGE:
            raise BatchRefusedError(Code.AMBIGUOUS, f"{column}: {PAGE} records of Mautic or more have such a value")
        return found

    async def _with_addresses(self, addresses: Collection[str], *, whole: bool = False) -> Sequence[Mapping[str, Any]]:
        """The records with these addresses."""
        found = await self._search("email", addresses, whole=whole)
        strangers = _holders(found).keys() - set(addresses)
        if "" in strangers or (strangers and len(found) >= PAGE):
            raise OutageError(Code.BROKEN_ANSWER, "Mautic answered a search by address with contacts that were not looked for")
        if len(found) >= PAGE:
            raise BatchRefusedError(Code.AMBIGUOUS, f"email: {PAGE} records of Mautic or more have such an address")
        return found

    async def _search(self, column: str, values: Collection[str], *, whole: bool = False) -> Sequence[Mapping[str, Any]]:
        """whole: with everything that Mautic shows about a contact."""
        if not values:
            return []
        # Values are comma-separated; no searched address contains a comma, and other values are quoted.
        where = {"where[0][col]": column, "where[0][expr]": "in", "where[0][val]": ",".join(values)}
        shown = {"limit": str(PAGE), **({} if whole else {"minimal": "1"})}
        return records(await self._ask(where | shown), list(values))

    async def _ask(self, query: Mapping[str, str]) -> Answer:
        # A page can quote the whole query, or one of its addresses.
        looked_for = [value for text in query.values() for value in (text, *text.split(","))]
        answer = judged(await self._login.send("GET", SEARCH, query=query), looked_for)
        if answer.status >= 400:
            said = quoted(plain(answer), looked_for)
            raise BatchRefusedError(Code.BROKEN_ANSWER, f"the search was refused ({answer.label}: {said})", retried=True)
        return answer

    # Deleting.

    async def _delete(self, record: int) -> Entry:
        try:
            answer = await self._login.send("DELETE", f"{SEARCH}/{record}/delete")
            if is_gone(answer):
                answer.confirm()
                return Outcome.delivered(None)
            said = f"{answer.label}: {quoted(plain(judged(answer)))}"
        except LaneError as error:
            return error
        if answer.status >= 400:
            return Outcome.rejected(Code.REJECTED, f"Mautic did not delete the contact ({said})")
        return OutageError(Code.BROKEN_ANSWER, f"Mautic answered {answer.label} but nothing about the contact")

    # Writing.

    def _within_mode(self, contact: Contact, entry: Planned) -> Planned:
        if isinstance(entry, New) and self._mode is Mode.UPDATE:
            return not_there("Mautic")
        if isinstance(entry, Edit) and self._mode is Mode.CREATE:
            return already_there("Mautic", contact, str(entry.record))
        return entry

    async def _write(self, stage: type[Edit | New], writes: Sequence[tuple[Contact, Edit | New]]) -> list[Planned]:
        """An entry for each: its result, or the next step."""
        entries: list[Planned] = []
        while len(entries) < len(writes):
            chunk = writes[len(entries) : len(entries) + self._most]
            bodies = [_body(contact, step) for contact, step in chunk]
            try:
                answer = await self._send(stage, bodies, [contact for contact, _ in chunk])
                if answer is not None:
                    said = written(answer, bodies, [address(contact) for contact, _ in chunk])
                    current().spared([one for (one, _), entry in zip(chunk, said, strict=True) if isinstance(entry, New)])
                    entries += [_sparingly(step, entry) for (_, step), entry in zip(chunk, said, strict=True)]
            except BatchRefusedError as error:
                entries += [error] * len(chunk)
            except LaneError as error:
                entries += [error] * (len(writes) - len(entries))
        return entries

    async def _send(self, stage: type[Edit | New], bodies: list[dict[str, Any]], contacts: Sequence[Contact]) -> Answer | None:
        """None if these are too many for this installation; fewer are sent from then on."""
        answer = await self._login.send(*_ROUTES[stage], bodies, writes=contacts)
        if answer.status == 500 and len(bodies) > 1:
            error = plain(answer)
            too_many = _TOO_MANY.search(error.said("message"))
            if too_many and int(too_many[1]) < len(bodies):
                self._most = int(too_many[1])
                return None
            # A refusal by Mautic has details, a crash has none. The message about its limit is not understood in other languages.
            if too_many or error.get("details") == []:
                reason = f"Mautic refused them together ({answer.label}: {quoted(error, bodies)})"
                raise BatchRefusedError(Code.CRM_ERROR, reason, retried=True)
        if judged(answer, bodies).status >= 400:
            said = quoted(plain(answer), bodies)
            raise BatchRefusedError(Code.REJECTED, f"Mautic refused the request ({answer.label}: {said})")
        return answer


def _body(contact: Contact, step: Edit | New) -> dict[str, Any]:
    """Empty fields are not sent and stay unchanged there; Mautic would ignore them anyway. Fields to be emptied are null, which
    takes effect only in an edit, and only if the item says so. [mautic/mautic: LeadApiController, overwriteWithBlank]

    The domain of the address is sent in its DNS form: Mautic stores only ASCII.
    """
    filled = contact.filled
    spelled = MAUTIC.members_among(filled)
    named = {spelled.get(name, name): value for name, value in filled.items()} if spelled else filled
    fields = {name: value for name, value in named.items() if name not in ("id", "email", segments.JOINED, segments.LEFT)}
    if isinstance(step, New):
        return {"email": with_ascii_domain(contact.email or ""), **fields}
    # With its current address, Mautic would look for others to merge it with.
    moved = {"email": with_ascii_domain(contact.email or "")} if step.moves else {}
    cleared: dict[str, Any] = {}
    # For a record that the row does not name, its content is unknown, unless it is from the first delivery.
    if contact.emptied and record_id(contact.remote_id) in (step.record, None):
        cleared = {**dict.fromkeys(contact.emptied), "overwriteWithBlank": True}
    fields = {name: value for name, value in fields.items() if name not in step.left}
    return {"id": step.record, **moved, **fields, **cleared}


def _sparingly(step: Edit | New, entry: Planned) -> Planned:
    """What became of a step that left fields as they were."""
    if isinstance(step, Edit) and step.left and isinstance(entry, Outcome) and entry.verdict is Verdict.DELIVERED:
        return entry._replace(left=entry.left | step.left, theirs=step.theirs)
    return entry


def _holders(found: Iterable[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Of these records the ids, by address."""
    holders: dict[str, list[int]] = {}
    for record in found:
        holders.setdefault(email(record) or "", []).append(int(record["id"]))
    return holders


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
