"""How many per second, recently."""

from dataclasses import dataclass

WINDOW_S = 0.1


@dataclass(slots=True)
class Throughput:
    """Counts in windows of WINDOW_S seconds. All times are in seconds by one clock of the caller's."""

    started: float = 0.0
    count: int = 0
    rate: float = 0.0  # of the last full window

    def add(self, count: int, now: float) -> None:
        self._turn(now)
        self.count += count

    def per_s(self, now: float) -> float:
        """The rate in the last full window; 0 if there was nothing for a while."""
        self._turn(now)
        return self.rate

    def _turn(self, now: float) -> None:
        elapsed_s = now - self.started
        if elapsed_s >= WINDOW_S:
            self.rate = self.count / elapsed_s
            self.started, self.count = now, 0
