import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.throughput import WINDOW_S, Throughput


def test_nothing_is_no_throughput():
    assert Throughput().per_s(1000.0) == 0


def test_what_came_in_a_window_counts_in_the_next():
    seen = Throughput()
    seen.per_s(10.0)
    seen.add(40, 10.0 + WINDOW_S / 2)
    assert seen.per_s(10.0 + 2 * WINDOW_S) == pytest.approx(40 / (2 * WINDOW_S))


def test_a_pause_brings_it_down():
    seen = Throughput()
    seen.per_s(10.0)
    seen.add(40, 10.05)
    assert seen.per_s(20.0) == pytest.approx(4.0)
    assert seen.per_s(20.0 + WINDOW_S) == 0


def test_what_came_before_a_pause_does_not_count_with_what_comes_after_it():
    seen = Throughput()
    seen.per_s(10.0)
    seen.add(40, 10.05)
    seen.add(10, 20.0)
    assert seen.per_s(20.0 + WINDOW_S) == pytest.approx(10 / WINDOW_S)


@given(st.floats(0.001, 0.02), st.integers(1, 50))
def test_a_steady_stream_is_told_as_it_is(every_s, count):
    seen = Throughput()
    seen.per_s(0.0)
    for number in range(1, int(5 * WINDOW_S / every_s)):
        seen.add(count, number * every_s)
    assert seen.per_s(5 * WINDOW_S) == pytest.approx(count / every_s, rel=0.3)
