"""What a lane needs of a CRM."""

from collections.abc import Sequence
from typing import Protocol

from worker.core.outcome import Contact, Outcome


class Client(Protocol):
    """One CRM account.

    batch_limit: contacts in one request; concurrency: requests at a time; requests_per_s: of the whole account, over all
    workers, None if the vendor names no limit.
    """

    batch_limit: int
    concurrency: int
    requests_per_s: float | None

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Outcome]:
        """Upserts at most batch_limit contacts. One outcome each, in their order.

        Raises LaneError when it can say nothing about the contacts.
        """
        ...

    async def check(self) -> str:
        """Proves the credentials without changing anything. What the account is called. Raises LaneError."""
        ...
