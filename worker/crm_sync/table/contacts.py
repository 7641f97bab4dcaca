"""The contacts table as the queue of one CRM: claim and finish. Who is next is in `crm_sync.table.line`."""

import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import asyncpg

from crm_sync.core.history import History
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
from crm_sync.table.line import Line
from crm_sync.table.recording import Recording
from crm_sync.table.trigger_loops import TriggerLoops
from crm_sync.table.unreadable_rows import SHORT, Claimed, Reader, cut

# Contacts in a claim that may include one with a slow expression. The first one found puts the others back.
MOST_SLOW = 32
MOST_UNREAD = 1_000


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
        self._orphans = render("find_orphans", variables)
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
        self.line = Line(database, table, self._avoided, waits)
        patience_s = waits.claim_patience_s
        self._finishing = Finishing(database, variables, self.recording, clearing, self._avoided, patience_s=patience_s)
        self._by_key = CarefulClaim(database, table, self._avoided, self._finishing, patience_s)
        self._loops = TriggerLoops(table.crm)
        self._overtaking = Overtaking()
        self._claim_patience_s = waits.claim_patience_s
        self._slow_mapping_s = waits.slow_mapping_s
        # The next claim claims first, then reads: otherwise it would compute the mapping with its rows locked, and writes by
        # other CRMs and the application would wait.
        self._careful = False
        self._most = NO_LIMIT  # contacts in a claim: fewer while the mapping is slow
        self._kept = 0  # rows that a trigger has kept from the latest claim: the next one finds out which
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
        # What a failed probe gave back is due now. So where there is no other contact, fresh ones get no more than their share.
        share = self.line.fairness.share(limit, all_fresh=probe and bool(without))
        if self._kept and not probe:
            return await self._claim_by_keys(limit, token, share)
        careful, self._careful = self._careful, False
        if not careful:
            try:
                claim = self._claim_one_alone if rung and self.line.fairness.fresh_from is None else self._claim_and_map
                rows = await self.line.claim_next(claim, limit, token, share=share, probe=probe, without=without)
            except DatabaseTroubleError as error:
                is_slow = isinstance(error, TooSlowError)
                if not (is_slow or error.of_a_row):
                    raise
                careful = True
                self.line.begin_again()
                if is_slow:
                    self._most = limit = min(limit, MOST_SLOW)
            except UnreadableError:
                # One at a time, so that an unreadable contact has few others with it when it comes again. They are not to blame:
                # only an attempt alone counts.
                if limit > 1:
                    self.unread_claims.append(token)
                self._most = 1
                raise
        if careful or (probe and share and self._kept and not rows):
            # A probe then takes the first in line: that is the one to be avoided if it is refused too.
            share = 0 if probe else min(share, limit)
            return await self._claim_with_care(limit, token, share=share, probe=probe, without=without)
        if self._kept and not rows:
            return await self._claim_past_kept(limit, token, share, probe)
        if rows and self._most < NO_LIMIT:
            self._most *= 2
        claimed = await self._reader.complete([self._contact(row, token, self._names) for row in rows], token)
        if claimed.returned:
            self._most = max(1, len(rows) - len(claimed.returned))
        return claimed

    async def _claim_and_map(self, limit: int, token: int, *rest: object) -> list[asyncpg.Record]:
        """In one statement. Also raises TooSlowError."""
        return await self._held(self._told(await self._claim_briefly(self._claim, limit, token, *rest)), token)

    async def _claim_one_alone(self, limit: int, token: int, *rest: object) -> list[asyncpg.Record]:
        """The same, without a share of fresh contacts, and without saying how many rows a trigger has kept: where some are, the
        lane finds them due at its next look, and claims again.
        """
        return await self._held(await self._claim_briefly(self._claim_single, limit, token, *rest[:-2]), token)

    async def _claim_briefly(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        began = time.monotonic()
        rows = await self._database.fetch_briefly(self._claim_patience_s, statement, *arguments)
        self._careful = time.monotonic() - began > self._slow_mapping_s
        return rows

    async def _claim_only(self, limit: int, token: int, *rest: object) -> list[asyncpg.Record]:
        """Without what is to be sent."""
        return await self._held(self._told(await self._database.fetch(self._claim_unread, limit, token, *rest)), token)

    def _told(self, rows: list[asyncpg.Record]) -> list[asyncpg.Record]:
        """The contacts. Notes how many rows a trigger of the table has kept from the claim: every row says it, and one without a
        contact where none was claimed.
        """
        self._kept = rows[0]["kept"]
        return [] if rows[0][0] is None else rows

    async def _held(self, rows: list[asyncpg.Record], token: int) -> list[asyncpg.Record]:
        """The contacts that are still claimed: a trigger of the table may have taken back the claim of others, or part of it."""
        self._loops.tell(rows)
        if all(row[5] for row in rows):
            return rows
        if taken_back := [row[0] for row in rows if row[5] is False]:
            self._avoided.tell(self._avoided.leave(await self._finishing.give_back(taken_back, token)))
        return [row for row in rows if row[5]]

    async def _claim_with_care(self, limit: int, token: int, *, share: int, probe: bool, without: Collection[Any]) -> Claimed:
        """Claims first, then reads. If the table refuses to have a row claimed, each is claimed by its key."""
        try:
            rows = await self.line.claim_next(self._claim_only, limit, token, share=share, probe=probe, without=without)
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
        self.line.begin_again()
        self._kept = 0
        contacts, self._careful = await self._by_key.claim(limit, token, share, self.line.fairness.fresh_from)
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
        self.line.begin_again()
        self._kept = 0
        first = await self.line.next_due()
        if first.in_s is not None:
            self._avoided.add({first.id: error})
        return Claimed([], [])

    @staticmethod
    def _contact(row: asyncpg.Record, token: int, names: Sequence[str]) -> Contact:
        """names: of the fields that were read."""
        due_at, flipped_at = row[1], row[4]
        late = flipped_at is not None and due_at > flipped_at
        fields = dict(zip(names, row[9:]))  # noqa: B905 (this runs for every contact; the keyword takes a fifth of it)
        return Contact(row[0], token, row[2], row[3], row[8], flipped_at or due_at, fields, late, row[7])

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
