from hypothesis import given
from hypothesis import strategies as st

from worker.core.breaker import FAILURES, FIRST_WAIT_S, LONGEST_WAIT_S, Breaker


def opened() -> Breaker:
    breaker = Breaker()
    breaker.failed(0.0, 0.0, at_once=True)
    return breaker


def test_it_opens_after_failures_in_a_row_and_says_so_once():
    breaker = Breaker()
    said = [breaker.failed(0.0, 0.0) for _ in range(FAILURES + 5)]
    assert said == [False] * (FAILURES - 1) + [True] + [False] * 5
    assert breaker.wait_s(0.0) == FIRST_WAIT_S


def test_a_success_between_failures_keeps_it_closed():
    breaker = Breaker()
    for _ in range(10):
        breaker.failed(0.0, 0.0)
        assert not breaker.succeeded()
    assert breaker.closed


def test_a_refusal_opens_it_at_once():
    assert Breaker().failed(0.0, 0.0, at_once=True)


def test_after_its_wait_one_probe_is_allowed():
    breaker = opened()
    assert breaker.wait_s(FIRST_WAIT_S / 2) > 0
    assert breaker.wait_s(FIRST_WAIT_S) == 0
    assert breaker.limit(16) == 1


def test_a_failed_probe_doubles_the_wait_up_to_a_bound():
    breaker, now, waits = opened(), 0.0, []
    for _ in range(10):
        waits.append(breaker.wait_s(now))
        now += waits[-1]
        assert not breaker.failed(now, 0.0), "it is open already: nothing new to say"
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert max(waits) == LONGEST_WAIT_S


def test_stragglers_do_not_lengthen_the_wait():
    breaker = opened()
    for _ in range(50):
        breaker.failed(0.1, 0.0)
    assert breaker.wait_s(0.0) == FIRST_WAIT_S


def test_a_good_probe_closes_it_and_the_lane_ramps_up():
    breaker = opened()
    assert breaker.succeeded()
    limits = []
    while not breaker.unlimited:
        limits.append(breaker.limit(16))
        assert not breaker.succeeded()
    assert limits == [2, 4, 8, 16, 16, 16]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100), st.floats(0, 1, exclude_max=True))))
def test_whatever_happens_it_never_waits_longer_than_its_bound_and_never_forbids_all(events):
    breaker, now = Breaker(), 0.0
    for good, passed, chance in events:
        now += passed
        if good:
            breaker.succeeded()
        else:
            breaker.failed(now, chance)
        assert 0 <= breaker.wait_s(now) <= LONGEST_WAIT_S
        assert breaker.limit(16) >= 1
