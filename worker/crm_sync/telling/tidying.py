"""Deletes what has expired: days of history, slot by slot, and everything older than 90 days. One of the workers does it."""

import asyncio
from collections.abc import Callable

import structlog

from crm_sync import events
from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import CrmSyncError
from crm_sync.log import Trouble
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query

log = structlog.get_logger()


class Tidying:
    """days: for which history is kept. worker: the id of this one, None before it has one."""

    def __init__(self, days: int, database: Database, worker: Callable[[], int | None], waits: Waits = USUAL) -> None:
        self._days = days
        self._database = database
        self._worker = worker
        self._tidy_s = waits.tidy_s
        self._again_s = waits.history_again_s
        self._trouble = Trouble(loop="tidying")
        self._told = (0, 0)

    async def run(self, opened: asyncio.Event) -> None:
        """Runs forever. opened: whether there is a session, and so an id."""
        while True:
            await opened.wait()
            await asyncio.sleep(self._tidy_s if await self.tidy() else self._again_s)

    async def tidy(self) -> bool:
        """Whether nothing is left to do soon. Raises nothing."""
        try:
            if not await self._database.value(query("detect_first_worker"), self._worker()):
                return True
            row = (await self._database.fetch(query("tidy_history"), self._days))[0]
        except CrmSyncError as error:
            self._trouble.tell(error)
            return True
        self._trouble.over()
        untidy = (row["full_slots"], row["missing"])
        if untidy not in (self._told, (0, 0)):
            note = "contacts are still delivered"
            log.warning(events.HISTORY_UNTIDY, full_slots=row["full_slots"], missing_slots=row["missing"], note=note)
        self._told = untidy
        return not row["busy"]
