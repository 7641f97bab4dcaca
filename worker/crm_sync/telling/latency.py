"""How long deliveries took, from the flip. It has its own histogram, because the client library counts single values, and a
finish counts hundreds.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from crm_sync.core.latency import buckets
from crm_sync.telling.catalogue import Metric


class Latency(Collector):
    """For each CRM."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._bounds = [*metric.buckets, float("inf")]
        self._counts: dict[str, list[int]] = {}  # in each bucket, not cumulative
        self._sums: dict[str, float] = {}

    def begin(self, crm: str) -> None:
        """Starts at zero."""
        self._counts.setdefault(crm, [0] * len(self._bounds))
        self._sums.setdefault(crm, 0.0)

    def observe(self, crm: str, waited_ms: Mapping[int, int]) -> None:
        """This many contacts became Complete this many milliseconds after their flip."""
        self.begin(crm)
        self._counts[crm] = [a + b for a, b in zip(self._counts[crm], buckets(waited_ms), strict=True)]
        self._sums[crm] += sum(ms * contacts for ms, contacts in waited_ms.items()) / 1000

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """The registry calls this at registration to learn the name."""
        return [self._family()]

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = self._family()
        bounds = [floatToGoString(bound) for bound in self._bounds]  # type: ignore[no-untyped-call]
        for crm, counts in self._counts.items():
            family.add_metric([crm], [*zip(bounds, accumulate(counts), strict=True)], self._sums[crm])
        yield family

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._metric.full_name, self._metric.meaning, labels=self._metric.labels)
