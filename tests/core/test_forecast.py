import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.forecast import SHORTEST_SPAN_S, done_share, ends_in_s, pace_per_s

COUNTS = st.integers(0, 10**9)


def test_the_pace_is_that_of_the_last_minute():
    assert pace_per_s(600, 60.0) == 10.0


def test_a_backfill_that_began_ten_seconds_ago_does_not_show_a_sixth_of_its_pace():
    assert pace_per_s(100, 10.0) == 10.0


def test_a_batch_that_came_this_instant_is_no_pace_of_thousands():
    assert pace_per_s(100, 0.001) == 100 / SHORTEST_SPAN_S


def test_without_deliveries_there_is_no_pace_and_no_end():
    assert pace_per_s(0, None) is None
    assert ends_in_s(ready=1, in_flight=0, waiting=0, pace=None) is None


def test_the_share_counts_who_is_wanted_in_the_crm():
    assert done_share(1, 4) == 0.25
    assert done_share(0, 0) is None


def test_the_end_is_when_the_ready_and_waiting_ones_are_delivered_at_this_pace():
    assert ends_in_s(ready=900_000, in_flight=100, waiting=99_900, pace=10.0) == 100_000


def test_contacts_that_all_wait_for_a_retry_come_in_their_own_time():
    assert ends_in_s(ready=0, in_flight=0, waiting=7, pace=10.0) is None


@given(COUNTS, st.one_of(st.none(), st.floats(0, 60)), COUNTS, COUNTS, COUNTS)
def test_whatever_is_counted_nothing_is_infinite(delivered, since_s, ready, in_flight, waiting):
    pace = pace_per_s(delivered, since_s)
    end = ends_in_s(ready=ready, in_flight=in_flight, waiting=waiting, pace=pace)
    assert pace is None or 0 < pace <= delivered
    assert end is None or 0 < end < 10**12
    share = done_share(delivered, ready)
    assert share is None or 0 <= share <= 1


def test_counts_of_two_moments_are_no_more_than_all():
    assert done_share(5, 4) == pytest.approx(1.0)
