"""Flips made by the application's own triggers, which our triggers do not see: a full look has found some of them.

The trigger crm_sync_catch sees them at once, but costs each UPDATE of the table a few percent. So `crm-sync adopt` and `migrate`
add it only to tables with such triggers. If such a trigger is created later, a worker that owns the table adds crm_sync_catch,
and any other worker reports it.
"""

import asyncio

import structlog

from crm_sync import events
from crm_sync.errors import ConfigurationError, DatabaseTroubleError
from crm_sync.log import Trouble
from crm_sync.postgres.brief_transaction import brief_transaction, lock_refused
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.reports.rights import with_advice

UNSEEN = (
    "these triggers of the table set a status, which only a full look sees: let the owner of the table run `crm-sync migrate`"
)
CAUGHT = "these triggers of the table set a status: from now on the trigger crm_sync_catch sees it"

log = structlog.get_logger()


class UnseenFlips:
    """Reported once for each set of triggers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = asyncio.Lock()  # several lanes may look at once
        self._told: list[str] = []
        self._trouble = Trouble(loop="full look")

    async def look(self) -> None:
        """To be called after strays were found. If the table is in use, it is tried again at the next look. Raises
        DatabaseTroubleError; a fault that only a person can fix is logged, and does not affect the contacts that were found.
        """
        async with self._turn:
            try:
                await self._look()
            except ConfigurationError as error:
                self._trouble.tell(ConfigurationError(with_advice(error)))
            else:
                self._trouble.over()

    async def _look(self) -> None:
        found = (await self._database.fetch(query("find_unseen_flips")))[0]
        triggers = found["triggers"]
        if not triggers or found["are_seen"]:
            self._told = []
        elif found["may_catch"]:
            if await self._caught():
                log.warning(events.FLIPS_UNSEEN, triggers=triggers, note=CAUGHT)
        elif triggers != self._told:
            self._told = triggers
            log.warning(events.FLIPS_UNSEEN, triggers=triggers, note=UNSEEN)

    async def _caught(self) -> bool:
        """Whether the table was free for a moment."""
        try:
            async with brief_transaction(self._database) as connection:
                await connection.fetch(query("create_catch"))
        except DatabaseTroubleError as error:
            if not lock_refused(error):
                raise
            return False
        return True
