"""What a lane needs of a CRM."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from worker.core.outcome import Contact, Outcome
from worker.database import Database
from worker.pace import Pace


class Client(Protocol):
    """One CRM account. batch_limit: contacts in one request; concurrency: requests at a time."""

    batch_limit: int
    concurrency: int

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Outcome]:
        """Upserts at most batch_limit contacts, no address among them twice. One outcome each, in their order.

        Raises LaneError when it can say nothing about the contacts.
        """
        ...

    async def check(self) -> str:
        """Proves the credentials without changing anything. A few words for people. Raises LaneError."""
        ...


@dataclass(frozen=True, slots=True)
class Account:
    """One CRM account, configured. default_fields: CRM field -> column, for tables that have it. open: its client and pace, for
    as long as the lane lives.
    """

    default_fields: Mapping[str, str]
    open: Callable[[Database], AbstractAsyncContextManager[tuple[Client, Pace]]]
