"""Writes outcomes back to the rows, in batches of whatever has arrived.

Outcomes that arrive while one statement runs are gathered for the next, and for a few milliseconds more if others are expected: a
single contact is written at once, a flood in hundreds. When as many wait as a statement takes, a second one is sent meanwhile, so
that Postgres need not wait for this process to read an answer. Nothing is dropped: outcomes that cannot be written, because the
database is unreachable or the application has locked the row, stay here and are tried again.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

import structlog

from crm_sync import events
from crm_sync.core.moves import Moves
from crm_sync.core.outcome import Finish, Kind
from crm_sync.core.tally import Tally
from crm_sync.core.text import name_of
from crm_sync.core.traceparent import trace_of
from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.log import Trouble
from crm_sync.measurements import Delivered, measure
from crm_sync.table.contacts import Contacts
from crm_sync.table.newest_sent import NewestSent
from crm_sync.table.overwritten import Overwritten

LARGEST_BATCH = 500
ENOUGH = 100  # outcomes that justify a statement at once

_kind_of = attrgetter("kind")

log = structlog.get_logger()


class Finisher:
    """in_hand: contacts whose outcomes are here or expected. on_written is called after each statement with the number of
    contacts tried for the first time, those that are finished, and whether any is due again. on_lost is called when claims turn
    out to be no longer ours.

    If a claim was lost after its request had started, the state in the CRM is uncertain: the request may have overwritten newer
    data. The same goes for late outcomes. `crm_sync.table.overwritten` handles both right after the outcome.
    """

    def __init__(
        self,
        crm: str,
        contacts: Contacts,
        overwritten: Overwritten,
        newest_sent: NewestSent,
        *,
        in_hand: Callable[[], int],
        on_written: Callable[[int, Sequence[Finish], bool], None],
        on_lost: Callable[[], None],
        tally: Tally,
        moves: Moves,
        waits: Waits = USUAL,
    ) -> None:
        self._tally = tally
        self._contacts = contacts
        self._moves = moves
        self._in_hand = in_hand
        self._on_written = on_written
        self._on_lost = on_lost
        self._overwritten = overwritten
        self._newest_sent = newest_sent
        self._waits = waits
        self._written_at = 0.0
        self._crm = crm
        self._log = log.bind(crm=crm)
        self._trouble = Trouble(crm=crm, loop="writer")
        self._fresh: list[Finish] = []
        self._locked: list[Finish] = []  # tried, but locked by the application
        self._in_statements: list[list[Finish]] = []  # at most two
        self._arrived = asyncio.Event()
        self._many = asyncio.Event()  # enough for a second statement have arrived
        self._idle = asyncio.Event()
        self._idle.set()
        self._failure: ConfigurationError | None = None

    def put(self, finishes: Iterable[Finish]) -> None:
        """One or more outcomes."""
        self._fresh.extend(finishes)
        self._arrived.set()
        self._see_whether_many()
        if self._failure is None:
            self._idle.clear()

    def _see_whether_many(self) -> None:
        if len(self._fresh) >= LARGEST_BATCH:
            self._many.set()

    @property
    def idle(self) -> bool:
        """Whether there is nothing left to write."""
        return self._idle.is_set()

    @property
    def unwritten(self) -> list[Finish]:
        """The outcomes that are not written yet."""
        in_statements = [finish for batch in self._in_statements for finish in batch]
        return [*in_statements, *self._fresh, *self._locked, *self._overwritten.unseen]

    async def drained(self) -> None:
        """Returns when everything put so far is written. Raises ConfigurationError if only a person can make that possible."""
        await self._idle.wait()
        if self._failure is not None:
            raise self._failure

    async def run(self) -> None:
        """Writes outcomes forever. Raises ConfigurationError, and writes nothing after that."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._run())
                group.create_task(self._help())
        except ExceptionGroup as errors:
            refusals = [error for error in errors.exceptions if isinstance(error, ConfigurationError)]
            if refusals:
                self._failure = refusals[0]
                self._idle.set()
            raise (self._failure or errors.exceptions[0]) from None

    async def _help(self) -> None:
        """Writes full batches while another statement runs."""
        while True:
            await self._many.wait()
            self._many.clear()
            while self._in_statements and len(self._fresh) >= LARGEST_BATCH:
                await self._write()
            self._arrived.set()  # so that the other loop sees whether anything is left

    async def _run(self) -> None:
        wait_s = self._waits.first_write_again_s
        while True:
            if not self._fresh:
                left = bool(self._locked or self._overwritten or self._in_statements)
                if not left:
                    self._idle.set()
                # With locked rows in hand, it waits for the timeout or for new outcomes.
                wait_s = await self._wait(wait_s if left else None)
            await self._gather()
            await self._write()
            if self._overwritten:
                await self._look_after()
            self._written_at = time.monotonic()

    async def _gather(self) -> None:
        """Waits at most until gather_s after the previous statement, and not at all if no more outcomes are expected."""
        if len(self._fresh) < min(self._in_hand(), ENOUGH):
            await asyncio.sleep(max(0.0, self._written_at + self._waits.gather_s - time.monotonic()))

    async def _wait(self, wait_s: float | None) -> float:
        """Waits until outcomes arrive, at most this many seconds. Returns how long to wait next time."""
        try:
            async with asyncio.timeout(wait_s):
                await self._arrived.wait()
        except TimeoutError:
            return min((wait_s or self._waits.first_write_again_s) * 2, self._waits.longest_write_again_s)
        return self._waits.first_write_again_s

    async def _write(self) -> None:
        fresh = self._fresh[:LARGEST_BATCH]
        again = self._locked[: LARGEST_BATCH - len(fresh)]
        batch = [*fresh, *again]
        if not batch:
            self._arrived.clear()
            return
        del self._fresh[: len(fresh)], self._locked[: len(again)]
        self._in_statements.append(batch)
        self._see_whether_many()
        try:
            await self._write_these(fresh, again)
        finally:
            self._in_statements.remove(batch)

    async def _write_these(self, fresh: Sequence[Finish], again: Sequence[Finish]) -> None:
        """fresh: not tried before. Unless the database answers, all of them go back to those that wait."""
        batch = [*fresh, *again]
        started = time.perf_counter()
        is_answered = False
        try:
            await self._newest_sent.note(fresh)
            finished = await self._contacts.finish(batch)
            left_out = _without(batch, [*finished.written, *finished.refused])
            locked = await self._contacts.still_claimed(left_out) if left_out else set()
            is_answered = True
        except DatabaseTroubleError as error:
            # Repeating is harmless, even if the statement was applied and only its answer was lost.
            self._trouble.tell(error, contacts=len(batch))
            await asyncio.sleep(self._waits.longest_write_again_s)
            return
        finally:
            if not is_answered:
                self._fresh[:0], self._locked[:0] = fresh, again
        self._trouble.over()
        if not self._fresh:
            self._arrived.clear()
        self._locked += [finish for finish in left_out if finish.id in locked]
        done = [finish for finish in batch if finish.id not in locked] if locked else batch
        lost = [finish for finish in left_out if finish.id not in locked] if left_out else []
        unrecorded = finished.unrecorded
        if lost:
            self._on_lost()
            unrecorded += await self._contacts.record_lost(lost)
        self._tally.finished(finished.written, waited_ms=finished.waited_ms, lost=len(lost), unrecorded=unrecorded)
        if finished.waited_ms:
            measure(Delivered(self._crm, finished.waited_ms))
        self._overwritten.add(lost, finished.written)
        self._on_written(len(fresh), done, bool(finished.in_line))
        if finished.written:
            self._moves.add(finished.written, finished.in_line, time.monotonic())
        self._tell(finished.written, len(lost), started)

    async def _look_after(self) -> None:
        try:
            flipped = await self._overwritten.flip()
        except DatabaseTroubleError as error:
            self._trouble.tell(error, contacts=len(self._overwritten.unseen))
            return
        if flipped:
            self._log.info(events.CONTACTS_OVERWRITTEN, contacts=flipped)
            self._on_written(0, [], True)

    def _tell(self, finished: Sequence[Finish], lost: int, started: float) -> None:
        if finished:
            duration_ms = round((time.perf_counter() - started) * 1000, 1)
            counts = {kind.value: count for kind, count in Counter(map(_kind_of, finished)).items()}
            self._log.info(events.CONTACTS_FINISHED, **counts, write_ms=duration_ms)
        if lost:
            # Deleted meanwhile, or taken over by another worker after we had lost our session.
            self._log.info(events.CONTACTS_LOST, contacts=lost)
        for finish in finished:
            if finish.error is not None and finish.kind is not Kind.DEFERRED:
                retry_in_s = round(finish.delay_s) if finish.kind is Kind.RETRY else None
                self._log.warning(
                    events.CONTACT_FAILED,
                    contact=name_of(finish.id),
                    outcome=finish.kind.value,
                    error=finish.error,
                    retry_in_s=retry_in_s,
                    **({"trace_id": trace} if (trace := trace_of(finish.trace)) else {}),
                )


def _without(batch: Sequence[Finish], settled: Sequence[Finish]) -> list[Finish]:
    if len(settled) == len(batch):
        return []
    ids = {finish.id for finish in settled}
    return [finish for finish in batch if finish.id not in ids]
