"""The end of a claim: outcomes are written to the rows and to history, and a row that refuses its outcome is isolated."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import asyncpg

from crm_sync.core.clearing import Ending
from crm_sync.core.codes import Code
from crm_sync.core.outcome import Finish, Kind, columns, sparse
from crm_sync.errors import CrmSyncError, DatabaseTroubleError, LockedError, RowRefusedError, TooSlowError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import OFF, ON, render
from crm_sync.table.avoided import Avoided
from crm_sync.table.clearing import Clearing
from crm_sync.table.recording import Recording
from crm_sync.table.undone import Undone

NOTHING_SENT = Ending(0, 0)
MOST_WAITS = 12  # for locks, in one call of finish: enough to isolate one locked row among several hundred
MOST_UNRECORDED = 5_000
NO_LIMIT = 1 << 20
LOST = "lost"  # as in history


class Finished(NamedTuple):
    """written: as they were written. refused: the table does not allow writing to their rows. The others no longer had this
    claim.

    in_line: the ids of those that are due again. waited_ms: how many were delivered this many milliseconds after their flip.
    unrecorded: how many of all these are missing from history.
    """

    written: Sequence[Finish]
    refused: Sequence[Finish]
    in_line: Set[Any]
    waited_ms: Mapping[int, int] = MappingProxyType({})
    unrecorded: int = 0


NOTHING_FINISHED = Finished([], [], frozenset())


class Finishing:
    """For one CRM. Every method raises as Database.fetch does, but RowRefusedError only where documented."""

    def __init__(
        self,
        database: Database,
        variables: Mapping[str, str],
        recording: Recording,
        clearing: Clearing,
        avoided: Avoided,
        *,
        patience_s: float,
    ) -> None:
        """patience_s: of a statement that writes several outcomes, whose rows stay locked for as long."""
        self._database = database
        self._recording = recording
        self._clearing = clearing
        self._avoided = avoided
        self._patience_s = patience_s
        self._most = NO_LIMIT  # outcomes in a statement: fewer while a trigger of the table is slow
        self.undone = Undone(database)
        self._finish = recording.render("finish_contacts", {**variables, "clears": ON if clearing else OFF})
        self._claimed_by = variables["claimed_by_name"]
        self._queue_unclaimed = render("queue_unclaimed", variables)
        self._still_claimed = render("find_still_claimed", variables)
        self._place = render("place_claimed", variables)
        self._unrecorded: list[tuple[Any, ...]] = []  # lines of history that wait for the database
        # Claims, by id and token, that a statement without history may have ended, because its answer was lost.
        self._in_doubt: deque[tuple[Any, int]] = deque(maxlen=MOST_UNRECORDED)
        self._write_history = render("write_history", {**variables, "operation": "upsert"})

    async def finish(self, finishes: Sequence[Finish], *, apart: bool = False) -> Finished:
        """Ends claims. If a row refuses the outcome, it gets Error with that reason, if it accepts that. Rows whose write would
        wait for a lock of the application are left out. apart: their history is written separately.
        """
        parts: list[Finished] = []
        slow: dict[Any, TooSlowError] = {}
        rest = deque(self._known_apart(finishes))
        waits = 0
        while rest and waits < MOST_WAITS:
            batch = rest.popleft()
            if len(batch) > self._most:
                rest.extendleft(reversed(_halves(batch)))
                continue
            try:
                parts.append(await self._finish_briefly(batch, apart=apart))
            except (LockedError, TooSlowError) as error:
                if isinstance(error, TooSlowError):
                    if not error.of_a_row:
                        raise
                    self._most = max(1, len(batch) // 2)
                    if len(batch) == 1:
                        slow[batch[0].id] = error
                waits += 1
                # Behind the others, which may be written at once.
                rest += _halves(batch) if len(batch) > 1 else []
        if slow:
            parts.append(await self._finish_slow([finish for finish in finishes if finish.id in slow], slow, apart=apart))
        return parts[0] if len(parts) == 1 else _together(parts)

    def _known_apart(self, finishes: Sequence[Finish]) -> list[Sequence[Finish]]:
        """Those whose rows were refused before are written last, one by one, so that they do not hold up the others again."""
        known = [finish for finish in finishes if self._avoided.knows(finish.id)] if self._avoided.remembers else []
        if not known or len(finishes) == 1:
            return [finishes]
        ids = {finish.id for finish in known}
        others = [finish for finish in finishes if finish.id not in ids]
        return [*([others] if others else []), *([finish] for finish in known)]

    async def _finish_briefly(self, finishes: Sequence[Finish], *, apart: bool) -> Finished:
        """A trigger of the table gets as much time as outcomes usually take. A slow server, or a locked table, gets more."""
        try:
            finished = await self._finish_at_once(finishes, apart=apart, patience_s=self._patience_s)
        except TooSlowError as error:
            if error.of_a_row:
                raise
            return await self._finish_at_once(finishes, apart=apart)
        if self._most < NO_LIMIT:
            self._most += 1 + self._most // 4
        return finished

    async def _finish_slow(self, finishes: Sequence[Finish], errors: Mapping[Any, TooSlowError], *, apart: bool) -> Finished:
        """One alone may take as long as any statement, but the others do not wait for more than one that takes longer."""
        parts = []
        for place, finish in enumerate(finishes):
            try:
                parts.append(await self._finish_at_once([finish], apart=apart))
            except LockedError:
                continue
            except TooSlowError as error:
                parts.append(await self._leave_unfinished([finish], error))
                parts += [await self._leave_unfinished([other], errors[other.id]) for other in finishes[place + 1 :]]
                break
        return _together(parts)

    async def _finish_at_once(self, finishes: Sequence[Finish], *, apart: bool, patience_s: float | None = None) -> Finished:
        """patience_s: until a trigger of the table counts as slow; None for as long as any statement."""
        endings = [finish.sent_fields or NOTHING_SENT for finish in finishes] if self._clearing else []
        bits = ([one.gone for one in endings], [one.emptied for one in endings]) if self._clearing else ()
        try:
            arguments = (*sparse(columns(finishes)), *bits)
            fetched = await self._recording.fetch(
                self._database,
                self._finish,
                *arguments,
                apart=apart,
                patience_s=patience_s,
                on_doubt=partial(self._doubt, finishes),
            )
        except RowRefusedError as error:
            return await self._finish_with_care(finishes, error)
        rows = [row for row in fetched.rows if row[4]]
        if len(rows) == len(finishes):
            written = finishes
        else:
            ids = {row[0] for row in rows}
            written = [finish for finish in finishes if finish.id in ids]
        if self._avoided.remembers:
            for row in rows:
                if not row[3]:
                    self._avoided.discard(row[0])
        unrecorded = await self._write_lines() if self._unrecorded and fetched.recorded else 0
        if not fetched.recorded:
            waited_ms = {row[0]: row[2] for row in rows}
            unrecorded = await self._record(written, waited_ms=waited_ms, suspect=fetched.suspect)
        in_line = {row[0] for row in rows if row[1] is not None}
        finished = Finished(written, [], in_line, _waits_of(written, rows), unrecorded)
        if len(rows) < len(fetched.rows) or any(row[3] for row in rows):
            return _together([finished, await self._finish_undone(finishes, fetched.rows)])
        return finished

    def _doubt(self, finishes: Sequence[Finish]) -> None:
        self._in_doubt.extend(finish[:2] for finish in finishes)

    async def _finish_undone(self, finishes: Sequence[Finish], rows: Sequence[asyncpg.Record]) -> Finished:
        """For rows that took no outcome, or not all of it, although nothing raised an error. The claims of some are ended."""
        for columns_, ids in _by_columns(rows).items():
            errors = dict.fromkeys(ids, await self.undone.reverted(columns_))
            if self._claimed_by in columns_:
                self._avoided.add(errors, claimed=True)
            else:
                self._avoided.note(errors)
        kept = {row[0] for row in rows if not row[4]}
        if not kept:
            return NOTHING_FINISHED
        return await self._refuse([finish for finish in finishes if finish.id in kept], await self.undone.kept())

    async def _finish_with_care(self, finishes: Sequence[Finish], error: RowRefusedError) -> Finished:
        if len(finishes) == 1:
            return await self._refuse(finishes, error)
        middle = len(finishes) // 2
        # History is not the cause, so a statement without it shows the cause just as well.
        return _together([await self.finish(half, apart=True) for half in (finishes[:middle], finishes[middle:])])

    async def _refuse(self, finishes: Sequence[Finish], error: RowRefusedError) -> Finished:
        """They get Error with this reason, unless their rows have refused that, too."""
        untold = [finish for finish in finishes if finish.code != Code.ROW_REFUSED]
        parts = [await self._leave_unfinished([finish for finish in finishes if finish.code == Code.ROW_REFUSED], error)]
        if untold:
            why = f"{Code.ROW_REFUSED}: {error}"
            refused = [one._replace(kind=Kind.REJECTED, error=why, remote_id=None, delay_s=0.0) for one in untold]
            parts.append(await self.finish(refused, apart=True))
        return _together(parts)

    async def _leave_unfinished(self, finishes: Sequence[Finish], error: DatabaseTroubleError) -> Finished:
        """Their rows take no outcome: they stay claimed, until a full look puts them back in line."""
        self._avoided.add({finish.id: error for finish in finishes}, claimed=True)
        # Their requests have been received anyway.
        return Finished([], finishes, frozenset(), unrecorded=await self.record_lost(finishes))

    async def give_back(self, ids: Sequence[Any], token: int) -> dict[Any, DatabaseTroubleError]:
        """Ends claims that a trigger has undone in part, unsent. Returns why, by id. Raises nothing."""
        with suppress(CrmSyncError):  # then they are claimed according to the row, and recovered
            await self.finish([Finish(contact, token, Kind.DEFERRED) for contact in ids])
            await self._database.fetch(self._queue_unclaimed, list(ids))
        return dict.fromkeys(ids, await self.undone.taken_back())

    # History.

    async def record_lost(self, finishes: Sequence[Finish]) -> int:
        """Records in history what was sent but has no row to write to: the row was deleted, or belongs to another claim by now.
        What was probably written, by a statement whose answer was lost, keeps its outcome. Returns how many could not be
        recorded. Raises nothing.
        """
        sent = [finish for finish in finishes if finish.sent or finish.receipt is not None]
        claims = {finish[:2] for finish in sent}.intersection(self._in_doubt)
        self._in_doubt = deque((claim for claim in self._in_doubt if claim not in claims), MOST_UNRECORDED)
        written = [finish for finish in sent if finish[:2] in claims]
        lost = [finish for finish in sent if finish[:2] not in claims]
        return await self._record(written) + await self._record(lost, LOST)

    async def _record(
        self,
        finishes: Sequence[Finish],
        outcome: str | None = None,
        waited_ms: Mapping[Any, int | None] = MappingProxyType({}),
        suspect: CrmSyncError | None = None,
    ) -> int:
        """outcome: used instead of their own. Returns how many could not be recorded."""
        told = [finish for finish in finishes if self._recording.wants(finish)]
        if told:
            ids, tokens, kinds, errors, remote_ids, _, *requests = columns(told)
            more = ([waited_ms.get(finish.id) for finish in told], [finish.attempts for finish in told])
            lines = (ids, tokens, [outcome] * len(told) if outcome else kinds, errors, remote_ids, *requests, *more)
            self._unrecorded += zip(*lines, strict=True)
        return await self._write_lines(suspect)

    async def _write_lines(self, suspect: CrmSyncError | None = None) -> int:
        """Writes the waiting lines. Returns how many are lost for good."""
        lines, self._unrecorded = self._unrecorded, []
        if not lines:
            return 0
        arguments = zip(*lines, strict=True)
        is_written = await self._recording.write(self._database, self._write_history, *arguments, suspect=suspect)
        if is_written is None:
            self._unrecorded = [*lines, *self._unrecorded][-MOST_UNRECORDED:]
        lacking = 0 if is_written else len(lines) - len(self._unrecorded)
        self._recording.drop(lacking)
        return lacking

    async def still_claimed(self, finishes: Sequence[Finish]) -> set[Any]:
        """Which of them are still claimed with the same token, and can be finished later: their rows are locked by the
        application, or had no due time, and are given one.
        """
        tokens = {finish.id: finish.token for finish in finishes}
        rows = await self._database.fetch(self._still_claimed, list(tokens), list(tokens.values()))
        ids = {row[0] for row in rows}
        if without := [row[0] for row in rows if not row[1]]:
            try:
                await self._database.fetch(self._place, without, [tokens[contact] for contact in without])
            except RowRefusedError as error:
                self._avoided.add(dict.fromkeys(without, error), claimed=True)
                ids -= set(without)
        return ids


def _waits_of(written: Sequence[Finish], rows: Sequence[asyncpg.Record]) -> Mapping[int, int]:
    """For those that were delivered. If that is all of them, they are counted as a whole, because this runs for every contact."""
    delivered = [finish.id for finish in written if finish.kind is Kind.DELIVERED]
    if len(delivered) == len(rows):
        return Counter([row[2] for row in rows])
    ids = set(delivered)
    return Counter([row[2] for row in rows if row[0] in ids])


def _halves(batch: Sequence[Finish]) -> list[Sequence[Finish]]:
    middle = len(batch) // 2
    return [batch[:middle], batch[middle:]]


def _by_columns(rows: Sequence[asyncpg.Record]) -> dict[str, list[Any]]:
    """The ids of the rows of which a trigger has taken something back, by the columns in question."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        if row[3]:
            found.setdefault(row[3], []).append(row[0])
    return found


def _together(parts: Sequence[Finished]) -> Finished:
    return Finished(
        [one for part in parts for one in part.written],
        [one for part in parts for one in part.refused],
        frozenset().union(*(part.in_line for part in parts)),
        sum((Counter(part.waited_ms) for part in parts), Counter()),
        sum(part.unrecorded for part in parts),
    )
