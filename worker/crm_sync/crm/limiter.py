"""What a client has to know about its account's limits: how to wait, and where to report what is left.

Where they are kept does not concern it: for a worker, in the database (`crm_sync.limits.rate_limit`).
"""

from collections.abc import Iterable
from typing import Protocol

from crm_sync.core.rate import Remaining


class Limiter(Protocol):
    """The limits of one account."""

    async def slot(self) -> None:
        """Waits until the next request may start. Raises HeldBackError if that is not soon, or cannot be determined now."""

    async def correct(self, remaining: Iterable[Remaining]) -> None:
        """The CRM has reported what is left. Raises nothing: the answer that reported it matters more."""


class _Unlimited:
    async def slot(self) -> None:
        """Returns at once."""

    async def correct(self, remaining: Iterable[Remaining]) -> None:
        """Does nothing."""


UNLIMITED: Limiter = _Unlimited()
