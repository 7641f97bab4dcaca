"""One kind of request to a CRM, and when it was served last.

A firewall or a proxy may let one kind through and refuse another (GET but not POST, POST but not PATCH). So only a success of the
same kind proves that the CRM serves others.
"""

import math
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Operation:
    """Times in seconds of one clock of the caller's; -inf before the first success.

    began: when the latest request that was served had begun. served_at: when an answer to one that was served came last.
    """

    began: float = -math.inf
    served_at: float = -math.inf

    def served(self, began: float, now: float) -> None:
        """A request that began then has just been answered with a success of the CRM's own."""
        self.began = max(self.began, began)
        self.served_at = max(self.served_at, now)
