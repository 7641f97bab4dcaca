"""What people and applications can change. Every change is recorded as an event, with who made it."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

from crm_sync.api.contact_models import ContactView, RetryResult, SelectionResult, State, Wish
from crm_sync.api.contacts import Contacts, meant, next_of, place_of
from crm_sync.api.lane_models import CrmState, PauseResult
from crm_sync.api.lanes import Lanes
from crm_sync.api.references import References
from crm_sync.api.requests import Filter, RetryRequest, Selection
from crm_sync.api.tables import Tables
from crm_sync.core.text import clean
from crm_sync.errors import DeclinedError, TooSlowError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.contact_list import ContactList, Wanted
from crm_sync.table.failed_contacts import FailedContacts, Failures
from crm_sync.table.one_contact import read_key
from crm_sync.table.short_flips import Bounds, Flipped, ShortFlips
from crm_sync.telling import deeds
from crm_sync.telling.deeds import Doer
from crm_sync.telling.pausing import hold

MOST_COUNTED = 10_000
LONGEST_S = 10.0  # for which one request changes contacts before it reports progress: neither proxies nor people wait a minute
RETRIED = Bounds(keys=1_000)  # looked up and flipped between two checks of the time


class Changing:
    """reading: never writes. Every method raises as Database.fetch does, and NotFoundError for what does not exist.

    by: who makes the change, and through what.
    """

    def __init__(
        self,
        tables: Tables,
        lanes: Lanes,
        contacts: Contacts,
        *,
        references: References,
        reading: Database,
        writing: Database,
        longest_s: float = LONGEST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tables = tables
        self._lanes = lanes
        self._contacts = contacts
        self._references = references
        self._reading = reading
        self._writing = writing
        self._longest_s = longest_s
        self._clock = clock

    async def reveal(self, key: str, by: Doer) -> ContactView:
        """The contact with its address, and what would be sent. Raises if that cannot be recorded first."""
        contact = await self._contacts.one(key, in_full=True)
        await self._write_reveal(contact.key, by)
        return contact

    async def note_reveal(self, key: str, by: Doer) -> None:
        """That it is about to be shown with its address. Raises where that cannot be written down, or there is no such row."""
        await self._write_reveal(await self._contacts.key(key), by)

    async def _write_reveal(self, key: str, by: Doer) -> None:
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        await self._writing.fetch(query("write_events"), *deeds.arguments(deeds.CONTACT_REVEALED, by=by, contact=name))

    async def change(self, key: str, crm: str, wish: Wish, by: Doer) -> SelectionResult:
        """One contact. key: or a reference."""
        table = await self._tables.table(crm)
        ids = await self._tables.found(table, self._references.key(key))
        return await self._change(table, ids, wish, by)

    async def count(self, selection: Selection) -> SelectionResult:
        """How many contacts are selected; nothing is changed."""
        table = await self._tables.table(selection.crm)
        if selection.keys is not None:
            return _result(selection.crm, selection.status, len(set(selection.keys)), Flipped(), dry_run=True)
        wanted = selection.where or Filter()
        try:
            counted = await ContactList(self._reading, table).count(meant(wanted), MOST_COUNTED + 1)
        except TooSlowError:
            return await self._about(selection, wanted)
        return _result(selection.crm, selection.status, counted, Flipped(), dry_run=True)

    async def select(self, selection: Selection, by: Doer) -> SelectionResult:
        """All selected contacts, in short transactions, for some seconds. What was changed before an error stays changed."""
        if selection.dry_run:
            return await self.count(selection)
        table = await self._tables.table(selection.crm)
        if selection.keys is not None:
            keys = dict.fromkeys(map(self._references.key, selection.keys))
            ids = [await read_key(self._reading, table, key) for key in keys]
            return await self._change(table, ids, selection.status, by)
        wanted, done = meant(selection.where or Filter()), Flipped()
        try:
            counted, following = await self._walk(table, selection, wanted, done)
        finally:
            note = await self._note_change(selection.crm, selection.status, done, by, selection.where)
        result = _result(selection.crm, selection.status, counted, done, dry_run=False)
        to_go_on = None if following is None else next_of(self._references, table, following)
        return result.model_copy(update={"next": to_go_on, "note": note})

    async def retry(self, asked: RetryRequest, by: Doer) -> RetryResult:
        """Like `crm-sync retry`, for some seconds; if more are left, it says so, and the same request continues."""
        until = self._clock() + self._longest_s
        tables = await self._tables.whole()
        lanes = [await self._tables.table(asked.crm)] if asked.crm else list(tables.values())
        now = await self._writing.value(query("read_clock"))
        since = None if asked.since_seconds is None else now - timedelta(seconds=asked.since_seconds)
        total, counted, notes = Flipped(), 0, []
        for table in lanes:
            failed = FailedContacts(self._writing, table.variables, now, since, RETRIED)
            chosen = await self._chosen(failed, asked, table.crm)
            counted += sum(entry.contacts for entry in chosen)
            if asked.dry_run or not chosen:
                continue
            done = Flipped()
            try:
                await failed.flip(chosen, done, lambda: self._clock() < until)
            finally:
                if done.flipped:
                    meant_by = {"contacts": done.flipped, "codes": asked.codes, "since_seconds": asked.since_seconds}
                    notes.append(await self._note(deeds.CONTACTS_RETRIED, table.crm, by, **meant_by))
            _add(total, done)
        self._lanes.forget()
        left = counted - total.flipped - len(total.locked) - len(total.refused)
        return RetryResult(
            counted=counted,
            more=not asked.dry_run and left > 0 and self._clock() >= until,
            flipped=total.flipped,
            locked=len(total.locked),
            refused=len(total.refused),
            refusal=total.refusal,
            dry_run=asked.dry_run,
            note=next(filter(None, notes), None),
        )

    async def pause(self, crm: str, reason: str, by: Doer) -> PauseResult:
        """If it is paused already, the reason is replaced, and the previous one returned. Raises
        DeclinedError without a reason.
        """
        table = await self._tables.table(crm)
        if not (reason := clean(reason)):
            raise DeclinedError("say why: the reason is shown for as long as the CRM is paused")
        before, problem = await hold(self._writing, table.crm, reason, by)
        self._lanes.forget()
        replaced = None
        if before is not None:
            since = f"{before.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
            replaced = f"{table.crm} was paused already, since {since}, {before.words}. This reason replaces it."
        note = " ".join(filter(None, (replaced, problem))) or None
        return PauseResult(**dict(await self._lanes.crm(crm)), note=note)

    async def resume(self, crm: str, by: Doer) -> CrmState:
        """Does nothing if it is not paused."""
        table = await self._tables.table(crm)
        if await self._writing.fetch(query("resume_lane"), table.crm):
            await self._note(deeds.LANE_RESUMED, table.crm, by)
        self._lanes.forget()
        return await self._lanes.crm(crm)

    # Helpers.

    async def _about(self, selection: Selection, wanted: Filter) -> SelectionResult:
        """The last count, if counting now would take more than a moment."""
        known = await self._lanes.crm(selection.crm)
        of_states = {
            State.NEW: known.new,
            State.SELECTED: known.selected,
            State.SKIPPED: known.skipped,
            State.COMPLETE: known.complete,
            State.ERROR: known.error,
        }
        about = of_states.get(wanted.state) if wanted.state is not None and wanted.code is None else None
        result = _result(selection.crm, selection.status, about or 0, Flipped(), dry_run=True)
        return result.model_copy(update={"counted": about or 0, "more": about is None, "is_about": True})

    async def _walk(self, table: LaneTable, selection: Selection, wanted: Wanted, done: Flipped) -> tuple[int, str | None]:
        """How many were selected, and the key to continue after."""
        contacts, counted, until = ContactList(self._reading, table), 0, self._clock() + self._longest_s
        flips = self._flips(table, wanted, selection.status)
        after = None
        if selection.after is not None:
            after = await read_key(self._reading, table, place_of(self._references, table, selection.after))
        while True:
            page = await contacts.page(wanted, after=after, limit=flips.bounds.batch)
            counted += len(page.contacts)
            await flips.flip([one.id for one in page.contacts], done)
            after = page.following
            if after is None or self._clock() > until:
                break
        await flips.flip_locked(done)
        return counted, page.following_key

    async def _chosen(self, failed: FailedContacts, asked: RetryRequest, crm: str) -> list[Failures]:
        try:
            counts = await failed.count()
        except TooSlowError as error:
            raise DeclinedError(
                f"{crm} has too many failed contacts to count them in a moment: run `crm-sync retry --crm {crm}` instead"
            ) from error
        # A contact that was delivered without a field is included if the code for that is selected.
        counts = [entry if entry.code in asked.codes else replace(entry, complete=0) for entry in counts]
        return [entry for entry in (_meant(entry, asked.codes) for entry in counts) if entry is not None and entry.contacts]

    def _flips(self, table: LaneTable, wanted: Wanted, wish: Wish) -> ShortFlips:
        return ShortFlips(self._writing, render("change_contacts", table.variables), wanted.states, wanted.codes, wish.value)

    async def _change(self, table: LaneTable, ids: Sequence[Any], wish: Wish, by: Doer) -> SelectionResult:
        done, flips = Flipped(), self._flips(table, Wanted(), wish)
        try:
            await flips.flip(ids, done)
            await flips.flip_locked(done)
        finally:
            note = await self._note_change(table.crm, wish, done, by, None)
        return _result(table.crm, wish, len(ids), done, dry_run=False).model_copy(update={"note": note})

    async def _note_change(self, crm: str, wish: Wish, done: Flipped, by: Doer, where: Filter | None) -> str | None:
        self._lanes.forget()
        if not done.flipped:
            return None
        wanted = {} if where is None else where.model_dump(mode="json", exclude_none=True)
        return await self._note(deeds.CONTACTS_CHANGED, crm, by, contacts=done.flipped, status=wish.value, where=wanted or None)

    async def _note(self, event: str, crm: str, by: Doer, **details: Any) -> str | None:
        return await deeds.note(self._writing, event, crm, by=by, **details)


def _meant(entry: Failures, codes: Sequence[str]) -> Failures | None:
    """The part of the entry that has one of these codes. Reasons without a code match by their beginning, as shown."""
    if not codes or entry.code in codes:
        return entry
    prefixes = [prefix for prefix in entry.prefixes if prefix in codes]
    return replace(entry, prefixes=prefixes) if prefixes else None


def _add(total: Flipped, done: Flipped) -> None:
    total.flipped += done.flipped
    total.locked += done.locked
    total.refused += done.refused
    total.refusal = total.refusal or done.refusal


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
