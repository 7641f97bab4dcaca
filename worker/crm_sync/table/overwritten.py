"""Contacts whose record in a CRM may be older than their row, because an earlier request arrived late.

    lost    the claim was no longer ours when its request ended: the session was lost and another worker took the contact over,
            or it was deleted, and perhaps inserted again, or its key was changed
    late    a contact with the same address may have been sent meanwhile: this one was put back in line after its flip, others
            were claimed before it out of turn (`crm_sync.core.overtaking`), or our session, and with it the lock on the address,
            was lost

A contact is not lost if only the answer to its finish was lost: its row was neither claimed nor flipped since.

An upsert repairs it: of the contacts with that record and address, the one flipped last is flipped once more, and keeps the time
of its flip. So it is late itself: if one is committed by then that was flipped after it, that one follows. A worker that is
killed with a request in flight cannot do so. Contacts without a record, and those of a CRM without records, are found by their
key alone.
"""

from collections.abc import Iterable, Sequence

import structlog

from crm_sync import events
from crm_sync.core.outcome import Finish, Kind
from crm_sync.core.text import name_of
from crm_sync.errors import RowRefusedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import OFF, ON, render
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.clearing import Clearing
from crm_sync.table.sending_again import SendingAgain

MOST = 500  # in one statement

log = structlog.get_logger()


class Overwritten:
    """For one lane. True while any are left to handle."""

    def __init__(self, database: Database, table: LaneTable, *, keeps_records: bool, clearing: Clearing | None = None) -> None:
        """clearing: which fields are emptied, so that the row must record what may have been written; none without it."""
        clearing = clearing or Clearing(table.crm)
        self._sending_again = SendingAgain(database, table.variables)
        self._clears = bool(clearing)
        self._flip = render("flip_overwritten", {**clearing.variables(table), "clears": ON if clearing else OFF})
        self._keeps_records = keeps_records
        self._lost: list[Finish] = []
        self._late: list[Finish] = []
        self._log = log.bind(crm=table.crm)

    def __bool__(self) -> bool:
        return bool(self._lost or self._late)

    @property
    def unseen(self) -> list[Finish]:
        return [*self._lost, *self._late]

    def add(self, lost: Iterable[Finish], written: Iterable[Finish]) -> None:
        """Outcomes that could not be written because their claims were lost, and those that were written."""
        self._lost += [finish for finish in lost if finish.sent]
        if self._keeps_records:
            self._late += [finish for finish in written if finish.late and finish.kind is Kind.DELIVERED]

    async def flip(self) -> int:
        """Returns how many contacts were flipped. Those whose rows the application has locked are tried again.

        Raises as Database.fetch does.
        """
        lost, late = self._lost[:MOST], self._late[:MOST]
        flipped, locked = await self._flip_all([*lost, *late], [True] * len(lost) + [False] * len(late))
        # More may have been added meanwhile.
        self._lost = self._lost[len(lost) :] + [finish for finish in locked if finish in lost]
        self._late = self._late[len(late) :] + [finish for finish in locked if finish not in lost]
        return flipped

    async def _flip_all(self, finishes: Sequence[Finish], lost: Sequence[bool]) -> tuple[int, list[Finish]]:
        """How many were flipped, and whose rows are locked."""
        ids = [finish.id for finish in finishes]
        records = [finish.remote_id if self._keeps_records else None for finish in finishes]
        attempts, flipped_at = [finish.attempts for finish in finishes], [finish.flipped_at for finish in finishes]
        landed = [[one.sent_fields.landed if one.sent_fields else 0 for one in finishes]] if self._clears else []
        try:
            rows = await self._sending_again.flip(self._flip, ids, records, lost, attempts, flipped_at, *landed)
        except RowRefusedError as error:
            if len(finishes) == 1:
                self._log.error(events.CONTACT_REFUSED, contact=name_of(finishes[0].id), reason=str(error))
                return 0, []
            middle = len(finishes) // 2
            halves = [await self._flip_all(finishes[part], lost[part]) for part in (slice(None, middle), slice(middle, None))]
            return sum(half[0] for half in halves), [finish for half in halves for finish in half[1]]
        locked = {row["place"] for row in rows if not row["is_flipped"]}
        return len(rows) - len(locked), [finishes[place] for place in sorted(locked)]
