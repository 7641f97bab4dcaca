"""Faults that stop one lane of a worker until a person helps: logged once, and shown for as long as they last."""

import asyncio

import structlog

from crm_sync import events
from crm_sync.core.text import clean
from crm_sync.errors import ConfigurationError, CrmSyncError
from crm_sync.log import Trouble
from crm_sync.postgres.pool import Database
from crm_sync.postgres.session import Session
from crm_sync.postgres.statements import query
from crm_sync.reports.rights import with_advice

LONGEST_FAULT = 500

log = structlog.get_logger()


class Fault:
    """The fault of one CRM. Each reason is logged once, and is in `crm_sync.lanes` while this worker is alive and has the fault.

    A failure to record it there is logged, and does not affect the lane.
    """

    def __init__(self, crm: str, database: Database, session: Session) -> None:
        self.reason: str | None = None
        self._crm = crm
        self._database = database
        self._session = session
        self._trouble = Trouble(crm=crm, loop="fault")
        self._turn = asyncio.Lock()  # a fault recorded while the worker ends must not outlive it
        self._ended = False

    def tell(self, error: ConfigurationError) -> None:
        reason = clean(with_advice(error))[:LONGEST_FAULT]
        if reason != self.reason:
            self.reason = reason
            log.error(events.LANE_FAULTY, crm=self._crm, reason=reason, note="its contacts wait; other CRMs are not affected")

    async def note(self) -> None:
        """Records the fault in the database, unless the worker is ending. The session must have been opened once."""
        async with self._turn:
            if not self._ended:
                await self._write("note_fault", self._crm, self.reason, self._session.known_id)

    def over(self) -> None:
        """The lane works again."""
        if self.reason is not None:
            log.info(events.LANE_MENDED, crm=self._crm, was=self.reason)
            self.reason = None

    async def withdraw(self) -> bool:
        """Removes the fault from the database. Returns whether that could be written."""
        async with self._turn:
            worker = self._session.worker_id
            return worker is not None and await self._write("clear_fault", self._crm, worker)

    async def end(self) -> None:
        """The worker ends: its recorded faults are removed, and no more are recorded."""
        self._ended = True
        await self.withdraw()

    async def _write(self, statement: str, *arguments: object) -> bool:
        try:
            await self._database.fetch(query(statement), *arguments)
        except ConfigurationError as error:
            self._trouble.tell(ConfigurationError(with_advice(error)))
        except CrmSyncError as error:
            self._trouble.tell(error)
        else:
            self._trouble.over()
            return True
        return False
