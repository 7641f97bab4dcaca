"""The account of a CRM that the ids in the rows belong to, as it is noted in `crm_sync.lanes`."""

import asyncio

from crm_sync.core.codes import Code
from crm_sync.errors import HeldBackError, RefusedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.adopted_table import LaneTable

NO_WORKER = 0
MOST_TRIES = 20
AGAIN_S = 0.1  # another worker notes an account, or the breaker changes


class KnownAccount:
    """Of one lane. Every method raises as Database.fetch does, and RefusedError if anything is bound to another account."""

    def __init__(self, database: Database, table: LaneTable) -> None:
        self._database = database
        self._read = render("read_account", table.variables)
        self._note = render("note_account", table.variables)

    async def compare(self, account: str, worker: int = NO_WORKER) -> str | None:
        """The noted account, or None: this one, or one to which nothing is bound any more. worker: the id of ours."""
        noted: str | None
        ((noted, is_bound),) = await self._database.fetch(self._read, account, worker)
        if is_bound:
            raise RefusedError(
                Code.ANOTHER_ACCOUNT,
                f"the key is of {account}, but ids in rows, deletions or requests in flight are of {noted}:"
                " put the former key back, or forget the ids",
            )
        return noted

    async def settle(self, account: str, worker: int = NO_WORKER) -> None:
        """Notes this account if it may be. Also raises HeldBackError, if the lane's row stays locked."""
        for _ in range(MOST_TRIES):
            noted = await self.compare(account, worker)
            if noted == account or await self._database.fetch(self._note, account, noted):
                return
            await asyncio.sleep(AGAIN_S)
        raise HeldBackError("the row of this CRM in crm_sync.lanes is locked, so its account cannot be noted")
