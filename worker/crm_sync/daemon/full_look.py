"""Scans the whole contacts table, in stretches, for changes that no trigger saw and claims that belong to no worker.

    strays       contacts whose place in line is wrong or missing: a bulk load, a disabled trigger
    lost claims  contacts in flight with no living worker, whatever the cause: a restore, logical replication, a partition that
                 was attached, an emptied registry, an answer that could not be read. They go back in line
    early flips  contacts due in the future because the clock was set back: they are flipped again

Each stretch takes one or two short statements, and nothing is written if there is nothing to repair.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from crm_sync import events
from crm_sync.core.codes import Code
from crm_sync.core.retry import RetryPolicy
from crm_sync.errors import DatabaseTroubleError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.contacts import Contacts
from crm_sync.table.strays import Strays

STRETCH_PAGES = 1024  # 8 MiB of table in one short statement
DIED = f"{Code.WORKER_DIED}: no living worker has this contact in flight, and its attempts are used up"

log = structlog.get_logger()


class Repaired(NamedTuple):
    """locked: by the application, and so not repaired."""

    strays: int = 0
    claims: int = 0
    flips: int = 0
    locked: int = 0


class FullLook:
    """For the contacts of one CRM. has: whether this worker holds any contact with this claim token."""

    def __init__(
        self, database: Database, table: LaneTable, contacts: Contacts, policy: RetryPolicy, has: Callable[[int], bool]
    ) -> None:
        self._database = database
        self._crm = table.crm
        self._contacts = contacts
        self._strays = Strays(database, table)
        self._max_retries = policy.max_retries
        self._has = has
        self._inspect = render("inspect_stretch", table.variables)
        self._place = render("place_lost_claims", table.variables)
        self._release = contacts.recording.render("release_claims", table.variables)
        self._flip = render("flip_early", table.variables)

    async def look(self, worker: int) -> Repaired:
        """worker: this one. Raises as Database.fetch does, but no errors of a row."""
        pages = await self._strays.pages()
        found = Repaired()
        for first in range(0, pages, STRETCH_PAGES):
            part = await self._repair(worker, first, min(first + STRETCH_PAGES, pages))
            found = _sum(found, part)
            await asyncio.sleep(0)
        return found

    async def _repair(self, worker: int, first_page: int, end_page: int) -> Repaired:
        """If the table refuses to have a row of this stretch written, the stretch is halved until that row's page is isolated and
        skipped.
        """
        try:
            strays = await self._strays.line_up(first_page, end_page)
            found = Repaired(strays=strays.repaired, locked=strays.locked)
            return _sum(found, await self._repair_claims(worker, first_page, end_page))
        except DatabaseTroubleError as error:
            if not error.of_a_row:
                raise
            if end_page - first_page == 1:
                log.error(events.CONTACT_REFUSED, crm=self._crm, page=first_page, reason=str(error))  # noqa: TRY400 (known, no fault of ours)
                return Repaired()
        middle = (first_page + end_page) // 2
        halves = [await self._repair(worker, *half) for half in ((first_page, middle), (middle, end_page))]
        return _sum(*halves)

    async def _repair_claims(self, worker: int, first_page: int, end_page: int) -> Repaired:
        stretch = first_page, end_page
        seen = (await self._database.fetch(self._inspect, *stretch))[0]
        claims = flips = locked = 0
        # Living workers are read after the claims: a worker that has claimed is alive.
        if seen["claims"] and (lost := await self._lost(worker, seen["claims"])):
            if seen["without_due_time"]:
                await self._database.fetch(self._place, *stretch, lost)
            recording, arguments = (
                self._contacts.recording,
                (*stretch, lost, self._max_retries, DIED, [*self._contacts.unread_claims]),
            )
            fetched = await recording.fetch(self._database, self._release, *arguments)
            claims, locked = fetched.rows[0]["released"], fetched.rows[0]["locked"]
            recording.lacks_lines(claims, fetched)
        if seen["early"]:
            flips = len(await self._database.fetch(self._flip, *stretch))
        return Repaired(claims=claims, flips=flips, locked=locked)

    async def _lost(self, worker: int, tokens: Sequence[int]) -> list[int]:
        living = {row[0] for row in await self._database.fetch(query("list_living_workers"))}
        # Contacts held by another living worker are that worker's business.
        others = living - {worker}
        return [token for token in tokens if token >> 32 not in others and not self._has(token)]


def _sum(*parts: Repaired) -> Repaired:
    return Repaired(*(sum(column) for column in zip(*parts, strict=True)))
