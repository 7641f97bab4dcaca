"""Pauses between two tries of something that is away."""

import random

from crm_sync.core.waits import USUAL, Waits


class Backoff:
    """Each pause is twice the one before, up to a longest one, less up to half of it by chance."""

    def __init__(self, waits: Waits = USUAL) -> None:
        self._first_s = waits.first_reconnect_s
        self._longest_s = waits.longest_reconnect_s
        self._next_s = self._first_s

    def pause_s(self) -> float:
        """Seconds to wait now."""
        pause_s = self._next_s * random.uniform(0.5, 1)  # noqa: S311 (jitter is no secret)
        self._next_s = min(self._next_s * 2, self._longest_s)
        return pause_s

    def reset(self) -> None:
        """It was reached: the next pause is a short one again."""
        self._next_s = self._first_s
