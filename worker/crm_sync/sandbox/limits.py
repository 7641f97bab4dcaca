"""Request limits in fixed windows: a window begins with the first request after the previous one has ended."""

import math
from dataclasses import dataclass

HOUR_S = 3600


@dataclass(slots=True)
class Window:
    """At most `limit` requests in `period_s` seconds; None: unlimited."""

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
    """Windows that a request must all fit in. breaches: the number of requests that did not."""

    def __init__(self, *windows: Window) -> None:
        self.windows = windows
        self.breaches = 0

    def admit(self, now_s: float) -> bool:
        """Counts a request in every window, or in none."""
        self.renew(now_s)
        if any(window.remaining() < 1 for window in self.windows):
            self.breaches += 1
            return False
        for window in self.windows:
            window.used += 1
        return True

    def tightest(self, now_s: float) -> Window:
        """The window with the least left."""
        self.renew(now_s)
        return min(self.windows, key=Window.remaining)

    def renew(self, now_s: float) -> None:
        for window in self.windows:
            window.renew(now_s)
