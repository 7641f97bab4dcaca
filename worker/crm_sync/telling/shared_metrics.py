"""The metrics of all workers together, from what one of them has counted. Nothing here queries the database."""

import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from crm_sync.telling import labels
from crm_sync.telling.catalogue import CATALOGUE
from crm_sync.telling.counts import LaneCounts, Told

Samples = Iterable[tuple[tuple[str, ...], float]]


class SharedMetrics(Collector):
    """told: the counts; None in workers that do not count: then all of these metrics are absent."""

    def __init__(self, told: Callable[[], Told | None]) -> None:
        self._told = told

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The registry calls this at registration to learn the names."""
        return [_family(name, ()) for name, metric in CATALOGUE.items() if metric.shared]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        told = self._told()
        if told is None:
            return
        yield _family("workers", [((), told.workers)])
        yield _family("snapshot_age_seconds", [((), told.age_s)])
        for name, samples in _OF_LANES.items():
            yield _family(
                name,
                [((crm, *values), value) for crm, lane in told.counted.lanes.items() for values, value in samples(lane, told)],
            )


def _family(name: str, samples: Samples) -> GaugeMetricFamily:
    metric = CATALOGUE[name]
    family = GaugeMetricFamily(metric.full_name, metric.meaning, labels=metric.labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _contacts(lane: LaneCounts, _told: Told) -> Samples:
    return [((state,), lane.contacts[state]) for state in labels.CONTACT_STATES if state in lane.contacts]


def _oldest_ready(lane: LaneCounts, _told: Told) -> Samples:
    return [] if lane.oldest_ready_s is None else [((), lane.oldest_ready_s)]


def _lane_state(lane: LaneCounts, _told: Told) -> Samples:
    return [((state,), state == lane.state) for state in labels.LANE_STATES]


def _down_reason(lane: LaneCounts, _told: Told) -> Samples:
    code = None if lane.down_code is None else labels.known(lane.down_code, labels.CODES)
    return [((one,), one == code) for one in labels.CODES]


def _backlog_ends(lane: LaneCounts, told: Told) -> Samples:
    if lane.backlog_ends_in_s is None:
        return []
    return [((), time.time() - told.age_s + lane.backlog_ends_in_s)]


def _limits(lane: LaneCounts, _told: Told) -> Samples:
    return [((labels.window_of(use.seconds),), use.requests) for use in lane.limits]


def _limits_used(lane: LaneCounts, _told: Told) -> Samples:
    return [((labels.window_of(use.seconds),), use.used) for use in lane.limits]


def _tombstones(lane: LaneCounts, _told: Told) -> Samples:
    return [((state,), lane.tombstones[state]) for state in labels.TOMBSTONE_STATES if state in lane.tombstones]


_OF_LANES: dict[str, Callable[[LaneCounts, Told], Samples]] = {
    "contacts": _contacts,
    "oldest_ready_seconds": _oldest_ready,
    "lane_state": _lane_state,
    "lane_down_reason": _down_reason,
    "backlog_ends_timestamp_seconds": _backlog_ends,
    "limit_requests": _limits,
    "limit_used_requests": _limits_used,
    "tombstones": _tombstones,
}
