"""Contacts, as people and applications see them."""

from collections.abc import Sequence
from dataclasses import replace
from textwrap import dedent
from typing import Any

from crm_sync.api import showing
from crm_sync.api.contact_models import Attempt, ContactPage, ContactView, Found, Preview
from crm_sync.api.references import PREFIX, References
from crm_sync.api.requests import Filter
from crm_sync.api.tables import Tables, if_allowed, no_contact
from crm_sync.configuration import Configuration
from crm_sync.core.addresses import masked
from crm_sync.core.text import clean
from crm_sync.errors import ConfigurationError, DeclinedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.reports.found_contacts import find_contacts
from crm_sync.reports.named_contact import NamedContact
from crm_sync.reports.request_preview import RequestPreview
from crm_sync.reports.verdicts import tell_verdicts
from crm_sync.table.address_index import MANY, address_indexes
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.contact_list import ContactList, Wanted
from crm_sync.table.one_contact import Match, read_key, show
from crm_sync.table.schema import Schema

LOOK_S = 1.8  # for which the whole table is read to find an address without an index: less than a statement may take
ATTEMPTS = 50  # shown for a contact
MOST_SAME = 10  # other contacts with the same address


class Contacts:
    """Every method raises as Database.fetch does."""

    def __init__(self, configuration: Configuration, database: Database, tables: Tables, references: References) -> None:
        self._configuration = configuration
        self._database = database
        self._tables = tables
        self._references = references

    async def page(
        self, crm: str, wanted: Filter, *, failed_within_s: int | None = None, after: str | None, limit: int
    ) -> ContactPage:
        """A page, in key order. after: `next` of the previous page."""
        table = await self._tables.table(crm)
        key = None if after is None else await read_key(self._database, table, place_of(self._references, table, after))
        page = await ContactList(self._database, table).page(
            replace(meant(wanted), failed_within_s=failed_within_s), after=key, limit=limit
        )
        following = None if page.following_key is None else next_of(self._references, table, page.following_key)
        contacts = [showing.line(one, self._references) for one in page.contacts]
        return ContactPage(crm=crm, contacts=contacts, looked=page.looked, next=following)

    async def find(self, text: str, *, whole: bool = False) -> Found:
        """Finds contacts by pasted text: a key, an address, or an id in a CRM. whole: even a large table is read for an address
        that no index finds.
        """
        tables = await self._tables.whole()
        if not text or not tables:
            return Found(keys=[], by=None, looked_for=[], note=None, not_read=None)
        looked_for, note, not_read = [], None, None
        read_at_most = None if whole else MANY
        # Unchanged at first: a key may begin or end with a space.
        asked = [NamedContact(None, key) for key in dict.fromkeys((self._references.key(text), text.strip())) if key]
        if "@" in text:  # a key may contain one, too
            asked.insert(0, NamedContact(text.strip(), None))
        for one in asked:
            try:
                found = await find_contacts(self._database, tables, one, look_s=LOOK_S, read_at_most=read_at_most)
            except DeclinedError as error:  # too long for an address, but a key is still found
                note = f"{error}."
                continue
            looked_for += found.looked_for
            note = note or found.note
            not_read = not_read or found.not_read
            if found.keys:
                keys = [*map(self._references.of, found.keys)]
                return Found(keys=keys, by=found.by, looked_for=looked_for, note=note, not_read=not_read)
        return Found(keys=[], by=None, looked_for=[*dict.fromkeys(looked_for)], note=note, not_read=not_read)

    async def one(self, named: str, *, in_full: bool = False) -> ContactView:
        """named: a key or a reference. in_full: with key and address unmasked, and with what would be sent.

        Raises NotFoundError.
        """
        key = self._references.key(named)
        schema = await self._tables.schema()
        first = next(iter((await self._tables.countable()).values()))
        verdicts = await tell_verdicts(self._database, self._configuration, schema, key.encode(errors="replace").decode())
        if all(verdict.verdict in ("not found", "misconfigured") for verdict in verdicts):
            raise no_contact(key)
        crms = [showing.contact_at(verdict, key, self._references, in_full=in_full) for verdict in verdicts]
        if not any(verdict.facts.get("row") for verdict in verdicts):
            told = key if in_full else self._references.of(key)
            return ContactView(key=told, email=None, exists=False, crms=crms, same_address=None, history=[])
        ids = await self._tables.found(first, key)
        rows = await self._database.fetch(render("read_addresses", first.variables), ids)
        if not rows:  # deleted in the meantime
            raise no_contact(key)
        email, key = rows[0]["email"], rows[0]["key"]
        if in_full:
            crms = [one.model_copy(update={"preview": await self._preview(schema, one.crm, ids)}) for one in crms]
        return ContactView(
            key=key if in_full else self._references.of(key),
            email=email if in_full else masked(email),
            exists=True,
            crms=crms,
            same_address=await self._same_address(first, email, key),
            history=await self._history(first, ids),
        )

    async def key(self, named: str) -> str:
        """As the table has it. Raises NotFoundError, also for a contact that is deleted."""
        key = self._references.key(named)
        first = next(iter((await self._tables.countable()).values()))
        rows = await self._database.fetch(render("read_addresses", first.variables), await self._tables.found(first, key))
        if not rows:  # deleted meanwhile
            raise no_contact(key)
        return str(rows[0]["key"])

    async def standing(self, named: str, crms: Sequence[str]) -> list[Match]:
        """Its row as it stands at some CRMs, in this order and each once: a few columns, found by the key. None where it is gone.

        Lanes that cannot deliver are among them, for contacts wait there too. Raises NotFoundError for a reference of another
        start, and DeclinedError if no CRM is installed.
        """
        key, tables = self._references.key(named), await self._tables.countable()
        found: list[Match] = []
        for crm in dict.fromkeys(crms):
            table = tables.get(crm)
            if table is not None:
                ids = [await read_key(self._database, table, key)]
                found += await show(self._database, table, ids)
        return found

    async def _history(self, table: LaneTable, ids: list[Any]) -> list[Attempt]:
        async def read() -> list[Attempt]:
            rows = await self._database.fetch(render("list_history", table.variables), ids, None, ATTEMPTS)
            return [showing.attempt(dict(row)) for row in rows]

        return await if_allowed(read, [])

    async def _same_address(self, table: LaneTable, email: str | None, key: str) -> list[str] | None:
        """Other contacts, if an index can find them."""
        if not email or not email.strip():
            return []
        indexes = await address_indexes(self._database, table.variables["email_name"])
        if not indexes:
            return None
        found = await self._database.fetch(render(indexes[0].statement, table.variables), email.strip())
        return [self._references.of(row["key"]) for row in found if row["key"] != key][:MOST_SAME]

    async def _preview(self, schema: Schema, crm: str, ids: list[Any]) -> Preview | None:
        """None if there are no credentials here. An error is its text."""
        if crm not in schema.lanes:
            return None
        table = schema.lanes[crm]
        try:
            account = self._configuration.account(crm)
            if account is None:
                return Preview(heading="not shown: the console's settings have no credentials for this CRM", text="", empty=[])
            matches = await show(self._database, table, ids)
            empty = self._configuration.lane(table.crm).empty
            preview = RequestPreview(self._database, schema, self._configuration.mapping, table, empty, claims=False)
            told = await preview.of(account, matches)
        except (ConfigurationError, DeclinedError) as error:
            return Preview(heading=f"not shown: {clean(str(error))}", text="", empty=[])
        text = dedent("\n".join(told.lines)).strip("\n")
        return Preview(heading=told.heading, text=text, empty=list(told.empty), emptied=list(told.emptied))


def next_of(references: References, table: LaneTable, key: str) -> str:
    """The value of `after` that continues after this key."""
    return references.sealed(key) if table.has_texts_as_keys else references.of(key)


def place_of(references: References, table: LaneTable, after: str) -> str:
    """The key to continue after. Raises DeclinedError for a value that was never `next`, if keys may be addresses: otherwise
    guessing would reveal them exactly.
    """
    if table.has_texts_as_keys and not after.startswith(PREFIX):
        raise DeclinedError("after: expected `next` of the page before")
    return references.key(after)


def meant(wanted: Filter) -> Wanted:
    """The same as variables of the table's statements."""
    return Wanted(None if wanted.state is None else [wanted.state.value], None if wanted.code is None else [wanted.code])
