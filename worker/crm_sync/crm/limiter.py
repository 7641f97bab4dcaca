"""What a client has to know of the limits of its account: that it waits, and whom it tells what is left.

Who keeps them is not its affair: with a worker it is the database (`crm_sync.limits.rate_limit`).
"""

from collections.abc import Iterable
from typing import Protocol

from crm_sync.core.rate import Remaining


class Limiter(Protocol):
    """The limits of one account."""

    async def slot(self) -> None:
        """Waits until the next request may start. Raises HeldBackError if that is not soon, or cannot be told now."""

    async def correct(self, remaining: Iterable[Remaining]) -> None:
        """The CRM has said what is left. Raises nothing: the answer that said so counts more."""


class _Unlimited:
    async def slot(self) -> None:
        """At once."""

    async def correct(self, remaining: Iterable[Remaining]) -> None:
        """There is nothing to correct."""


UNLIMITED: Limiter = _Unlimited()
