"""Contacts as people and applications look at them."""

from textwrap import dedent
from typing import Any

from crm_sync.api import showing
from crm_sync.api.models import Attempt, ContactPage, ContactView, Found, Preview
from crm_sync.api.requests import Filter
from crm_sync.api.tables import LONGEST_KEY, NotFoundError, Tables, if_allowed
from crm_sync.configuration import Configuration
from crm_sync.core.addresses import masked
from crm_sync.core.text import clean, printable
from crm_sync.errors import ConfigurationError, DeclinedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.reports.found_contacts import BY_INDEX, find_contacts
from crm_sync.reports.named_contact import NamedContact
from crm_sync.reports.request_preview import RequestPreview
from crm_sync.reports.verdicts import tell_verdicts
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.contact_list import ContactList, Wanted
from crm_sync.table.one_contact import read_key, show
from crm_sync.table.schema import Schema

LOOK_S = 1.8  # that the whole table is read for an address which no index finds: less than a statement may take
ATTEMPTS = 50  # of a contact
MOST_SAME = 10  # other contacts with an address


class Contacts:
    """Every method raises as Database.fetch does."""

    def __init__(self, configuration: Configuration, database: Database, tables: Tables) -> None:
        self._configuration = configuration
        self._database = database
        self._tables = tables

    async def page(self, crm: str, wanted: Filter, *, after: str | None, limit: int) -> ContactPage:
        """A page in the order of the keys. after: the last key of the page before."""
        table = await self._tables.table(crm)
        key = None if after is None else await read_key(self._database, table, after)
        page = await ContactList(self._database, table).page(meant(wanted), after=key, limit=limit)
        following = None if page.following is None else str(page.following)
        contacts = [showing.line(one) for one in page.contacts]
        return ContactPage(crm=crm, contacts=contacts, looked=page.looked, next=following)

    async def find(self, text: str) -> Found:
        """By what a person pastes: a key, an address, or an id in a CRM."""
        text = text.strip()
        tables = await self._tables.whole()
        if not text or not tables:
            return Found(keys=[], by=None, looked_for=[], note=None)
        looked_for, note = [], None
        asked = [NamedContact(None, text)]
        if "@" in text:  # a key may have one, too
            asked.insert(0, NamedContact(text, None))
        for one in asked:
            found = await find_contacts(self._database, tables, one, look_s=LOOK_S)
            looked_for += found.looked_for
            note = note or found.note
            if found.keys:
                return Found(keys=list(found.keys), by=found.by, looked_for=looked_for, note=note)
        return Found(keys=[], by=None, looked_for=looked_for, note=note)

    async def one(self, key: str, *, in_full: bool = False) -> ContactView:
        """in_full: with the address as it is, and with what would be sent. Raises NotFoundError."""
        schema = await self._tables.schema()
        first = next(iter((await self._tables.countable()).values()))
        verdicts = await tell_verdicts(self._database, self._configuration, schema, key.encode(errors="replace").decode())
        if all(verdict.verdict in ("not found", "misconfigured") for verdict in verdicts):
            raise NotFoundError(f"no contact has the key {printable(key, LONGEST_KEY)}")
        crms = [showing.contact_at(verdict) for verdict in verdicts]
        if not any(verdict.facts.get("row") for verdict in verdicts):
            return ContactView(key=key, email=None, exists=False, crms=crms, same_address=None, history=[])
        ids = await self._tables.found(first, key)
        rows = await self._database.fetch(render("read_addresses", first.variables), ids)
        email = rows[0]["email"] if rows else None
        if in_full:
            crms = [one.model_copy(update={"preview": await self._preview(schema, one.crm, ids)}) for one in crms]
        return ContactView(
            key=str(ids[0]),
            email=email if in_full else masked(email),
            exists=True,
            crms=crms,
            same_address=await self._same_address(first, email, str(ids[0])),
            history=await self._history(first, ids),
        )

    async def _history(self, table: LaneTable, ids: list[Any]) -> list[Attempt]:
        async def read() -> list[Attempt]:
            rows = await self._database.fetch(render("list_history", table.variables), ids, None, ATTEMPTS)
            return [showing.attempt(dict(row)) for row in rows]

        return await if_allowed(read, [])

    async def _same_address(self, table: LaneTable, email: str | None, key: str) -> list[str] | None:
        """Other contacts, where an index finds them."""
        if not email:
            return []
        rows = await self._database.fetch(query("list_address_indexes"), table.variables["email"].strip('"'))
        kinds = sorted((row["kind"] for row in rows), reverse=True)
        if not kinds:
            return None
        found = await self._database.fetch(render(BY_INDEX[kinds[0]], table.variables), email.strip())
        return [str(row["id"]) for row in found if str(row["id"]) != key][:MOST_SAME]

    async def _preview(self, schema: Schema, crm: str, ids: list[Any]) -> Preview | None:
        """None where there are no credentials here. What is wrong is what it says."""
        if crm not in schema.lanes:
            return None
        table = schema.lanes[crm]
        try:
            account = self._configuration.account(crm)
            if account is None:
                return Preview(heading="not shown: there are no credentials for it in these settings", text="", empty=[])
            matches = await show(self._database, table, ids)
            preview = RequestPreview(self._database, schema, self._configuration.mapping, table, claims=False)
            told = await preview.of(account, matches)
        except (ConfigurationError, DeclinedError) as error:
            return Preview(heading=f"not shown: {clean(str(error))}", text="", empty=[])
        return Preview(heading=told.heading, text=dedent("\n".join(told.lines)).strip("\n"), empty=list(told.empty))


def meant(wanted: Filter) -> Wanted:
    """As the table is asked."""
    return Wanted(None if wanted.state is None else [wanted.state.value], None if wanted.code is None else [wanted.code])
