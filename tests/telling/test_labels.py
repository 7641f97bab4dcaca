"""Every label value is a known one: values from outside are counted under "other"."""

import re
from datetime import UTC, datetime

import pytest

from crm_sync.core.codes import Code
from crm_sync.reports.lane_state import LaneState
from crm_sync.telling import labels
from crm_sync.telling.catalogue import CATALOGUE, Kind

NAME = re.compile(r"[a-z][a-z0-9_]*")


@pytest.mark.parametrize("code", Code)
def test_a_code_is_counted_as_itself(code):
    assert labels.code_of(f"{code}: for a reason") == code
    assert labels.code_of(code) == code


@pytest.mark.parametrize("error", ["PLUGIN_CODE: of a package of somebody else's", "rejected: small", "404: not there"])
def test_a_code_of_somebody_elses_is_other(error):
    assert labels.code_of(error) == "other"


@pytest.mark.parametrize("error", ["ada@example.com", "", ":", "Something went wrong", "NO_CODE: none given", "Bad request: x"])
def test_a_reason_that_begins_with_no_code_is_counted_as_such(error):
    assert labels.code_of(error) == "NO_CODE"


def test_every_status_is_one_of_a_few():
    for status in (*range(600), 999, -1, 10**6):
        label = labels.status_of(status, None)
        assert label in labels.STATUSES
        assert label.startswith(str(status)[0]) or not 200 <= status < 600


@pytest.mark.parametrize("code", [*Code, "WHATEVER"])
def test_a_request_without_an_answer_says_why_in_a_word(code):
    assert labels.status_of(0, code) in labels.STATUSES


def test_the_commonest_are_told_apart():
    assert [labels.status_of(status, None) for status in (200, 201, 302, 400, 401, 403, 404, 429, 500, 503)] == [
        *("2xx", "2xx", "3xx", "4xx", "401", "4xx", "4xx", "429", "5xx", "5xx")
    ]
    assert [labels.status_of(0, code) for code in (Code.TIMEOUT, Code.UNREACHABLE, Code.BROKEN_ANSWER)] == [
        *("timeout", "unreachable", "broken")
    ]


@pytest.mark.parametrize(
    ("name", "loop"),
    [
        ("session", "session"),
        ("reload", "reload"),
        ("brevo lane", "lane"),
        ("brevo full look", "full_look"),
        ("delivery", "delivery"),
        ("somebody else's", "other"),
        ("hubspot lane", "other"),  # has no lane here
        ("", "other"),
    ],
)
def test_a_loop_is_named_without_its_crm(name, loop):
    assert labels.loop_of(name, frozenset({"brevo", "mautic"})) == loop


@pytest.mark.parametrize(
    ("seconds", "window"),
    [
        (1, "1s"),
        (10, "10s"),
        (90, "90s"),
        (60, "1m"),
        (3600, "1h"),
        (86400, "1d"),
        (172800, "2d"),
        (5400, "90m"),
    ],
)
def test_a_window_is_named_as_people_do(seconds, window):
    assert labels.window_of(seconds) == window


def test_every_state_of_a_lane_is_a_label(lane_states):
    assert {state.label for state in lane_states} == set(labels.LANE_STATES)


@pytest.fixture
def lane_states():
    now = datetime.now(UTC)

    def state(breaker="closed", openings=0, held=None, fault=None):
        return LaneState("brevo", breaker, now, None, None, openings, held, None, now, fault)

    return [
        *(state(breaker, openings) for breaker in ("closed", "throttled", "open", "half-open") for openings in (0, 1)),
        state(held=now),
        state(fault="no right"),
    ]


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=lambda metric: metric.name)
def test_a_metric_is_named_as_prometheus_has_it(metric):
    """https://prometheus.io/docs/practices/naming/"""
    assert NAME.fullmatch(metric.name)
    assert all(NAME.fullmatch(label) for label in metric.labels)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert metric.name.endswith("_info") == (metric.kind is Kind.INFO)
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert not re.search(r"_(ms|milliseconds|minutes|hours|percent)(_|$)", metric.name)
    assert "le" not in metric.labels
