"""Brevo's request limits for a General account, in fixed windows.

Brevo documents the numbers and the headers, but not when its windows begin.
"""

import math

from crm_sync.sandbox import limits


class Limit(limits.Limit):
    """Windows that a request must all fit in, and how Brevo reports them."""

    def headers(self, now_s: float) -> dict[str, str]:
        """The window with the least left. Reset is in seconds from now (Brevo's limit-headers page)."""
        tightest = self.tightest(now_s)
        if tightest.limit is None:
            return {}
        return {
            "x-sib-ratelimit-limit": str(tightest.limit),
            "x-sib-ratelimit-remaining": str(tightest.remaining()),
            "x-sib-ratelimit-reset": str(math.ceil(tightest.ends_s - now_s)),
        }
