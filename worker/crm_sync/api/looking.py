"""What people and applications can see. Nothing here writes; what many look at is read for all of them together."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from json import loads
from textwrap import dedent
from typing import Any, TypeVar
from uuid import UUID

from crm_sync.api import showing
from crm_sync.api.models import (
    Alert,
    ContactPage,
    ContactView,
    CrmState,
    Event,
    EventPage,
    FailureCount,
    Found,
    LimitUse,
    MappedField,
    MinuteCount,
    Overview,
    Preview,
    Throughput,
    Worker,
)
from crm_sync.api.reader import SharedReading
from crm_sync.api.requests import Filter, Span
from crm_sync.api.versions import differences
from crm_sync.configuration import Configuration
from crm_sync.core.addresses import masked
from crm_sync.core.rate import Budget, parse
from crm_sync.core.text import clean, printable
from crm_sync.errors import ConfigurationError, DeclinedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.reports.alert_report import alert_objects
from crm_sync.reports.found_contacts import BY_INDEX, find_contacts
from crm_sync.reports.named_contact import NamedContact
from crm_sync.reports.request_preview import RequestPreview
from crm_sync.reports.status_reading import CODES, read_status
from crm_sync.reports.verdicts import tell_verdicts
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.contact_list import ContactList, Wanted
from crm_sync.table.mapping import expressions_for
from crm_sync.table.one_contact import find_key, read_key, show
from crm_sync.table.schema import Schema, inspect_schema
from crm_sync.telling.event_words import OF_LANES

LOOK_S = 1.8  # that the whole table is read for an address which no index finds: less than a statement may take
MOST = 1_000  # that a number is counted to, for a page is to take a moment; beyond, about how many there are is shown
MOST_FAILED = 4_000  # contacts of a CRM that are looked at for all codes together
LATEST = 8  # events on the overview
STORY = 12  # events of a CRM
ALERTS_S = 86_400.0  # that ended since
ATTEMPTS = 50  # of a contact
MOST_SAME = 10  # other contacts with an address
LONGEST_KEY = 200  # characters of one that is named in an error
# By span: seconds of a stretch, and how many.
SPANS = {Span.HOUR: (60, 60), Span.DAY: (900, 96), Span.FORTNIGHT: (10_800, 112)}

Value = TypeVar("Value")


class NotFoundError(DeclinedError):
    """There is no such CRM or contact."""


class Looking:
    """Every method raises as Database.fetch does."""

    def __init__(self, configuration: Configuration, database: Database) -> None:
        self._configuration = configuration
        self._database = database
        self._overview = SharedReading(self._read_overview)
        self._schema = SharedReading(lambda: inspect_schema(database))
        self._failures = SharedReading(self._read_failures)
        self._latest = SharedReading(lambda: self._events(limit=200))
        self._throughput: dict[tuple[str, Span], SharedReading[Throughput]] = {}

    def forget(self) -> None:
        """Somebody has changed something, and wants to see it."""
        for shared in (self._overview, self._failures, self._latest):
            shared.forget()

    # CRMs.

    async def overview(self) -> Overview:
        """All CRMs and workers."""
        return await self._overview.value()

    async def crm(self, crm: str) -> CrmState:
        """Raises NotFoundError."""
        crms = {one.crm: one for one in (await self.overview()).crms}
        if crm not in crms:
            raise _no_crm(crm, crms)
        return crms[crm]

    async def names(self) -> list[str]:
        """Of the CRMs whose columns are whole."""
        return [*(await self._schema.value()).lanes]

    async def throughput(self, crm: str, span: Span) -> Throughput:
        """Raises NotFoundError."""
        schema = await self._schema.value()
        if crm not in (installed := {**schema.lanes, **schema.countable, **schema.faults}):
            raise _no_crm(crm, installed)
        shared = self._throughput.setdefault((crm, span), SharedReading(lambda: self._read_throughput(crm, span)))
        return await shared.value()

    async def mapping(self, crm: str) -> list[MappedField]:
        """What is sent, field by field, as it is written. Raises ConfigurationError where it cannot be told."""
        schema = await self._schema.value()
        known = self._configuration.default_fields(crm)
        expressions = expressions_for(crm, self._configuration.mapping, known, schema.table)
        return [MappedField(name=name, expression=expression) for name, expression in expressions.items()]

    async def failures(self) -> list[FailureCount]:
        """By CRM and code, those that failed last first."""
        return await self._failures.value()

    # Contacts.

    async def contacts(self, crm: str, wanted: Filter, *, after: str | None, limit: int) -> ContactPage:
        """A page in the order of the keys. after: the last key of the page before."""
        table = await self.table(crm)
        key = None if after is None else await read_key(self._database, table, after)
        page = await ContactList(self._database, table).page(meant(wanted), after=key, limit=limit)
        following = None if page.following is None else str(page.following)
        contacts = [showing.line(one) for one in page.contacts]
        return ContactPage(crm=crm, contacts=contacts, looked=page.looked, next=following)

    async def find(self, text: str) -> Found:
        """By what a person pastes: a key, an address, or an id in a CRM."""
        text = text.strip()
        tables = (await self._schema.value()).lanes
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

    async def contact(self, key: str, *, in_full: bool = False) -> ContactView:
        """in_full: with the address as it is, and with what would be sent. Raises NotFoundError."""
        schema = await self._schema.value()
        tables = {**schema.lanes, **schema.countable}
        first = _first(tables)
        verdicts = await tell_verdicts(self._database, self._configuration, schema, key.encode(errors="replace").decode())
        if all(verdict.verdict in ("not found", "misconfigured") for verdict in verdicts):
            raise NotFoundError(f"no contact has the key {printable(key, LONGEST_KEY)}")
        crms = [showing.contact_at(verdict) for verdict in verdicts]
        if not any(verdict.facts.get("row") for verdict in verdicts):
            return ContactView(key=key, email=None, exists=False, crms=crms, same_address=None, history=[])
        ids = await self.found(first, key)
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

    async def between(self, crms: Iterable[str], since: datetime) -> list[Event]:
        """What happened to these CRMs' lanes since then, the latest first."""
        page = await self._events(kinds=OF_LANES, since=since, limit=100)
        return [one for one in page.events if one.crm is None or one.crm in [*crms]]

    # Events.

    async def events(self, crm: str | None, kind: str | None, *, after: str | None, limit: int) -> EventPage:
        """A page, the latest first. after: the last event of the page before. Raises DeclinedError where that is none."""
        return await self._events(crm, [kind] if kind else None, after=after, limit=limit)

    async def latest_events(self) -> list[Event]:
        """Read for all that follow them together."""
        return (await self._latest.value()).events

    async def story(self, crm: str) -> list[Event]:
        """What happened to a CRM's lane of late, the latest first."""
        page = await _if_allowed(lambda: self._events(crm, OF_LANES, limit=STORY), EventPage(events=[], next=None))
        return page.events

    async def alerts(self) -> list[Alert]:
        """What is wrong now, and what ended within a day."""

        async def read() -> list[Alert]:
            rows = await self._database.fetch(query("list_alerts"), ALERTS_S)
            return [Alert(**one) for one in alert_objects([dict(row) for row in rows])]

        return await _if_allowed(read, [])

    # For who changes something.

    async def table(self, crm: str) -> LaneTable:
        """Raises NotFoundError, and DeclinedError where its columns are not whole."""
        schema = await self._schema.value()
        if crm in schema.faults:
            raise DeclinedError(f"{crm}: {schema.faults[crm]}")
        if crm not in schema.lanes:
            raise _no_crm(crm, schema.lanes)
        return schema.lanes[crm]

    async def tables(self) -> Mapping[str, LaneTable]:
        return (await self._schema.value()).lanes

    async def found(self, table: LaneTable, key: str) -> list[Any]:
        """Raises NotFoundError, also for what cannot be a key of this table."""
        try:
            ids = await find_key(self._database, table, key)
        except DeclinedError as error:
            raise NotFoundError(str(error)) from error
        if not ids:
            raise NotFoundError(f"no contact has the key {printable(key, LONGEST_KEY)}")
        return ids

    # Within.

    async def _read_overview(self) -> Overview:
        refused: dict[str, ConfigurationError] = {}
        status, now, hours, limits, latest, applied = await asyncio.gather(
            read_status(self._database, refused=refused, most=MOST),
            self._database.value(query("read_clock")),
            _if_allowed(self._hours, dict[str, list[MinuteCount]]()),
            _if_allowed(self._limits, dict[str, list[LimitUse]]()),
            _if_allowed(lambda: self._events(limit=LATEST), EventPage(events=[], next=None)),
            _if_allowed(self._applied, list[str]()),
        )
        workers = [Worker(**worker) for worker in status.workers]
        notices = differences(applied, [worker.version for worker in workers if worker.alive])
        notices += [f"{crm} cannot be counted: {clean(str(error))}" for crm, error in refused.items()]
        crms = [showing.crm_state(lane, hours.get(lane.crm, []), limits.get(lane.crm, [])) for lane in status.lanes]
        return Overview(read_at=now, crms=crms, workers=workers, notices=notices, events=latest.events)

    async def _applied(self) -> list[str]:
        return [row[0] for row in await self._database.fetch(query("list_applied_migrations"))]

    async def _hours(self) -> dict[str, list[MinuteCount]]:
        hours: dict[str, list[MinuteCount]] = {}
        for row in await self._database.fetch(query("read_hour")):
            minute = MinuteCount(minutes_ago=row["minutes_ago"], delivered=row["delivered"], failed=row["failed"])
            hours.setdefault(row["crm"], []).append(minute)
        return hours

    async def _limits(self) -> dict[str, list[LimitUse]]:
        rows = await self._database.fetch(query("read_limits"))
        now = (await self._database.value(query("read_clock"))).timestamp()
        found = {}
        for row in rows:
            windows = parse(row["limits"])
            budget = Budget.from_json(loads(row["budget"] or "{}"), windows)
            found[row["crm"]] = [
                LimitUse(seconds=window.seconds, requests=window.limit, used=budget.used(window, now)) for window in windows
            ]
        return found

    async def _read_failures(self) -> list[FailureCount]:
        found = []
        for crm, table in (await self._schema.value()).lanes.items():
            rows = await self._database.fetch(render("count_codes", table.variables), MOST_FAILED, CODES)
            found += [showing.failure(crm, dict(row)) for row in rows]
        return sorted(found, key=lambda one: (one.last_failed_at is not None, one.last_failed_at, one.contacts), reverse=True)

    async def _read_throughput(self, crm: str, span: Span) -> Throughput:
        seconds, count = SPANS[span]
        rows = await self._database.fetch(query("read_throughput"), crm, seconds, count)
        now = await self._database.value(query("read_clock"))
        return Throughput(
            crm=crm, read_at=now, seconds=seconds, count=count, stretches=[showing.stretch(dict(row)) for row in rows]
        )

    async def _events(
        self,
        crm: str | None = None,
        kinds: Iterable[str] | None = None,
        *,
        after: str | None = None,
        since: datetime | None = None,
        limit: int,
    ) -> EventPage:
        at, number = (None, None) if after is None else _place(after)
        listed = None if kinds is None else [*kinds]
        rows = await self._database.fetch(query("list_events"), crm, listed, at, number, limit + 1, since)
        found = [showing.event(dict(row)) for row in rows[:limit]]
        return EventPage(events=found, next=found[-1].id if len(rows) > limit else None)

    async def _history(self, table: LaneTable, ids: list[Any]) -> list[Any]:
        async def read() -> list[Any]:
            rows = await self._database.fetch(render("list_history", table.variables), ids, None, ATTEMPTS)
            return [showing.attempt(dict(row)) for row in rows]

        return await _if_allowed(read, [])

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


async def _if_allowed(read: Callable[[], Awaitable[Value]], otherwise: Value) -> Value:
    """What a page can do without."""
    try:
        return await read()
    except ConfigurationError:
        return otherwise


def meant(wanted: Filter) -> Wanted:
    """As the table is asked."""
    return Wanted(None if wanted.state is None else [wanted.state.value], None if wanted.code is None else [wanted.code])


def _first(tables: Mapping[str, LaneTable]) -> LaneTable:
    if not tables:
        raise DeclinedError("no CRM is installed on the contacts table: run `crm-sync adopt`")
    return next(iter(tables.values()))


def _no_crm(crm: str, installed: Iterable[str]) -> NotFoundError:
    return NotFoundError(f"there is no CRM {printable(crm, LONGEST_KEY)} here; installed: {', '.join(installed) or 'none'}")


def _place(after: str) -> tuple[datetime, UUID]:
    at, _, number = after.partition("~")
    with suppress(ValueError):
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is not None:
            return moment, UUID(number)
    raise DeclinedError("after: expected `next` of the page before")
