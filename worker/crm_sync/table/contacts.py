"""The contacts table as the queue of one CRM: claim, finish, look."""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import asyncpg

from crm_sync.core.fairness import MOST_FRESH, Fairness, FreshLine
from crm_sync.core.history import History
from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Contact, Finish, Kind
from crm_sync.core.overtaking import Overtaking
from crm_sync.core.values import Apart, Form
from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import ConfigurationError, CrmSyncError, DatabaseTroubleError, TooSlowError, UnreadableError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import OFF, ON, render
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.avoided import Avoided
from crm_sync.table.careful_claim import CarefulClaim
from crm_sync.table.clearing import Clearing, SentNotes
from crm_sync.table.finishing import NO_LIMIT, Finished, Finishing
from crm_sync.table.recording import Recording
from crm_sync.table.unreadable_rows import SHORT, Claimed, Reader, cut

# Contacts in a claim that may include one with a slow expression. The first one found puts the others back.
MOST_SLOW = 32
MOST_UNREAD = 1_000
SWEEP = 5_000  # lines examined by one short statement

_Claim = Callable[..., Awaitable[list[asyncpg.Record]]]


class NextDue(NamedTuple):
    """in_s: seconds until the earliest contact is due, zero or less if one is ready; None if none is waiting.

    revision: the breaker's. steps_over: there are lines before it, of contacts in flight or of no contact.
    """

    revision: int
    in_s: float | None
    id: Any
    steps_over: bool


class Strays(NamedTuple):
    """Contacts whose place in line was wrong. locked: by the application, and so not repaired."""

    repaired: int
    locked: int


