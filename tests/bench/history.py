"""What history costs: drain and latency with and without it, alternating.

The machine differs from one minute to the next, so figures are compared only within a round.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crm_sync.core.history import History
from tests.bench.figures import p99
from tests.bench.promises import Promise, at_least, told

ROUNDS = 9
DRAIN_SHARE = 0.93  # minimum share of the drain without history


@dataclass(frozen=True, slots=True)
class Figures:
    """drains: contacts a second of each round. latencies: milliseconds from COMMIT to the request, of each round."""

    drains: Mapping[History, Sequence[float]]
    latencies: Mapping[History, Sequence[Sequence[float]]]

    def promises(self) -> list[Promise]:
        return [
            *(told(f"drain, HISTORY={mode}", statistics.median(self.drains[mode]), "a second") for mode in self.drains),
            at_least("drain with history, of that without", self._share(History.ALL), DRAIN_SHARE, digits=2),
            told("drain with failures alone, of that without", self._share(History.FAILURES), digits=2),
            *(
                told(f"commit to request, p99, HISTORY={mode}", statistics.median(map(p99, rounds)), "ms", digits=1)
                for mode, rounds in self.latencies.items()
            ),
        ]

    def _share(self, mode: History) -> float:
        return statistics.median(a / b for a, b in zip(self.drains[mode], self.drains[History.OFF], strict=True))
