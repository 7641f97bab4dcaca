"""Brevo's request limits for a General account, in fixed windows.

Brevo documents the numbers and the headers; how its windows lie is not documented. Here one begins with the
first request after the last one's end.
"""

import math
from dataclasses import dataclass

HOUR_S = 3600


@dataclass(slots=True)
class Window:
    """At most `limit` requests in `period_s` seconds; None: any number."""

    limit: int | None
    period_s: int
    used: int = 0
    ends_s: float = -math.inf

    def renew(self, now_s: float) -> None:
        if now_s >= self.ends_s:
            self.used = 0
            self.ends_s = now_s + self.period_s

    def remaining(self) -> float:
        return math.inf if self.limit is None else self.limit - self.used


class Limit:
    """Windows that a request must all fit in. breaches: the requests that did not."""

    def __init__(self, *windows: Window) -> None:
        self.windows = windows
        self.breaches = 0

    def admit(self, now_s: float) -> bool:
        """Takes a request's place in every window, or in none."""
        self._renew(now_s)
        if any(window.remaining() < 1 for window in self.windows):
            self.breaches += 1
            return False
        for window in self.windows:
            window.used += 1
        return True

    def headers(self, now_s: float) -> dict[str, str]:
        """The window that has least left. Reset is in seconds from now (Brevo's limit-headers page)."""
        self._renew(now_s)
        tightest = min(self.windows, key=Window.remaining)
        if tightest.limit is None:
            return {}
        return {
            "x-sib-ratelimit-limit": str(tightest.limit),
            "x-sib-ratelimit-remaining": str(tightest.remaining()),
            "x-sib-ratelimit-reset": str(math.ceil(tightest.ends_s - now_s)),
        }

    def _renew(self, now_s: float) -> None:
        for window in self.windows:
            window.renew(now_s)
