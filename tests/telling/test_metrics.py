"""What is counted for which event and measurement. Everything starts at zero, and every label value is a known one."""

import pytest
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from crm_sync import events, measurements
from crm_sync.measurements import Cause
from crm_sync.telling import labels
from crm_sync.telling.catalogue import CATALOGUE, VALUES
from crm_sync.telling.metrics import Metrics
from tests.telling.scrape import Scrape

log = structlog.get_logger()


class OddError(Exception):
    """Raised nowhere else."""


class Counting:
    """Metrics that listen, with lanes for Brevo and Mautic."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.metrics.listen()
        log.info(events.WORKER_STARTED, version="1", lanes=["brevo", "mautic"])

    @property
    def scrape(self) -> Scrape:
        self.metrics.show(session_up=True, lag_s=0.01, in_flight={"brevo": 3})
        return Scrape.of(generate_latest(self.registry).decode())


@pytest.fixture
def counting():
    counting = Counting()
    yield counting
    counting.metrics.cease()


def test_everything_of_a_lane_is_there_at_zero_before_anything_happens(counting):
    scrape = counting.scrape
    for name, metric in CATALOGUE.items():
        if metric.shared or not metric.labels or name in ("build_info", "last_delivery_timestamp_seconds", "in_flight_contacts"):
            continue
        shown = f"{name}_count" if metric.buckets else name
        found = [sample for sample in scrape if sample.name == f"crm_sync_{shown}"]
        combinations = 1
        for label in metric.labels:
            combinations *= len(VALUES.get(label, ("brevo", "mautic")))
        assert len(found) == combinations, name
        assert {scrape[sample] for sample in found} == {0.0}, name


def test_there_is_no_second_series_that_tells_when_a_counter_began(counting):
    assert not [name for name in counting.scrape.names if name.endswith("_created")]


def test_outcomes_are_counted_as_the_log_tells_them(counting):
    log.info(events.CONTACTS_FINISHED, crm="brevo", delivered=480, retry=15, rejected=5, write_ms=3.0)
    log.info(events.CONTACTS_FINISHED, crm="brevo", delivered=1, deferred=2, write_ms=3.0)
    log.info(events.CONTACTS_FINISHED, crm="mautic", rejected=1, write_ms=3.0)
    scrape = counting.scrape
    assert {outcome: scrape.value("contacts_finished_total", crm="brevo", outcome=outcome) for outcome in labels.OUTCOMES} == {
        "delivered": 481,
        "retry": 15,
        "rejected": 5,
        "deferred": 2,
    }
    assert scrape.total("contacts_finished_total", crm="mautic") == 1
    assert scrape.value("last_delivery_timestamp_seconds", crm="brevo")
    assert scrape.value("last_delivery_timestamp_seconds", crm="mautic") is None


def test_failures_are_counted_by_their_code_and_by_nothing_of_their_text(counting):
    for error in ("DUPLICATE: ada@example.com has it", "TIMEOUT: no answer", "TIMEOUT: no answer", "ODD_CODE: of a plug-in"):
        log.warning(events.CONTACT_FAILED, crm="brevo", contact="7", outcome="rejected", error=error, retry_in_s=None)
    scrape = counting.scrape
    counted = {code: scrape.value("contact_errors_total", crm="brevo", code=code) for code in labels.CODES}
    assert {code: count for code, count in counted.items() if count} == {"DUPLICATE": 1, "TIMEOUT": 2, "other": 1}
    assert scrape.total("contact_errors_total") == 4


@pytest.mark.parametrize(
    ("event", "metric"),
    [
        (events.CONTACTS_LOST, "contacts_lost_total"),
        (events.ORPHANS_RECOVERED, "orphans_recovered_total"),
        (events.STRAYS_LINED_UP, "strays_total"),
    ],
)
def test_contacts_of_an_event_are_added_up(counting, event, metric):
    log.warning(event, crm="brevo", contacts=3)
    log.warning(event, crm="brevo", contacts=4)
    assert counting.scrape.value(metric, crm="brevo") == 7
    assert counting.scrape.value(metric, crm="mautic") == 0


def test_orphans_of_a_crm_without_a_lane_begin_at_zero_too(counting):
    assert counting.scrape.value("orphans_recovered_total", crm="n8n") is None
    log.info(events.LANE_WITHOUT_CREDENTIALS, crm="n8n", note="")
    assert counting.scrape.value("orphans_recovered_total", crm="n8n") == 0
    assert counting.scrape.total("contacts_finished_total", crm="n8n") == 0
    assert not [
        sample for sample in counting.scrape if sample.name == "crm_sync_throttled_total" and ("crm", "n8n") in sample.labels
    ]


def test_deletions_are_counted_beside_contacts(counting):
    log.info(events.TOMBSTONES_FINISHED, crm="brevo", delivered=2, retry=1)
    assert counting.scrape.value("deletions_finished_total", crm="brevo", outcome="delivered") == 2
    assert counting.scrape.value("deletions_finished_total", crm="brevo", outcome="retry") == 1
    assert counting.scrape.total("contacts_finished_total") == 0


def test_faults_and_losses_are_counted(counting):
    log.warning(events.SESSION_LOST, reason="gone")
    log.error(events.LOOP_FAILED, loop="brevo full look")
    log.error(events.LOOP_FAILED, crm="brevo")  # of a delivery
    scrape = counting.scrape
    assert scrape.value("session_losses_total") == 1
    assert scrape.value("loop_failures_total", loop="full_look") == 1
    assert scrape.value("loop_failures_total", loop="delivery") == 1


def test_the_latency_runs_from_the_flip(counting):
    waited_ms = {0: 1, 4: 2, 200: 1, 3_600_000: 1, 10**9: 1}
    measurements.measure(measurements.Delivered("brevo", waited_ms))
    scrape = counting.scrape
    assert scrape.value("delivery_latency_seconds_count", crm="brevo") == 6
    assert scrape.value("delivery_latency_seconds_sum", crm="brevo") == pytest.approx(0.008 + 0.2 + 3600 + 10**6)
    buckets = {
        le: scrape.value("delivery_latency_seconds_bucket", crm="brevo", le=le) for le in ("0.005", "0.1", "0.25", "3600.0")
    }
    assert buckets == {"0.005": 3, "0.1": 3, "0.25": 4, "3600.0": 5}
    assert scrape.value("delivery_latency_seconds_bucket", crm="brevo", le="86400.0") == 5
    assert scrape.value("delivery_latency_seconds_bucket", crm="brevo", le="+Inf") == 6


def test_what_is_measured_is_counted(counting):
    for measurement in (
        measurements.Delivery("brevo", 100),
        measurements.Exchange("brevo", "upsert", 201, None, 0.3),
        measurements.Exchange("brevo", "upsert", 0, "TIMEOUT", 20.0),
        measurements.Statement("claim_contacts", 0.002),
        measurements.Statement("detect_something", 0.002),
        measurements.Unrecorded("brevo", 3),
        measurements.Throttled("brevo"),
        measurements.Limited("brevo", 1.5),
        measurements.Limited("brevo", 0.25),
        measurements.Woken("brevo", Cause.BELL),
    ):
        measurements.measure(measurement)
    scrape = counting.scrape
    assert scrape.value("request_contacts_sum", crm="brevo") == 100
    assert scrape.value("request_duration_seconds_count", crm="brevo", operation="upsert", status="2xx") == 1
    assert scrape.value("request_duration_seconds_sum", crm="brevo", operation="upsert", status="timeout") == 20
    assert scrape.value("statement_duration_seconds_count", statement="claim_contacts") == 1
    assert scrape.value("statement_duration_seconds_count", statement="other") == 1
    assert scrape.value("history_dropped_total", crm="brevo") == 3
    assert scrape.value("throttled_total", crm="brevo") == 1
    assert scrape.value("rate_limit_wait_seconds_total", crm="brevo") == 1.75
    assert scrape.value("wakes_total", crm="brevo", cause="bell") == 1


def test_what_it_is_at_the_moment_is_shown_at_a_scrape(counting):
    scrape = counting.scrape
    assert scrape.value("session_up") == 1
    assert scrape.value("event_loop_lag_seconds") == 0.01
    assert scrape.value("in_flight_contacts", crm="brevo") == 3
    assert scrape.value("in_flight_contacts", crm="mautic") == 0


def test_lanes_that_come_with_a_reload_begin_at_zero_and_others_go_on(counting):
    log.info(events.CONTACTS_FINISHED, crm="brevo", delivered=5, write_ms=1.0)
    log.info(events.WORKER_STARTED, version="1", lanes=["brevo", "n8n"])
    scrape = counting.scrape
    assert scrape.value("contacts_finished_total", crm="brevo", outcome="delivered") == 5
    assert scrape.value("contacts_finished_total", crm="n8n", outcome="delivered") == 0


def test_it_counts_no_more_when_it_has_ceased(counting):
    counting.metrics.cease()
    log.warning(events.SESSION_LOST, reason="gone")
    measurements.measure(measurements.Throttled("brevo"))
    assert counting.scrape.value("session_losses_total") == 0
    assert counting.scrape.value("throttled_total", crm="brevo") == 0


def test_a_listener_that_fails_costs_nothing_and_is_told_once(counting, lines):
    def fail(_measurement):
        raise OddError("a secret")

    measurements.tap(fail)
    try:
        for _ in range(3):
            measurements.measure(measurements.Throttled("brevo"))
    finally:
        measurements.untap(fail)
    assert counting.scrape.value("throttled_total", crm="brevo") == 3
    told = [line for line in lines if line["event"] == events.LOOP_FAILED]
    assert [line["loop"] for line in told] == ["metrics"]
    assert counting.scrape.value("loop_failures_total", loop="metrics") == 1
