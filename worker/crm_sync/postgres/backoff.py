"""Pauses between two tries of something that is away."""

import random

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


class Backoff:
    """Each pause is twice the one before, up to LONGEST_PAUSE_S, less up to half of it by chance."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S

    def pause_s(self) -> float:
        """Seconds to wait now."""
        pause_s = self._next_s * random.uniform(0.5, 1)  # noqa: S311 (jitter is no secret)
        self._next_s = min(self._next_s * 2, LONGEST_PAUSE_S)
        return pause_s

    def reset(self) -> None:
        """It was reached: the next pause is a short one again."""
        self._next_s = FIRST_PAUSE_S
