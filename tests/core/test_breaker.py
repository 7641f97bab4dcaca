import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.breaker import (
    Breaker,
    Ramp,
    State,
)
from crm_sync.core.waits import USUAL

OPEN = Breaker().failed(100.0, 0.0, "UNREACHABLE: no connection")


def distances(*, refused):
    """Seconds between the probes of a CRM that never comes back."""
    breaker, now, waits = Breaker(), 0.0, []
    for _ in range(10):
        breaker = breaker.failed(now, 0.0, "why", refused=refused, probe=True)
        waits.append(breaker.next_probe - now)
        now = breaker.next_probe
        breaker = breaker.probed(now)
    return waits


def test_an_outage_opens_it_and_says_why_and_since_when():
    assert (OPEN.state, OPEN.since, OPEN.reason) == (State.OPEN, 100.0, "UNREACHABLE: no connection")
    assert OPEN.next_probe == 100.0 + USUAL.first_probe_s


def test_the_distance_of_the_probes_grows_up_to_a_bound():
    assert distances(refused=False) == [1, 2, 4, *[USUAL.longest_probe_s] * 7]


def test_refused_credentials_are_tried_again_less_often():
    assert distances(refused=True) == [1, 2, 4, 8, 16, 32, *[USUAL.longest_refused_probe_s] * 4]


@pytest.mark.parametrize(("chance", "share"), [(0.0, 1.0), (0.5, 0.75), (0.98, 0.51)])
def test_chance_takes_up_to_half_of_a_wait_so_that_lanes_do_not_probe_together(chance, share):
    first = Breaker().failed(100.0, chance, "why")
    assert first.next_probe == pytest.approx(100.0 + share * USUAL.first_probe_s)
    again = first.probed(110.0).failed(110.0, chance, "why", probe=True)
    assert again.next_probe == pytest.approx(110.0 + share * 2 * USUAL.first_probe_s)


def test_nobody_probes_before_its_time_and_one_does_then():
    assert OPEN.probed(OPEN.next_probe - 0.001) is None
    probing = OPEN.probed(OPEN.next_probe)
    assert probing.state is State.HALF_OPEN
    assert probing.probed(OPEN.next_probe + USUAL.probe_lease_s / 2) is None, "another worker must not probe beside it"


def test_a_probe_whose_worker_died_is_made_by_another_one():
    probing = OPEN.probed(OPEN.next_probe)
    assert probing.probed(OPEN.next_probe + USUAL.probe_lease_s).state is State.HALF_OPEN


def test_stragglers_from_before_it_opened_change_nothing():
    assert OPEN.failed(100.5, 0.0, "another reason") == OPEN
    assert OPEN.answered(100.5) == OPEN
    probing = OPEN.probed(101.0)
    assert probing.failed(101.1, 0.0, "another reason") == probing


def test_a_probe_that_fails_when_another_worker_has_failed_with_its_own_changes_nothing():
    again = OPEN.probed(101.0).failed(101.5, 0.0, "TIMEOUT: no answer", probe=True)
    assert again.failed(102.0, 0.0, "another reason", probe=True) == again


def test_a_failed_probe_keeps_since_when_it_is_down():
    again = OPEN.probed(101.0).failed(101.5, 0.0, "TIMEOUT: no answer", probe=True)
    assert (again.state, again.since, again.openings, again.reason) == (State.OPEN, 100.0, 2, "TIMEOUT: no answer")


def test_an_answered_probe_closes_it():
    assert OPEN.probed(101.0).answered(102.0) == Breaker(since=102.0)


def test_a_pause_ends_in_a_probe_too():
    paused = Breaker().throttled(100.0, 10.0, "RATE_LIMITED: too many requests")
    assert (paused.state, paused.next_probe) == (State.THROTTLED, 110.0)
    assert paused.probed(109.9) is None
    assert paused.probed(110.0).answered(110.1).closed


def test_of_two_pauses_the_longer_one_counts():
    paused = Breaker().throttled(100.0, 10.0, "why")
    assert paused.throttled(101.0, 1.0, "why").next_probe == 110.0
    assert paused.throttled(101.0, 60.0, "why").next_probe == 161.0


def test_throttled_again_by_the_probe_it_pauses_again():
    paused = Breaker().throttled(100.0, 10.0, "why").probed(110.0).throttled(110.1, 10.0, "why")
    assert (paused.state, paused.since) == (State.THROTTLED, 100.0)
    assert paused.next_probe == pytest.approx(120.1)


@pytest.mark.parametrize("before", [OPEN, Breaker().throttled(100.0, 1.0, "why")], ids=["open", "throttled"])
def test_a_probe_that_there_was_nothing_for_is_given_back(before):
    back = before.probed(101.0).given_back(101.1)
    assert (back.state, back.since, back.openings) == (before.state, before.since, before.openings)
    assert back.probed(101.0 + USUAL.first_probe_s) is None
    assert back.probed(101.1 + USUAL.first_probe_s) is not None


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["failed", "probe failed", "probe refused", "throttled", "probed", "given_back", "answered"]),
        st.floats(0, 40),
        st.floats(0, 0.99),
    ),
    max_size=60,
)


@given(EVENTS)
def test_whatever_the_order_of_events_at_most_one_probe_is_made_in_each_interval(events):
    """Calls go out while it is closed, and as probes; never a probe before the scheduled time."""
    breaker, now, allowed_at = Breaker(), 0.0, 0.0
    for name, passed_s, chance in events:
        now += passed_s
        match name:
            case "failed":
                before, breaker = breaker, breaker.failed(now, chance, "why")
                assert before.closed or breaker == before
            case "probe failed" | "probe refused":
                breaker = breaker.failed(now, chance, "why", refused=name == "probe refused", probe=True)
            case "throttled":
                breaker = breaker.throttled(now, 40 * chance, "why")
            case "given_back":
                breaker = breaker.given_back(now)
            case "answered":
                breaker = breaker.answered(now)
            case "probed":
                probing = breaker.probed(now)
                assert (probing is not None) == (not breaker.closed and now >= allowed_at)
                breaker = probing or breaker
        assert breaker.closed == (breaker.next_probe is None) == (breaker.reason is None)
        assert breaker.since <= now
        allowed_at = breaker.next_probe or 0.0
        if breaker.state is State.OPEN:
            assert breaker.next_probe <= now + 60.0 or name == "throttled"


def test_after_an_outage_twice_as_many_with_each_answer():
    ramp = Ramp()
    assert ramp.limit(500) == 500
    ramp.start()
    limits = []
    while ramp.allowed is not None:
        limits.append(ramp.limit(16))
        ramp.answered()
    assert limits == [2, 4, 8, 16, 16, 16]


def test_an_answer_without_an_outage_before_it_limits_nothing():
    ramp = Ramp()
    ramp.answered()
    assert ramp.limit(500) == 500
