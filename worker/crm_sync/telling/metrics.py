"""The metrics of one worker: derived from log events and measurements, so that no call site knows about them.

They belong to the process: they continue across a reload, and start at zero in a new process. Every label combination of a lane
exists from the moment the worker has the lane, so that the first failure is also an increase.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics

from crm_sync import __version__, events, log, measurements
from crm_sync.core.outcome import Kind as Outcome
from crm_sync.telling import labels
from crm_sync.telling.catalogue import CATALOGUE, VALUES, Kind
from crm_sync.telling.latency import Latency

Event = Mapping[str, Any]


class Metrics:
    """Metrics of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody asks for
        self._crms: frozenset[str] = frozenset()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._latency = Latency(CATALOGUE["delivery_latency_seconds"])
        registry.register(self._latency)
        for name, metric in CATALOGUE.items():
            about = (metric.full_name, metric.meaning, metric.labels)
            if metric.shared or name == "delivery_latency_seconds":
                continue
            if metric.kind is Kind.COUNTER:
                self._counters[name] = Counter(*about, registry=registry)
            elif metric.kind is Kind.GAUGE:
                self._gauges[name] = Gauge(*about, registry=registry)
            elif metric.kind is Kind.HISTOGRAM:
                self._histograms[name] = Histogram(*about, buckets=metric.buckets, registry=registry)
        build = CATALOGUE["build_info"]
        Info(build.full_name.removesuffix("_info"), build.meaning, registry=registry).info({"version": __version__})
        self._begin(None)

    def listen(self) -> None:
        """Starts counting."""
        log.tap(self.hear)
        measurements.tap(self.measured)

    def cease(self) -> None:
        """Stops counting, and keeps the values so far."""
        log.untap(self.hear)
        measurements.untap(self.measured)

    def show(self, *, session_up: bool, lag_s: float, in_flight: Mapping[str, int]) -> None:
        """The values at the moment of a scrape."""
        self._gauges["session_up"].set(session_up)
        self._gauges["event_loop_lag_seconds"].set(lag_s)
        for crm in self._crms | in_flight.keys():
            self._gauges["in_flight_contacts"].labels(crm).set(in_flight.get(crm, 0))

    # Events.

    def hear(self, event: Event) -> None:
        """An event of the log."""
        if (heard := _HEARD.get(event.get("event", ""))) is not None:
            heard(self, event)

    def _has_lanes(self, event: Event) -> None:
        for crm in event["lanes"]:
            if crm not in self._crms:
                self._crms |= {crm}
                self._begin(crm)

    def _has_no_lane(self, event: Event) -> None:
        """Contacts of dead workers are recovered even without a lane."""
        self._count("orphans_recovered_total", 0, event["crm"])

    def _finished(self, event: Event) -> None:
        for outcome in labels.OUTCOMES:
            if contacts := event.get(outcome):
                self._count("contacts_finished_total", contacts, event["crm"], outcome)
        if event.get(Outcome.DELIVERED):
            self._gauges["last_delivery_timestamp_seconds"].labels(event["crm"]).set(time.time())

    def _deletions_finished(self, event: Event) -> None:
        for outcome in labels.OUTCOMES:
            if deletions := event.get(outcome):
                self._count("deletions_finished_total", deletions, event["crm"], outcome)

    def _failed(self, event: Event) -> None:
        self._count("contact_errors_total", 1, event["crm"], labels.code_of(event["error"]))

    def _loop_failed(self, event: Event) -> None:
        self._count("loop_failures_total", 1, labels.loop_of(event.get("loop", "delivery"), self._crms))

    # Measurements.

    def measured(self, measurement: measurements.Measurement) -> None:
        """Something that is not logged."""
        match measurement:
            case measurements.Statement(name, took_s):
                self._histograms["statement_duration_seconds"].labels(labels.known(name, labels.STATEMENTS)).observe(took_s)
            case measurements.Exchange(crm, operation, status, code, took_s):
                came = labels.status_of(status, code)
                self._histograms["request_duration_seconds"].labels(crm, operation, came).observe(took_s)
            case measurements.Delivery(crm, contacts):
                self._histograms["request_contacts"].labels(crm).observe(contacts)
            case measurements.Delivered(crm, waited_ms):
                self._latency.observe(crm, waited_ms)
            case measurements.Unrecorded(crm, outcomes):
                self._count("history_dropped_total", outcomes, crm)
            case measurements.Throttled(crm):
                self._count("throttled_total", 1, crm)
            case measurements.Limited(crm, waited_s):
                self._count("rate_limit_wait_seconds_total", waited_s, crm)
            case measurements.Woken(crm, cause):
                self._count("wakes_total", 1, crm, cause)

    # Counting.

    def _count(self, name: str, by: float, *values: str) -> None:
        counter = self._counters[name]
        (counter.labels(*values) if values else counter).inc(by)

    def _begin(self, crm: str | None) -> None:
        """Starts at zero: the metrics of this CRM; None: those that belong to no CRM."""
        for name, metric in {**self._counters, **self._histograms}.items():
            names = CATALOGUE[name].labels
            if names and ("crm" in names) == (crm is not None):
                for values in _combinations(names, crm):
                    metric.labels(*values)
        if crm is not None:
            self._latency.begin(crm)


def _combinations(names: tuple[str, ...], crm: str | None) -> list[tuple[str, ...]]:
    combined: list[tuple[str, ...]] = [()]
    for name in names:
        values = VALUES.get(name, (crm or "",))
        combined = [(*before, value) for before in combined for value in values]
    return combined


def _adds(name: str) -> Callable[[Metrics, Event], None]:
    """The event says how many contacts of which CRM."""
    return lambda metrics, event: metrics._count(name, event["contacts"], event["crm"])


def _adds_one(name: str) -> Callable[[Metrics, Event], None]:
    return lambda metrics, _event: metrics._count(name, 1)


_HEARD: dict[str, Callable[[Metrics, Event], None]] = {
    events.WORKER_STARTED: Metrics._has_lanes,
    events.LANE_WITHOUT_CREDENTIALS: Metrics._has_no_lane,
    events.CONTACTS_FINISHED: Metrics._finished,
    events.CONTACT_FAILED: Metrics._failed,
    events.TOMBSTONES_FINISHED: Metrics._deletions_finished,
    events.CONTACTS_LOST: _adds("contacts_lost_total"),
    events.ORPHANS_RECOVERED: _adds("orphans_recovered_total"),
    events.STRAYS_LINED_UP: _adds("strays_total"),
    events.SESSION_LOST: _adds_one("session_losses_total"),
    events.LOOP_FAILED: Metrics._loop_failed,
}
