"""When the contacts table is read again: at once if it has changed, and ever more rarely while something in it keeps a CRM
from being delivered to.

Reading it takes several statements on the catalogue. An obstacle that came and went between two ticks leaves the table unchanged,
so a look is due although nothing has changed. If it is still there, only another change of the table will remove it.
"""

MOST_TICKS = 10  # between two looks


class Obstacles:
    """Counts in ticks."""

    def __init__(self) -> None:
        self.crms: frozenset[str] = frozenset()  # that cannot be delivered to, at the last look
        self._pause = 0
        self._left = 0  # ticks until the next look

    def add(self, crms: frozenset[str]) -> None:
        """These were found by a look for another reason. A new one makes the next tick look."""
        if crms - self.crms:
            self._pause = self._left = 0
        self.crms |= crms

    def is_to_look(self, *, changed: bool) -> bool:
        """Once a tick. changed: whether the table has changed since the last look."""
        if changed:
            self._pause = self._left = 0
            return True
        if not self.crms:
            return False
        self._left -= 1
        if self._left > 0:
            return False
        self._pause = min(max(1, self._pause * 2), MOST_TICKS)
        self._left = self._pause
        return True

    def found(self, crms: frozenset[str]) -> None:
        """By the look that is_to_look asked for."""
        self.crms = crms
