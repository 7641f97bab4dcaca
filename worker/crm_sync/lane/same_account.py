"""Whether the credentials of a lane belong to the account that the ids in the rows are from.

CRMs know contacts by small numbers, so another account has other contacts under the same ids. A worker gets the key of another
account when keys are exchanged, or when a copy of the database is used with a test account.
"""

from collections.abc import Callable

from crm_sync import events
from crm_sync.core.codes import Code
from crm_sync.core.waits import Waits
from crm_sync.crm.client import Client
from crm_sync.crm.plug_in_errors import ask_account
from crm_sync.crm.trail import as_operation
from crm_sync.errors import HeldBackError, LaneError, NotSentError, OutageError, RefusedError
from crm_sync.lane.proof import Proof
from crm_sync.measurements import Operation
from crm_sync.table.known_account import KnownAccount

# These would apply to the next request too. Not so a ThrottledError: Brevo has narrower limits for its account than for contacts.
_OF_ALL = (HeldBackError, NotSentError, OutageError)


class SameAccount(Proof):
    """Refuses all, upserts and deletions, while anything is bound to another account.

    A client has the same credentials as long as it lives, so the CRM is asked once. What is noted in the database is compared
    again whenever there is news of the lane, which a worker that notes another account sends.
    """

    def __init__(
        self,
        crm: str,
        client: Client,
        known: KnownAccount,
        waits: Waits,
        *,
        worker: Callable[[], int],
        news: Callable[[], str | None],
    ) -> None:
        """worker: the id of ours. news: the account that was noted when the lane's row was last read."""
        super().__init__(crm, waits, good_for_s=waits.account_again_s)
        self._client = client
        self._known = known
        self._unnamed_s = waits.fields_again_s
        self._worker = worker
        self._news = news
        self._asked_with: str | None = None  # the news at that time
        self._account: str | None = None

    def _is_current(self) -> bool:
        return self._account is None or self._news() == self._asked_with

    async def _ask(self) -> None:
        try:
            if self._account is None:
                with as_operation(Operation.ACCOUNT):
                    self._account = await ask_account(self._client)
        except LaneError as error:
            if isinstance(error, _OF_ALL) and error.code != Code.CLIENT_FAILED:
                raise
            self._unknown(error)
            return
        if self._account is None:
            self._asked(self._unnamed_s)
            return
        self._asked_with = self._news()
        try:
            await self._known.settle(self._account, self._worker())
            self._good()
        except RefusedError as error:
            self._refuse(error)

    def _tell_unknown(self, reason: str) -> None:
        note = "contacts are still delivered; a key of another account would not be noticed"
        self._log.warning(events.ACCOUNT_UNKNOWN, reason=reason, note=note)


async def require_same_account(client: Client, known: KnownAccount, *, noting: bool) -> None:
    """Once, for what works without a lane. noting: it writes ids. Raises LaneError, and as Database.fetch does."""
    account = await ask_account(client)
    if account is not None:
        await (known.settle(account) if noting else known.compare(account))