class Contacts:
    """One CRM's view of the table. Every method raises as Database.fetch does, but RowRefusedError only where documented."""

    def __init__(
        self,
        database: Database,
        table: LaneTable,
        email: str,
        fields: Mapping[str, str],
        waits: Waits = USUAL,
        *,
        writers: Mapping[str, Form] = MappingProxyType({}),
        longest: Mapping[str, int] = MappingProxyType({}),
        apart: Sequence[Apart] = (),
        history: History = History.ALL,
        clearing: Clearing | None = None,
    ) -> None:
        """email and fields: SQL expressions over a row; fields by the CRM's own names. writers, longest, apart: as in
        FieldMapping. clearing: which fields are emptied; none without it.
        """
        clearing = clearing or Clearing(table.crm)
        fields = {**fields, **clearing.column(table)}
        self.table = table
        self._database = database
        self.clearing = clearing
        self._notes = SentNotes(database, table, clearing)
        self._names = tuple(fields)
        variables = {**clearing.variables(table), "mapped": cut(email, fields, longest, SHORT)}
        self._claim = render("claim_contacts", {**variables, "fully": ON})
        self._claim_single = render("claim_contacts", {**variables, "fully": OFF})
        self._claim_unread = render("claim_contacts", {**variables, "fully": ON, "mapped": "NULL::text"})
        self.recording = Recording(table.crm, history, waits.history_again_s)
        self._next_due = render("find_next_due", variables)
        self._newest_due = render("find_newest_due", variables)
        self._orphans = render("find_orphans", variables)
        self._strays = render("line_up_strays", variables)
        self._missing_lines = render("add_missing_lines", variables)
        self._stale_lines = render("drop_stale_lines", variables)
        self._pages = render("count_pages", variables)
        self._reader = Reader(
            database,
            table.variables,
            email,
            fields,
            writers=writers,
            longest=longest,
            apart=apart,
            finish=clearing.read if clearing else None,
        )
        self._avoided = Avoided(table.crm, waits.avoid_row_s)
        patience_s = waits.claim_patience_s
        self._finishing = Finishing(database, variables, self.recording, clearing, self._avoided, patience_s=patience_s)
        self._by_key = CarefulClaim(database, table, self._avoided, self._finishing, patience_s)
        self._fairness = Fairness(look_s=waits.fresh_look_s)
        self._overtaking = Overtaking()
        self._full_look_s = waits.full_look_s
        self._claim_patience_s = waits.claim_patience_s
        self._slow_mapping_s = waits.slow_mapping_s
        self._cursor = BEGINNING
        self._full_look_at = 0.0
        self._steps_over = False  # the latest look stepped over lines
        # The next claim claims first, then reads: otherwise it would compute the mapping with its rows locked, and writes by
        # other CRMs and the application would wait.
        self._careful = False
        self._most = NO_LIMIT  # contacts in a claim: fewer while the mapping is slow
        self._kept = 0  # rows that a trigger has kept from the latest claim: the next one finds out which
        self._left_out: list[Any] = []  # of the claim in flight
        self.unread_claims: deque[int] = deque(maxlen=MOST_UNREAD)  # of several contacts, one of which could not be read

    @property
    def avoiding(self) -> bool:
        """Whether a row is being skipped because the table refuses it."""
        return bool(self._avoided)

    def refused(self, most: int) -> dict[str, str]:
        """Why the table refuses to have rows written, by the name of the contact: for the latest ones, at most this many."""
        return self._avoided.reasons(most)

    # Claim.

    async def claim(
        self, limit: int, token: int, *, rung: bool = False, probe: bool = False, without: Collection[Any] = ()
    ) -> Claimed:
        """At most this many ready contacts, in the order they became due; during a backlog, a share of them are fresh.

        None while the lane is held, while its breaker is not closed (unless this is the probe), and without a registered worker.
        rung: the lane slept until a flip rang, which is probably alone. without: keys to exclude.
        """
        claimed = await self._claim_some(limit, token, rung=rung, probe=probe, without=without)
        marked = claimed._replace(contacts=self._overtaking.marked(claimed.contacts))
        return await self._notes.note(marked, token)

    async def _claim_some(self, limit: int, token: int, *, rung: bool, probe: bool, without: Collection[Any]) -> Claimed:
        limit = min(limit, self._most)
        self._left_out = list(without)
        share = self._fairness.share(limit)
        if self._kept and not probe:
            return await self._claim_by_keys(limit, token, share)
        careful, self._careful = self._careful, False
        if not careful:
            try:
                claim = self._claim_one_alone if rung and self._fairness.fresh_from is None else self._claim_and_map
                rows = await self._next(claim, limit, token, share, probe)
            except DatabaseTroubleError as error:
                is_slow = isinstance(error, TooSlowError)
                if not (is_slow or error.of_a_row):
                    raise
                careful = True
                self._cursor = BEGINNING
                if is_slow:
                    self._most = limit = min(limit, MOST_SLOW)
            except UnreadableError:
                # One at a time, so that an unreadable contact has few others with it when it comes again. They are not to blame:
                # only an attempt alone counts.
                if limit > 1:
                    self.unread_claims.append(token)
                self._most = 1
                raise
        if careful:
            return await self._claim_with_care(limit, token, min(share, limit), probe)
        if self._kept and not rows:
            return await self._claim_past_kept(limit, token, share, probe)
        if rows and self._most < NO_LIMIT:
            self._most *= 2
        claimed = await self._reader.complete([self._contact(row, token, self._names) for row in rows], token)
        if claimed.returned:
            self._most = max(1, len(rows) - len(claimed.returned))
        return claimed

    async def next_due(self) -> NextDue:
        due = await self._first(BEGINNING)
        self._steps_over = due.steps_over
        return due

    async def _claim_and_map(self, *arguments: object) -> list[asyncpg.Record]:
        """In one statement. Also raises TooSlowError."""
        return self._told(await self._claim_briefly(self._claim, *arguments))

    async def _claim_one_alone(self, *arguments: object) -> list[asyncpg.Record]:
        """The same, without a share of fresh contacts, and without saying how many rows a trigger has kept: where some are, the
        lane finds them due at its next look, and claims again.
        """
        return await self._claim_briefly(self._claim_single, *arguments[:-2])

    async def _claim_briefly(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        began = time.monotonic()
        rows = await self._database.fetch_briefly(self._claim_patience_s, statement, *arguments)
        self._careful = time.monotonic() - began > self._slow_mapping_s
        return rows

    async def _claim_only(self, *arguments: object) -> list[asyncpg.Record]:
        return self._told(await self._database.fetch(self._claim_unread, *arguments))

    def _told(self, rows: list[asyncpg.Record]) -> list[asyncpg.Record]:
        """The contacts. Notes how many rows a trigger of the table has kept from the claim: every row says it, and one without a
        contact where none was claimed.
        """
        self._kept = rows[0]["kept"]
        return [] if rows[0][0] is None else rows

    async def _next(self, claim: _Claim, limit: int, token: int, share: int, probe: bool) -> list[asyncpg.Record]:
        """share: at most this many fresh contacts. Also raises errors of a row."""
        now = time.monotonic()
        if now >= self._full_look_at:
            await self.sweep()
            self._cursor = BEGINNING
        if self._cursor == BEGINNING:
            self._full_look_at = now + self._full_look_s
        rest = ([*self._avoided.ids(), *self._left_out], probe, share, self._fairness.fresh_from)
        rows = await self._held(await claim(limit, token, self._cursor, *rest), token)
        if not rows and self._cursor != BEGINNING:
            # Contacts that the application had locked, or committed late, are behind the cursor.
            rows = await self._held(await claim(limit, token, BEGINNING, *rest), token)
        # A fresh contact says nothing about how far the backlog has been served.
        backlog = self._fairness.of_backlog([row[1] for row in rows])
        self._cursor = max(backlog, default=self._cursor if rows else BEGINNING)
        if self._fairness.claimed(limit, share, len(backlog), len(rows) - len(backlog), now):
            await self._measure_fresh_line()
        return rows

    async def _held(self, rows: list[asyncpg.Record], token: int) -> list[asyncpg.Record]:
        """The contacts that are still claimed: a trigger of the table may have taken back the claim of others, or part of it."""
        if all(row[5] for row in rows):
            return rows
        if taken_back := [row[0] for row in rows if row[5] is False]:
            self._avoided.tell(self._avoided.leave(await self._finishing.give_back(taken_back, token)))
        return [row for row in rows if row[5]]

    async def _measure_fresh_line(self) -> None:
        """Finds where the backlog ends. Raises nothing, because contacts are already claimed: the next claim finds out what is
        wrong.
        """
        with suppress(DatabaseTroubleError, ConfigurationError):
            arguments = (self._avoided.ids(), self._fairness.fresh_from, MOST_FRESH)
            rows = await self._database.fetch(self._newest_due, *arguments)
            self._fairness.measured(FreshLine(*rows[0]))

    async def _claim_with_care(self, limit: int, token: int, share: int, probe: bool) -> Claimed:
        """Claims first, then reads. If the table refuses to have a row claimed, each is claimed by its key."""
        try:
            rows = await self._next(self._claim_only, limit, token, share, probe)
        except DatabaseTroubleError as error:
            if not error.of_a_row:
                raise
            return await (self._probe_past(error) if probe else self._claim_by_keys(limit, token, share))
        if not rows:
            return await self._claim_past_kept(limit, token, share, probe) if self._kept else Claimed([], [])
        began = time.monotonic()
        claimed = await self._read([self._contact(row, token, ()) for row in rows], token)
        # And so may be the next ones.
        self._careful = claimed.slow or time.monotonic() - began > self._slow_mapping_s
        return claimed

    async def _claim_past_kept(self, limit: int, token: int, share: int, probe: bool) -> Claimed:
        """All that could be claimed were kept by a trigger of the table, and come before all others."""
        if probe:
            return await self._probe_past(await self._finishing.undone.kept())
        return await self._claim_by_keys(limit, token, share)

    async def _claim_by_keys(self, limit: int, token: int, share: int) -> Claimed:
        self._cursor, self._kept = BEGINNING, 0
        contacts, self._careful = await self._by_key.claim(limit, token, share, self._fairness.fresh_from)
        # If some were refused, more may follow.
        return await self._read(contacts, token) if contacts else Claimed([], [])

    async def _read(self, contacts: Sequence[Contact], token: int) -> Claimed:
        """If the mapping is refused as a whole, they go back in line: another worker's may be right."""
        try:
            return await self._reader.read(contacts, token)
        except ConfigurationError:
            with suppress(CrmSyncError):  # then they are claimed according to the row, and recovered
                await self.finish([Finish(contact.id, token, Kind.DEFERRED) for contact in contacts])
            raise

    async def _probe_past(self, error: DatabaseTroubleError) -> Claimed:
        """The only contact of a probe is refused: the next probe has another one."""
        self._cursor, self._kept = BEGINNING, 0
        first = await self._first(BEGINNING)
        if first.in_s is not None:
            self._avoided.add({first.id: error})
        return Claimed([], [])

    @staticmethod
    def _contact(row: asyncpg.Record, token: int, names: Sequence[str]) -> Contact:
        """names: of the fields that were read."""
        due_at, flipped_at = row[1], row[4]
        late = flipped_at is not None and due_at > flipped_at
        fields = dict(zip(names, row[8:]))  # noqa: B905 (this runs for every contact; the keyword takes a fifth of it)
        return Contact(row[0], token, row[2], row[3], row[7], flipped_at or due_at, fields, late, row[6])

    async def _first(self, after: datetime) -> NextDue:
        rows = await self._database.fetch(self._next_due, self._avoided.ids(), after)
        return NextDue(*rows[0]) if rows else NextDue(0, None, None, False)  # a lane that is being removed

    # Finish.

    async def finish(self, finishes: Sequence[Finish]) -> Finished:
        """See `Finishing.finish`."""
        return await self._finishing.finish(finishes)

    async def record_lost(self, finishes: Sequence[Finish]) -> int:
        """See `Finishing.record_lost`."""
        return await self._finishing.record_lost(finishes)

    async def still_claimed(self, finishes: Sequence[Finish]) -> set[Any]:
        """See `Finishing.still_claimed`."""
        return await self._finishing.still_claimed(finishes)

    # Look.

    async def orphans(self, workers: Sequence[int]) -> list[tuple[Any, int, int]]:
        """(id, token, attempts) of the contacts that these workers have in flight."""
        return [tuple(row) for row in await self._database.fetch(self._orphans, list(workers))]

    async def tidy(self) -> None:
        """Sweeps, if the latest look stepped over lines."""
        if self._steps_over:
            await self.sweep()

    async def sweep(self) -> None:
        """Deletes lines that represent no contact from the beginning of the line, because every look would step over them."""
        while True:
            looked_at, dropped = (await self._database.fetch(self._stale_lines, SWEEP))[0]
            if looked_at < SWEEP or not dropped:
                return

    async def pages(self) -> int:
        """Length of the table in pages."""
        return int(await self._database.value(self._pages))

    async def line_up_strays(self, first_page: int, end_page: int) -> Strays:
        """In a stretch of the table. Raises RowRefusedError."""
        strays = Strays(*(await self._database.fetch(self._strays, first_page, end_page))[0])
        # If no trigger saw the repair either, those just repaired are among them.
        added = (await self._database.fetch(self._missing_lines, first_page, end_page))[0][0]
        return strays._replace(repaired=max(strays.repaired, added))
