"""Changes the status of many contacts of one CRM without getting in the application's way.

It uses short transactions, because the application has to wait for rows locked by a longer one. It never waits for a row lock, so
no transaction of the application can be the victim of a deadlock. Each commit is independent, so nothing is lost, whatever ends
this.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from crm_sync.errors import DatabaseTroubleError, RowRefusedError
from crm_sync.postgres.brief_transaction import brief_transaction, lock_refused
from crm_sync.postgres.pool import Database


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much flipping may demand of the application and of this process."""

    first_batch: int = 100  # contacts: the cost of the owner's triggers is unknown at first; then doubled each time
    batch: int = 1_000  # contacts flipped in one transaction, at most
    longest_s: float = 0.5  # of one transaction; after a longer one the next batch is half as large
    keys: int = 100_000  # in memory, at most
    rounds: int = 5  # in which locked rows are tried again at the end
    pause_s: float = 0.5  # before each round
    refused: int = 1_000  # refused contacts after which, if fewer were accepted, the table is at fault, not the contacts


@dataclass(slots=True)
class Flipped:
    """Progress with the contacts of one CRM, updated during the run. locked and refused: their keys."""

    flipped: int = 0
    locked: list[Any] = field(default_factory=list)
    refused: list[Any] = field(default_factory=list)
    refusal: str | None = None


class ShortFlips:
    """statement: takes keys as $1, followed by the arguments, and returns (id, became) for each that still qualifies: flipped,
    locked by another session, or left unchanged by a trigger of the table's owner.

    Every method raises as Database.fetch does, but never RowRefusedError; progress is up to date at any moment, also when one
    raises.
    """

    def __init__(self, database: Database, statement: str, *arguments: object, bounds: Bounds | None = None) -> None:
        self._database = database
        self._statement = statement
        self._arguments = arguments
        self.bounds = bounds or Bounds()
        self._batch = min(self.bounds.first_batch, self.bounds.batch)

    async def may(self) -> None:
        """Raises ConfigurationError if the role has no right to."""
        await self._database.fetch(self._statement, [], *self._arguments)

    async def flip(self, ids: Sequence[Any], progress: Flipped) -> None:
        """One pass. Locked contacts stay in progress.locked."""
        start = 0
        while start < len(ids):
            batch = ids[start : start + self._batch]
            began = time.monotonic()
            await self._flip_batch(batch, progress)
            start += len(batch)
            slow = time.monotonic() - began > self.bounds.longest_s
            self._batch = max(1, len(batch) // 2) if slow else min(self.bounds.batch, 2 * self._batch)

    async def flip_locked(self, progress: Flipped) -> None:
        """Tries locked contacts again, in several rounds."""
        for _ in range(self.bounds.rounds):
            if not progress.locked:
                break
            await asyncio.sleep(self.bounds.pause_s)
            locked, progress.locked = progress.locked, []
            await self.flip(locked, progress)

    async def _flip_batch(self, ids: Sequence[Any], progress: Flipped) -> None:
        """Halves the batch whenever the table refuses a row, until that row is isolated."""
        try:
            rows = await self._commit(ids)
        except RowRefusedError as error:
            if len(ids) > 1:
                middle = len(ids) // 2
                await self._flip_batch(ids[:middle], progress)
                await self._flip_batch(ids[middle:], progress)
                return
            self._refused(ids, str(error), progress)
        except DatabaseTroubleError as error:
            if not lock_refused(error):
                raise
            progress.locked += ids
        else:
            progress.flipped += sum(row["became"] == "flipped" for row in rows)
            progress.locked += [row["id"] for row in rows if row["became"] == "locked"]
            self._refused([row["id"] for row in rows if row["became"] == "kept"], "one of its triggers undoes the flip", progress)

    def _refused(self, ids: Sequence[Any], why: str, progress: Flipped) -> None:
        progress.refused += ids
        if ids:
            progress.refusal = progress.refusal or why
        if len(progress.refused) >= max(self.bounds.refused, progress.flipped):
            raise DatabaseTroubleError(f"the contacts table refuses one contact after the other: {progress.refusal}")

    async def _commit(self, ids: Sequence[Any]) -> list[asyncpg.Record]:
        # Waits caused by the owner's triggers or by a change of the table's definition are tried again.
        async with brief_transaction(self._database) as connection:
            return await connection.fetch(self._statement, ids, *self._arguments)
