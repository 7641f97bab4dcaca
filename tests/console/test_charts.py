"""Charts: with numbers that fit, and without injected markup."""

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.api.lane_models import MinuteCount, Stretch, Throughput
from crm_sync.console.charts import HEIGHT, latency_chart, sparkline, throughput_chart

NOW = datetime(2026, 11, 29, 12, 34, 56, tzinfo=UTC)
COUNTS = st.integers(0, 10_000_000)


def minute(ago, delivered, failed=0):
    return MinuteCount(minutes_ago=ago, delivered=delivered, failed=failed)


def stretch(number, delivered=0, rejected=0, median=None, p95=None):
    at = NOW.replace(minute=0, second=0) - timedelta(minutes=number)
    return Stretch(
        at=at, delivered=delivered, retried=0, rejected=rejected, requests=1, throttled=0, median_seconds=median, p95_seconds=p95
    )


def of(*stretches):
    return Throughput(crm="brevo", read_at=NOW, seconds=60, count=60, stretches=list(stretches))


def bars(svg):
    return ET.fromstring(str(svg)).findall("rect")  # noqa: S314 (ours)


@given(st.lists(st.builds(minute, st.integers(-5, 90), COUNTS, COUNTS), max_size=70))
def test_bars_stay_within_the_hour_and_the_height(minutes):
    for bar in bars(sparkline(minutes, "brevo")):
        assert 0 <= float(bar.get("x")) < 60
        assert float(bar.get("y")) >= -0.02
        assert float(bar.get("y")) + float(bar.get("height")) <= HEIGHT + 0.02


@given(st.lists(st.builds(stretch, st.integers(0, 25), COUNTS, COUNTS), max_size=20))
def test_so_do_those_of_a_longer_time(stretches):
    chart = throughput_chart(of(*stretches))
    for bar in bars(chart.svg):
        assert 0 <= float(bar.get("x")) < 60
        assert float(bar.get("y")) + float(bar.get("height")) <= HEIGHT + 0.02


def test_an_hour_without_anything_is_an_empty_chart_that_says_so():
    assert 'aria-label="brevo, the last hour: 0 delivered, 0 failed"' in sparkline([], "brevo")
    assert latency_chart(of(stretch(1, 5))) is None


@pytest.mark.parametrize("value", [0.005, 0.25, 3.0, 86400.0])
def test_a_single_latency_is_a_line(value):
    chart = latency_chart(of(stretch(1, 5, median=value, p95=value)))
    lines = ET.fromstring(str(chart.svg)).findall("polyline")  # noqa: S314
    assert [line.get("class") for line in lines] == ["p95", "median"]
    for line in lines:
        assert all(0 <= float(y) <= HEIGHT for y in re.findall(r",([\d.]+)", line.get("points")))


def test_a_name_is_text():
    assert "<script" not in sparkline([minute(1, 1)], '"><script>alert(1)</script>')


def test_no_style_is_in_it():
    chart = throughput_chart(of(stretch(1, 3, 2)))
    assert "style" not in str(chart.svg)
    assert "on" not in {name[:2] for bar in bars(chart.svg) for name in bar.attrib}
