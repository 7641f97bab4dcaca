"""What people and applications can ask for and do, whatever way they come: the API's routes and the console's pages call this."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from crm_sync.api.models import (
    ContactAt,
    ContactLine,
    ContactPage,
    ContactView,
    CrmState,
    FailureCount,
    Filter,
    Overview,
    RetryRequest,
    RetryResult,
    Selection,
    SelectionResult,
    Wish,
    Worker,
    code_of,
)
from crm_sync.api.reader import SharedReading
from crm_sync.api.versions import differences
from crm_sync.configuration import Configuration
from crm_sync.core.addresses import masked
from crm_sync.core.codes import Code, known_code
from crm_sync.core.text import clean, printable
from crm_sync.errors import ConfigurationError, DeclinedError, TooSlowError
from crm_sync.postgres.statements import query, render
from crm_sync.postgres.visiting import ReadOnly, Visiting
from crm_sync.reports.contact_report import prospect, state
from crm_sync.reports.lane_state import LaneState, read_lane_states
from crm_sync.reports.status_reading import LaneStatus, read_status
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.contact_list import ContactList, Listed, Wanted
from crm_sync.table.failed_contacts import FailedContacts, Failures
from crm_sync.table.one_contact import Match, find, find_key, read_key, show
from crm_sync.table.schema import Schema, inspect_schema
from crm_sync.table.short_flips import Flipped, ShortFlips

READERS = 4  # connections to Postgres that only read
WRITERS = 2
STATEMENT_S = 2.0 / 0.9  # what takes longer is given up: the server cancels it after two seconds
MOST_FOUND = 50  # contacts of one address or id
MOST_COUNTED = 10_000
LONGEST_KEY = 200  # characters of one that is named in an error


class NotFoundError(DeclinedError):
    """There is no such CRM or contact."""


class Service:
    """reading: never writes. writing: for what is changed."""

    def __init__(self, configuration: Configuration, reading: ReadOnly, writing: Visiting) -> None:
        self._configuration = configuration
        self._reading = reading
        self._writing = writing
        self._overview = SharedReading(self._read_overview)
        self._schema = SharedReading(lambda: inspect_schema(reading))

    # Looking.

    async def overview(self) -> Overview:
        """All CRMs and workers."""
        return await self._overview.value()

    async def crm(self, crm: str) -> CrmState:
        """Raises NotFoundError."""
        crms = {one.crm: one for one in (await self.overview()).crms}
        if crm not in crms:
            raise _no_crm(crm, crms)
        return crms[crm]

    async def contacts(self, crm: str, wanted: Filter, *, after: str | None, limit: int) -> ContactPage:
        """A page in the order of the keys. after: the last key of the page before."""
        table = await self._table(crm)
        key = None if after is None else await read_key(self._reading, table, after)
        page = await ContactList(self._reading, table).page(_wanted(wanted), after=key, limit=limit)
        following = None if page.following is None else str(page.following)
        return ContactPage(crm=crm, contacts=[_line(one) for one in page.contacts], looked=page.looked, next=following)

    async def find(self, text: str) -> list[str]:
        """Keys of contacts by what a person pastes: a key, an address, or an id in a CRM."""
        text = text.strip()
        tables = (await self._schema.value()).lanes
        if not text or not tables:
            return []
        first = next(iter(tables.values()))
        if "@" in text:
            return [str(key) for key in (await find(self._reading, first, text))[:MOST_FOUND]]
        found: list[Any] = []
        with suppress(DeclinedError):
            found += await find_key(self._reading, first, text)
        for table in tables.values():
            with suppress(ConfigurationError):  # a plug-in's column need not be readable
                found += [row[0] for row in await self._by_remote_id(table, text)]
        return list(dict.fromkeys(map(str, found)))

    async def contact(self, key: str, *, reveal: bool = False) -> ContactView:
        """Raises NotFoundError."""
        schema = await self._schema.value()
        first = self._first(schema)
        ids = await self._found(first, key)
        rows = await self._reading.fetch(render("read_addresses", first.variables), ids)
        email = rows[0]["email"] if rows else None
        workers = {row["id"]: dict(row) for row in await self._reading.fetch(query("list_workers"))}
        states = await read_lane_states(self._reading)
        crms = []
        for crm, table in schema.lanes.items():
            for match in await show(self._reading, table, ids):
                crms.append(self._at(crm, match, states[crm], workers))  # noqa: PERF401 (two awaits)
        return ContactView(key=str(ids[0]), email=email if reveal else masked(email), crms=crms, same_address=[])

    async def failures(self) -> list[FailureCount]:
        """By CRM and code, the most first."""
        now = await self._reading.value(query("read_clock"))
        found = []
        for crm, table in (await self._schema.value()).lanes.items():
            found += [_failure(crm, entry) for entry in await FailedContacts(self._reading, table.variables, now).count()]
        return sorted(found, key=lambda entry: -(entry.in_error + entry.waiting + entry.delivered))

    async def tables(self) -> dict[str, Mapping[str, str]]:
        """What the table and its columns are called in SQL, by CRM."""
        return {crm: table.variables for crm, table in (await self._schema.value()).lanes.items()}

    # Changing.

    async def change(self, key: str, crm: str, wish: Wish) -> SelectionResult:
        """One contact. Raises NotFoundError."""
        table = await self._table(crm)
        return await self._change(table, await self._found(table, key), Wanted(), wish)

    async def count(self, selection: Selection) -> SelectionResult:
        """How many are meant; nothing is changed."""
        table = await self._table(selection.crm)
        if selection.keys is not None:
            return _result(selection.crm, selection.status, len(set(selection.keys)), Flipped(), dry_run=True)
        wanted = _wanted(selection.where or Filter())
        try:
            counted = await ContactList(self._reading, table).count(wanted, MOST_COUNTED + 1)
        except TooSlowError:
            counted = MOST_COUNTED + 1
        return _result(selection.crm, selection.status, counted, Flipped(), dry_run=True)

    async def select(self, selection: Selection) -> SelectionResult:
        """All that are meant, in short transactions. What was changed before an error stays changed."""
        if selection.dry_run:
            return await self.count(selection)
        table = await self._table(selection.crm)
        if selection.keys is not None:
            ids = [await read_key(self._reading, table, key) for key in dict.fromkeys(selection.keys)]
            return await self._change(table, ids, Wanted(), selection.status)
        wanted = _wanted(selection.where or Filter())
        contacts, done, counted = ContactList(self._reading, table), Flipped(), 0
        flips = self._flips(table, wanted, selection.status)
        after = None
        while True:
            page = await contacts.page(wanted, after=after, limit=flips.bounds.batch)
            counted += len(page.contacts)
            await flips.flip([one.id for one in page.contacts], done)
            after = page.following
            if after is None:
                break
        await flips.flip_locked(done)
        self._overview.forget()
        return _result(selection.crm, selection.status, counted, done, dry_run=False)

    async def retry(self, asked: RetryRequest) -> RetryResult:
        """As `crm-sync retry`. Raises NotFoundError for a CRM that there is none of."""
        schema = await self._schema.value()
        tables = [await self._table(asked.crm)] if asked.crm else list(schema.lanes.values())
        now = await self._writing.value(query("read_clock"))
        since = None if asked.since_seconds is None else now - timedelta(seconds=asked.since_seconds)
        done, counted = Flipped(), 0
        for table in tables:
            failed = FailedContacts(self._writing, table.variables, now, since)
            chosen = [entry for entry in map(_without_delivered(asked.codes), await failed.count()) if entry.contacts]
            chosen = [entry for entry in chosen if not asked.codes or entry.code in asked.codes]
            counted += sum(entry.contacts for entry in chosen)
            if not asked.dry_run:
                await failed.flip(chosen, done)
        self._overview.forget()
        return RetryResult(
            counted=counted,
            flipped=done.flipped,
            locked=len(done.locked),
            refused=len(done.refused),
            refusal=done.refusal,
            dry_run=asked.dry_run,
        )

    async def pause(self, crm: str, reason: str) -> CrmState:
        """Raises NotFoundError, and DeclinedError without a reason."""
        table = await self._table(crm)
        if not (reason := clean(reason)):
            raise DeclinedError("say why: somebody will want to know")
        await self._writing.fetch(query("hold_lane"), table.crm, reason)
        self._overview.forget()
        return await self.crm(crm)

    async def resume(self, crm: str) -> CrmState:
        """Raises NotFoundError."""
        table = await self._table(crm)
        await self._writing.fetch(query("resume_lane"), table.crm)
        self._overview.forget()
        return await self.crm(crm)

    # Within.

    async def _read_overview(self) -> Overview:
        status, now = await asyncio.gather(read_status(self._reading, refused={}), self._reading.value(query("read_clock")))
        workers = [Worker(**worker) for worker in status.workers]
        applied: list[str] = []
        with suppress(ConfigurationError):  # a role need not have the right
            applied = [row[0] for row in await self._reading.fetch(query("list_applied_migrations"))]
        notices = differences(applied, [worker.version for worker in workers if worker.alive])
        return Overview(read_at=now, crms=[_crm(lane) for lane in status.lanes], workers=workers, notices=notices)

    async def _table(self, crm: str) -> LaneTable:
        schema = await self._schema.value()
        if crm in schema.faults:
            raise DeclinedError(f"{crm}: {schema.faults[crm]}")
        if crm not in schema.lanes:
            raise _no_crm(crm, schema.lanes)
        return schema.lanes[crm]

    @staticmethod
    def _first(schema: Schema) -> LaneTable:
        tables = {**schema.lanes, **schema.countable}
        if not tables:
            raise DeclinedError("no CRM is installed on the contacts table: run `crm-sync adopt`")
        return next(iter(tables.values()))

    async def _found(self, table: LaneTable, key: str) -> list[Any]:
        """Raises NotFoundError, also for what cannot be a key of this table."""
        try:
            ids = await find_key(self._reading, table, key)
        except DeclinedError as error:
            raise NotFoundError(str(error)) from error
        if not ids:
            raise NotFoundError(f"no contact has the key {printable(key, LONGEST_KEY)}")
        return ids

    async def _by_remote_id(self, table: LaneTable, text: str) -> list[Any]:
        try:
            return await self._reading.fetch(render("find_by_remote_id", table.variables), text)
        except DeclinedError:
            return []

    def _at(self, crm: str, match: Match, lane_state: LaneState, workers: Mapping[int, Mapping[str, Any]]) -> ContactAt:
        code, reason, remedy = code_of(match.processing_error)
        reachable = True
        with suppress(ConfigurationError):
            reachable = self._configuration.account(crm) is not None
        return ContactAt(
            crm=crm,
            status=match.sync_status,
            state=state(match, workers),
            prospect=prospect(match, lane_state, reachable=reachable, workers=workers),
            standing=match.standing,
            code=code,
            reason=reason,
            remedy=remedy,
            remote_id=match.remote_id,
            attempts=match.attempts,
            due_at=match.due_at,
            synced_at=match.synced_at,
            flipped_at=match.flipped_at,
        )

    def _flips(self, table: LaneTable, wanted: Wanted, wish: Wish) -> ShortFlips:
        return ShortFlips(self._writing, render("change_contacts", table.variables), wanted.states, wanted.codes, wish.value)

    async def _change(self, table: LaneTable, ids: Sequence[Any], wanted: Wanted, wish: Wish) -> SelectionResult:
        done = Flipped()
        flips = self._flips(table, wanted, wish)
        await flips.flip(ids, done)
        await flips.flip_locked(done)
        self._overview.forget()
        return _result(table.crm, wish, len(ids), done, dry_run=False)


def _no_crm(crm: str, installed: Iterable[str]) -> NotFoundError:
    return NotFoundError(f"there is no CRM {printable(crm, LONGEST_KEY)} here; installed: {', '.join(installed) or 'none'}")


def _wanted(wanted: Filter) -> Wanted:
    return Wanted(None if wanted.state is None else [wanted.state.value], None if wanted.code is None else [wanted.code])


def _without_delivered(codes: Sequence[str]) -> Any:
    """What was delivered but lacks a field is meant where its code is named."""
    return lambda entry: entry if Code.FIELD_NOT_SENT in codes else replace(entry, complete=0)


def _result(crm: str, wish: Wish, counted: int, done: Flipped, *, dry_run: bool) -> SelectionResult:
    return SelectionResult(
        crm=crm,
        status=wish,
        counted=min(counted, MOST_COUNTED) if dry_run else counted,
        more=dry_run and counted > MOST_COUNTED,
        changed=done.flipped,
        locked=len(done.locked),
        refused=len(done.refused),
        refusal=done.refusal,
        dry_run=dry_run,
    )


def _line(one: Listed) -> ContactLine:
    code, reason, _ = code_of(one.error)
    return ContactLine(
        key=str(one.id),
        email=masked(one.email),
        status=one.sync_status,
        code=code,
        reason=reason,
        remote_id=one.remote_id,
        attempts=one.attempts,
        due_at=one.due_at,
        synced_at=one.synced_at,
        flipped_at=one.flipped_at,
    )


def _failure(crm: str, entry: Failures) -> FailureCount:
    known = known_code(entry.code)
    return FailureCount(
        crm=crm,
        code=entry.code,
        in_error=entry.in_error,
        waiting=entry.waiting,
        delivered=entry.complete,
        sample=None if entry.sample is None else clean(entry.sample),
        meaning=known.meaning if known else None,
        remedy=known.remedy if known else None,
    )


def _crm(lane: LaneStatus) -> CrmState:
    def counted(value: Any) -> Any:
        return value if lane.counted else None

    return CrmState(
        crm=lane.crm,
        state=lane.state.label,
        sentence=lane.state.sentence,
        new=counted(lane.new),
        selected=counted(lane.selected),
        skipped=counted(lane.skipped),
        ready=counted(lane.ready),
        waiting=counted(lane.waiting),
        in_flight=counted(lane.in_flight),
        complete=counted(lane.complete),
        error=counted(lane.error),
        oldest_ready_seconds=lane.oldest_ready_s,
        delivered_last_minute=counted(lane.delivered_last_minute),
        last_delivered_at=lane.last_delivered_at,
        contacts_per_second=lane.pace_per_s,
        ends_at=lane.ends_at,
        paused_since=lane.state.held_since,
        deletions_waiting=counted(lane.deletions_waiting),
        deletions_failed=counted(lane.deletions_failed),
    )
