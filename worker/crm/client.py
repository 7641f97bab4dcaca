"""What a lane needs of a CRM."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from worker.core.outcome import Contact, Outcome
from worker.errors import LaneError


class Client(ABC):
    """One CRM account. A fifth CRM is a class like this one, registered by an entry point; see the README.

    batch_limit: contacts in one request; concurrency: requests at a time, of all workers together. adaptive: fewer, as long as
    more only make its answers slower (`worker.core.concurrency`). exclusive_addresses: the CRM would make two
    records of one address in two requests at once, so that no two are under way with the same one, over all workers.
    """

    batch_limit: int = 1
    concurrency: int = 4
    adaptive: bool = False
    exclusive_addresses: bool = False

    @abstractmethod
    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Outcome | LaneError]:
        """Upserts at most batch_limit contacts, all with a valid address, and none of them twice.

        An outcome each, in their order; or a LaneError for those of whom nothing can be said. When that is all of them it may
        be raised. Those that share a BatchRefusedError come again in halves.
        """

    @abstractmethod
    async def check(self) -> str:
        """Proves the credentials without changing anything. A few words for people. Raises LaneError."""
