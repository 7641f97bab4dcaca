"""The failed contacts of one CRM: how many there are and why, and flipping them, in nobody's way.

Flipped in short transactions, for the application waits for a row until the one that has it ends. No row lock is waited for, so
no transaction of the application can be the victim of a deadlock. Each commit stands for itself: whatever ends this, nothing is
lost.

A worker delivers meanwhile, and what is refused again at once is a failed contact again. Only what has not been touched since the
count is flipped, and no more than was counted, so this ends.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from crm_sync.core.codes import OF_DELIVERED
from crm_sync.errors import DatabaseTroubleError, RowRefusedError
from crm_sync.postgres.brief_transaction import brief_transaction, lock_refused
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render

NO_CODE = "NO_CODE"  # of reasons that begin with none, and of contacts in Error without any


@dataclass(frozen=True, slots=True)
class Bounds:
    """What flipping may take, of the application and of this process."""

    first_batch: int = 100  # contacts: what triggers of the table's owner take is not known yet; the next have twice as many
    batch: int = 1_000  # contacts flipped in one transaction, at most
    longest_s: float = 0.5  # of one transaction; after a longer one the next has half as many
    keys: int = 100_000  # in memory, at most
    rounds: int = 5  # in which locked rows are tried again at the end
    pause_s: float = 0.5  # before each round
    refused: int = 1_000  # contacts that the table refuses, and it has taken fewer: it is the table, not the contacts


@dataclass(frozen=True, slots=True)
class Failures:
    """The failed contacts with one code, or those without a word of why: they have no prefixes.

    uncertain: of them those that may have failed before the time asked for; undated: besides them those of whose time nothing is
    known. prefixes: how the reasons begin. sample: one of these.
    """

    code: str
    in_error: int
    waiting: int
    complete: int
    uncertain: int
    undated: int
    prefixes: Sequence[str]
    sample: str | None

    @property
    def contacts(self) -> int:
        return self.in_error + self.waiting + self.complete


@dataclass(slots=True)
class Flipped:
    """What became of the contacts of one CRM, while it does. locked and refused: their keys."""

    flipped: int = 0
    locked: list[Any] = field(default_factory=list)
    refused: list[Any] = field(default_factory=list)
    refusal: str | None = None


class FailedContacts:
    """Every method raises as Database.fetch does, but no RowRefusedError."""

    def __init__(
        self,
        database: Database,
        variables: Mapping[str, str],
        counted_at: datetime,
        since: datetime | None = None,
        bounds: Bounds | None = None,
        *,
        keys: Sequence[Any] | None = None,
    ) -> None:
        """counted_at, since: by the database's clock. since: those that failed since then; None: all. keys: of these contacts
        only.
        """
        self._database = database
        self._counted_at = counted_at
        self._since = since
        self._keys = keys
        self._count = render("count_failed_contacts", variables)
        self._find = render("find_failed_contacts", variables)
        self._count_silent = render("count_silent_contacts", variables)
        self._find_silent = render("find_silent_contacts", variables)
        self._flip = render("flip_failed_contacts", variables)
        self._bounds = bounds or Bounds()
        self._batch = min(self._bounds.first_batch, self._bounds.batch)

    async def count(self) -> list[Failures]:
        """Those with a reason, by its code."""
        rows = await self._database.fetch(self._count, self._since, self._keys)
        return [Failures(**{**dict(row), "code": row["code"] or NO_CODE}) for row in rows]

    async def count_silent(self) -> list[Failures]:
        """Those without: one or none. This takes a look at the whole table. Nobody knows when they failed."""
        count = int(await self._database.value(self._count_silent, self._keys))
        in_error, undated = (count, 0) if self._since is None else (0, count)
        return [Failures(NO_CODE, in_error, 0, 0, 0, undated, (), None)] if count else []

    async def may_flip(self) -> None:
        """Raises ConfigurationError if the role has no right to."""
        await self._database.fetch(self._flip, [], self._counted_at)

    async def flip(self, chosen: Sequence[Failures], progress: Flipped) -> None:
        """Flips what was counted. progress tells at any moment, also when this raises."""
        with_reason = sum(entry.contacts for entry in chosen if entry.prefixes)
        silent = sum(entry.contacts for entry in chosen if not entry.prefixes)
        prefixes = [prefix for entry in chosen for prefix in entry.prefixes]
        complete = any(entry.code in OF_DELIVERED and entry.complete for entry in chosen)
        await self._flip_found(with_reason, progress, self._find, prefixes, self._since, self._counted_at, complete, self._keys)
        await self._flip_found(silent, progress, self._find_silent, self._counted_at, self._keys)
        for _ in range(self._bounds.rounds):
            if not progress.locked:
                break
            await asyncio.sleep(self._bounds.pause_s)
            locked, progress.locked = progress.locked, []
            await self._flip_all(locked, progress)

    async def _flip_found(self, counted: int, progress: Flipped, statement: str, *arguments: object) -> None:
        left = counted
        while left > 0:
            tried = [*progress.locked, *progress.refused]
            rows = await self._database.fetch(statement, *arguments, tried, min(left, self._bounds.keys))
            if not rows:
                return
            left -= len(rows)
            await self._flip_all([row[0] for row in rows], progress)

    async def _flip_all(self, ids: Sequence[Any], progress: Flipped) -> None:
        start = 0
        while start < len(ids):
            batch = ids[start : start + self._batch]
            began = time.monotonic()
            await self._flip_batch(batch, progress)
            start += len(batch)
            slow = time.monotonic() - began > self._bounds.longest_s
            self._batch = max(1, len(batch) // 2) if slow else min(self._bounds.batch, 2 * self._batch)

    async def _flip_batch(self, ids: Sequence[Any], progress: Flipped) -> None:
        """Halved where the table refuses one, until it stands alone."""
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
            self._refused([row["id"] for row in rows if row["became"] == "kept"], "a trigger of it undoes the flip", progress)

    def _refused(self, ids: Sequence[Any], why: str, progress: Flipped) -> None:
        progress.refused += ids
        if ids:
            progress.refusal = progress.refusal or why
        if len(progress.refused) >= max(self._bounds.refused, progress.flipped):
            raise DatabaseTroubleError(f"the contacts table refuses one contact after the other: {progress.refusal}")

    async def _commit(self, ids: Sequence[Any]) -> list[asyncpg.Record]:
        # What a trigger of the owner or a change of the table's definition waits for is tried again.
        async with brief_transaction(self._database) as connection:
            return await connection.fetch(self._flip, ids, self._counted_at)
