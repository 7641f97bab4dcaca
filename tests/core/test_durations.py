import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.durations import LONGEST, clock, end, local, parse, read_elsewhere, span

NOW = datetime(2026, 11, 24, 12, 7, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("3d", 259_200), (" 2 H ", 7200), ("3650d", 315_360_000)]
)
def test_a_span_is_a_number_and_a_unit(text, seconds):
    assert parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "2", "h", "0h", "-2h", "2 hours", "1h30m", "1.5h", "2w", "yesterday", "٣h", "2026-11-24"])
def test_anything_else_is_told_what_is_expected(text):
    with pytest.raises(ValueError, match="a number and a unit: 90s, 30m, 2h or 3d"):
        parse(text)


def test_a_span_that_no_clock_reaches_back_is_told_the_longest():
    with pytest.raises(ValueError, match="at most 3,650d"):
        parse("3651d")


@given(st.text(max_size=20))
def test_whatever_is_typed_is_a_span_or_a_value_error(text):
    try:
        assert timedelta() < parse(text) <= LONGEST
    except ValueError:
        return


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"), (0.4, "0 s"), (8, "8 s"), (59.4, "59 s"), (59.6, "1 min"), (240, "4 min"), (3599, "1 h"), (3600, "1 h"),
        (11_520, "3 h 12 min"), (86_399, "1 d"), (100_000, "1 d 4 h"), (1e9, "11,574 d 2 h"),
    ],
)  # fmt: skip
def test_a_span_of_time_is_said_as_people_say_it(seconds, words):
    assert span(seconds) == words


@pytest.mark.usefixtures("utc")
def test_a_time_of_another_day_says_so():
    assert clock(NOW - timedelta(minutes=4), NOW) == "12:03:10"
    assert clock(NOW - timedelta(days=1), NOW) == "23 Nov 12:07"
    assert clock(NOW - timedelta(days=400), NOW) == "20 Oct 2025"
    assert end(NOW + timedelta(hours=3), NOW) == "15:07"
    assert end(NOW + timedelta(days=2), NOW) == "Thu 12:07"
    assert end(NOW + timedelta(days=9), NOW) == "3 Dec"
    assert end(NOW + timedelta(days=90), NOW) == "22 Feb 2027"


@pytest.mark.usefixtures("utc")
def test_who_reads_a_time_elsewhere_is_told_its_zone():
    with read_elsewhere():
        assert clock(NOW - timedelta(minutes=4), NOW) == "12:03:10 UTC"
        assert clock(NOW - timedelta(days=1), NOW) == "23 Nov 12:07 UTC"
        assert clock(NOW - timedelta(days=400), NOW) == "20 Oct 2025", "a day"
        assert end(NOW + timedelta(hours=3), NOW) == "15:07 UTC"
        assert end(NOW + timedelta(days=2), NOW) == "Thu 12:07 UTC"
    assert clock(NOW, NOW) == "12:07:10"


def test_elsewhere_a_time_is_in_utc_wherever_the_process_is(monkeypatch):
    with monkeypatch.context() as there:
        there.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert local(NOW).hour == 21
        with read_elsewhere():
            assert local(NOW).hour == 12
            assert clock(NOW, NOW) == "12:07:10 UTC"
    time.tzset()
