"""Every metric: its name, meaning and labels. The tables of docs/reference/metrics.md are generated from it.

Alert rules and the dashboard are compared with it.

Names and units follow Prometheus's naming page: base units, `_total` for counters, no unbounded labels.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from crm_sync.core.latency import BOUNDS_S
from crm_sync.telling import labels

PREFIX = "crm_sync_"


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


class Metric(NamedTuple):
    """name: without PREFIX. buckets: for a histogram, the upper bounds in its unit.

    shared: it covers all workers together, and one of them reports it.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    shared: bool = False

    @property
    def full_name(self) -> str:
        """The name in a scrape; histograms append _bucket, _sum and _count."""
        return PREFIX + self.name


_REQUEST_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)  # a request may take 20 s at most
_STATEMENT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0)  # a statement 10 s at most
_CONTACTS = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0)  # the most contacts in a request

_OF_THE_WORKER = (
    Metric("contacts_finished_total", Kind.COUNTER, "outcomes that were written, one for each attempt", ("crm", "outcome")),
    Metric(
        "contact_errors_total",
        Kind.COUNTER,
        "failures of contacts, retries among them, by failure code; NO_CODE where a client names none",
        ("crm", "code"),
    ),
    Metric("deletions_finished_total", Kind.COUNTER, "deleted contacts whose outcome was written", ("crm", "outcome")),
    Metric(
        "delivery_latency_seconds",
        Kind.HISTOGRAM,
        "from the flip of a contact until it is Complete, with retries and outages",
        ("crm",),
        BOUNDS_S,
    ),
    Metric(
        "last_delivery_timestamp_seconds",
        Kind.GAUGE,
        "when this worker delivered last, since 1970; absent before that: take the max of all workers",
        ("crm",),
    ),
    Metric(
        "request_duration_seconds",
        Kind.HISTOGRAM,
        "HTTP requests to the CRM, by what they were for and what came of them",
        ("crm", "operation", "status"),
        _REQUEST_S,
    ),
    Metric(
        "request_contacts",
        Kind.HISTOGRAM,
        "contacts, or deletions, that were handed to the CRM's client together",
        ("crm",),
        _CONTACTS,
    ),
    Metric(
        "statement_duration_seconds",
        Kind.HISTOGRAM,
        "SQL statements that succeeded, with the wait for a connection",
        ("statement",),
        _STATEMENT_S,
    ),
    Metric(
        "rate_limit_wait_seconds_total",
        Kind.COUNTER,
        "how long claims and requests waited for the account's limits, in total",
        ("crm",),
    ),
    Metric("throttled_total", Kind.COUNTER, 'times the CRM said "too many requests"', ("crm",)),
    Metric("wakes_total", Kind.COUNTER, "times the lane slept and then looked for contacts, by what woke it", ("crm", "cause")),
    Metric("in_flight_contacts", Kind.GAUGE, "contacts that this worker has claimed and not finished", ("crm",)),
    Metric(
        "contacts_lost_total",
        Kind.COUNTER,
        "contacts that were deleted, given another key or taken over while in flight",
        ("crm",),
    ),
    Metric("orphans_recovered_total", Kind.COUNTER, "contacts of workers that died, put back in line", ("crm",)),
    Metric("strays_total", Kind.COUNTER, "flips that no trigger saw, found by the full look", ("crm",)),
    Metric("session_up", Kind.GAUGE, "1 while the worker has its session with the database, else 0"),
    Metric("session_losses_total", Kind.COUNTER, "times the session was lost"),
    Metric("loop_failures_total", Kind.COUNTER, "faults of crm-sync itself, each with a traceback in the log", ("loop",)),
    Metric("event_loop_lag_seconds", Kind.GAUGE, "the largest delay of the event loop within the last minute"),
    Metric("history_dropped_total", Kind.COUNTER, "outcomes that history lacks because it could not be written", ("crm",)),
    Metric("build_info", Kind.INFO, "always 1; the version of crm-sync", ("version",)),
)

_OF_ALL = (
    Metric("contacts", Kind.GAUGE, "contacts by state, as far as they are counted", ("crm", "state"), shared=True),
    Metric(
        "oldest_ready_seconds",
        Kind.GAUGE,
        "how long the oldest contact that is due has waited since its flip, or since its retry was due; 0 where none is",
        ("crm",),
        shared=True,
    ),
    Metric("lane_state", Kind.GAUGE, "1 for the state that the lane is in, 0 for the others", ("crm", "state"), shared=True),
    Metric(
        "lane_down_reason",
        Kind.GAUGE,
        "1 for the failure code because of which the CRM is not called now, 0 for the others",
        ("crm", "code"),
        shared=True,
    ),
    Metric(
        "backlog_ends_timestamp_seconds",
        Kind.GAUGE,
        "when the backlog will be delivered at the current pace, since 1970; absent if it is not known",
        ("crm",),
        shared=True,
    ),
    Metric("limit_requests", Kind.GAUGE, "the account's limit of requests in a window", ("crm", "window"), shared=True),
    Metric("limit_used_requests", Kind.GAUGE, "requests that count for it now", ("crm", "window"), shared=True),
    Metric(
        "tombstones",
        Kind.GAUGE,
        "deletions that the CRM has not been told about yet, or that failed",
        ("crm", "state"),
        shared=True,
    ),
    Metric("workers", Kind.GAUGE, "workers that live, with those of `crm-sync sync`", shared=True),
    Metric("snapshot_age_seconds", Kind.GAUGE, "how long ago these numbers were read", shared=True),
)

CATALOGUE: Mapping[str, Metric] = {metric.name: metric for metric in (*_OF_THE_WORKER, *_OF_ALL)}

# Values of labels, except crm (each installed CRM), window (each of the account's limits) and version.
VALUES: Mapping[str, tuple[str, ...]] = {
    "outcome": labels.OUTCOMES,
    "code": labels.CODES,
    "operation": labels.OPERATIONS,
    "status": labels.STATUSES,
    "cause": labels.CAUSES,
    "statement": labels.STATEMENTS,
    "loop": labels.LOOPS,
}
