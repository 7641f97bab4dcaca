"""Pauses between attempts to reach something unavailable."""

import random

from crm_sync.core.waits import USUAL, Waits


def chance() -> float:
    """A random number from 0 to 1, so that not everyone pauses equally long."""
    return random.random()  # noqa: S311 (jitter is no secret)


class Backoff:
    """Each pause is twice the previous one, up to a maximum, less up to half of it by chance."""

    def __init__(self, waits: Waits = USUAL) -> None:
        self._between(waits.first_reconnect_s, waits.longest_reconnect_s)

    @classmethod
    def of_a_person(cls, waits: Waits = USUAL) -> "Backoff":
        """For problems that only a person can fix."""
        backoff = cls(waits)
        backoff._between(waits.first_mending_look_s, waits.longest_mending_look_s)
        return backoff

    def _between(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def pause_s(self) -> float:
        """Seconds to wait now."""
        pause_s = self._next_s * random.uniform(0.5, 1)  # noqa: S311 (jitter is no secret)
        self._next_s = min(self._next_s * 2, self._longest_s)
        return pause_s

    def reset(self) -> None:
        """It was reached: the next pause is short again."""
        self._next_s = self._first_s
