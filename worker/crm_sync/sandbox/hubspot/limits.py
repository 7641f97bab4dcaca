"""HubSpot's request limits: per ten seconds, and per day.

100 and 250,000 are those of a private app on Free and Starter [HubSpot, usage guidelines]. The day begins at midnight in the
account's time zone; here, at a multiple of 24 hours by the sandbox's clock.
"""

from collections import deque

WINDOW_S = 10
DAY_S = 86_400


class Limits:
    """None: unlimited. breaches: the number of requests over the limit."""

    def __init__(self, per_ten_seconds: int | None, per_day: int | None) -> None:
        self.per_ten_seconds = per_ten_seconds
        self.per_day = per_day
        self.breaches = 0
        self._recent: deque[float] = deque()
        self._day = -1
        self._used_today = 0

    def broken_policy(self, now_s: float) -> str | None:
        """Counts a request, or returns the limit that has none left."""
        self._forget(now_s)
        broken = None
        if self.per_day is not None and self._used_today >= self.per_day:
            broken = "DAILY"
        elif self.per_ten_seconds is not None and len(self._recent) >= self.per_ten_seconds:
            broken = "TEN_SECONDLY_ROLLING"
        if broken is None:
            self._used_today += 1
            if self.per_ten_seconds is not None:
                self._recent.append(now_s)
        else:
            self.breaches += 1
        return broken

    def headers(self, now_s: float) -> dict[str, str]:
        self._forget(now_s)
        headers: dict[str, str] = {}
        if self.per_ten_seconds is not None:
            headers |= {
                "X-HubSpot-RateLimit-Max": str(self.per_ten_seconds),
                "X-HubSpot-RateLimit-Remaining": str(self.per_ten_seconds - len(self._recent)),
                "X-HubSpot-RateLimit-Interval-Milliseconds": str(WINDOW_S * 1000),
            }
        if self.per_day is not None:
            headers |= {
                "X-HubSpot-RateLimit-Daily": str(self.per_day),
                "X-HubSpot-RateLimit-Daily-Remaining": str(self.per_day - self._used_today),
            }
        return headers

    @property
    def used_today(self) -> int:
        return self._used_today

    def _forget(self, now_s: float) -> None:
        while self._recent and self._recent[0] <= now_s - WINDOW_S:
            self._recent.popleft()
        if now_s // DAY_S != self._day:
            self._day = int(now_s // DAY_S)
            self._used_today = 0
