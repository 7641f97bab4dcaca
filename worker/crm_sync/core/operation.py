"""One kind of request to a CRM, and when it was served last.

A firewall or a proxy may pass one kind and refuse another (GET but not POST, POST but not PATCH). So only a success of the same
kind proves that the CRM serves other contacts.
"""

import math
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Operation:
    """Times in seconds by one clock of the caller's; -inf before the first success.

    began: start of the latest request that was served. served_at: when the latest answer to a served request came.
    """

    began: float = -math.inf
    served_at: float = -math.inf

    def served(self, began: float, now: float) -> None:
        """A request that began at `began` has just been answered with a success by the CRM itself."""
        self.began = max(self.began, began)
        self.served_at = max(self.served_at, now)
