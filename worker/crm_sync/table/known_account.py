"""The account of a CRM that the ids in the rows belong to, as it is noted in `crm_sync.lanes`."""

from crm_sync.core.codes import Code
from crm_sync.core.text import printable
from crm_sync.errors import RefusedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import render
from crm_sync.table.adopted_table import LaneTable

LONGEST = 200  # characters of an account's name


class KnownAccount:
    """Of one lane. Every method raises as Database.fetch does."""

    def __init__(self, database: Database, table: LaneTable) -> None:
        self.crm = table.crm
        self._database = database
        self._read = render("read_account", table.variables)
        self._note = render("note_account", table.variables)

    async def compare(self, account: str) -> bool:
        """Whether this account is the noted one. If not, it may be noted: none is, or no ids of the noted one are left.

        Raises RefusedError if they are: under these ids, this account has other contacts.
        """
        return await self._noted(account) == printable(account, LONGEST)

    async def settle(self, account: str) -> bool:
        """The same, and notes it. Returns False if another worker notes one at this moment."""
        noted, account = await self._noted(account), printable(account, LONGEST)
        return noted == account or bool(await self._database.fetch(self._note, account, noted))

    async def _noted(self, account: str) -> str | None:
        """Raises RefusedError if ids of another account are left."""
        account = printable(account, LONGEST)
        noted: str | None
        ((noted, has_ids),) = await self._database.fetch(self._read, account)
        if has_ids:
            raise RefusedError(
                Code.ANOTHER_ACCOUNT,
                f"the key is of {account}, but the ids in the rows are of {noted}: put the former key back, or forget the ids",
            )
        return noted
