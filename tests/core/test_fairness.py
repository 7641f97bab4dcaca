from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.fairness import LATE_COMMIT, MOST_FRESH, SHARE, Fairness, FreshLine
from crm_sync.core.waits import USUAL

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def look(now: datetime, waiting: int = 0, **due: datetime | None) -> FreshLine:
    return FreshLine(now, waiting, **{"newest": None, "bulk_end": None, "first": None, **due})


@pytest.fixture
def backlog() -> Fairness:
    """One that ends at noon."""
    fairness = Fairness()
    assert fairness.claimed(100, 0, 100, 0, 1.0)
    fairness.measured(look(after(1), MOST_FRESH + 1, newest=NOON))
    assert fairness.fresh_from == NOON
    return fairness


def test_without_a_backlog_nobody_is_fresh():
    fairness = Fairness()
    assert fairness.share(100) == 0
    assert not fairness.claimed(100, 0, 99, 0, 1.0)
    assert fairness.fresh_from is None


def test_a_full_claim_with_nobody_left_in_line_is_no_backlog():
    fairness = Fairness()
    assert fairness.claimed(100, 0, 100, 0, 1.0)
    fairness.measured(look(NOON))
    assert fairness.share(100) == 0


@pytest.mark.parametrize(
    ("limit", "shares"), [(1, [0, 0, 0, 1, 0, 0, 0, 1]), (2, [0, 1, 0, 1]), (5, [1, 1, 1, 2]), (100, [25, 25])]
)
def test_a_quarter_of_what_is_claimed_may_be_fresh(backlog, limit, shares):
    assert [backlog.share(limit) for _ in shares] == shares


def test_if_all_may_be_fresh_no_share_is_used_up(backlog):
    assert [backlog.share(1, all_fresh=True) for _ in range(5)] == [1] * 5
    assert [backlog.share(1) for _ in range(4)] == [0, 0, 0, 1]
    assert Fairness().share(1, all_fresh=True) == 0


@given(st.lists(st.integers(1, 500), min_size=1, max_size=50))
def test_whatever_the_limits_the_share_is_never_more_and_never_a_contact_less(limits):
    fairness = Fairness(fresh_from=NOON)
    shares = [fairness.share(limit) for limit in limits]
    assert SHARE * sum(limits) - 1 < sum(shares) <= SHARE * sum(limits)
    assert all(share <= limit for share, limit in zip(shares, limits, strict=True))


def test_a_claim_that_comes_back_not_full_ends_the_backlog(backlog):
    assert not backlog.claimed(100, 25, 74, 25, 5.0)
    assert backlog.fresh_from is None


def test_one_contact_is_enough_for_that_and_the_next_backlog_begins_with_no_share(backlog):
    assert backlog.share(3) == 0
    assert not backlog.claimed(100, 25, 1, 0, 5.0)
    assert backlog.fresh_from is None
    assert backlog.claimed(100, 0, 100, 0, 6.0)
    backlog.measured(look(after(6), newest=after(5)))
    assert [backlog.share(1) for _ in range(4)] == [0, 0, 0, 1]


def test_an_empty_claim_ends_nothing_for_the_gate_may_be_closed(backlog):
    assert not backlog.claimed(100, 25, 0, 0, 5.0)
    assert backlog.fresh_from == NOON


def test_the_backlog_is_served_when_its_room_goes_to_fresh_ones(backlog):
    assert backlog.claimed(100, 25, 50, 50, 1.1), "at once, however short ago the last look was"
    backlog.measured(look(after(9), 3, newest=after(8)))
    assert backlog.fresh_from == after(8)


def test_looks_are_a_second_apart(backlog):
    assert not backlog.claimed(100, 25, 75, 25, 1.0 + USUAL.fresh_look_s / 2)
    assert backlog.claimed(100, 25, 75, 25, 1.0 + USUAL.fresh_look_s)
    assert not backlog.claimed(100, 25, 75, 25, 1.0 + 1.5 * USUAL.fresh_look_s)


def test_many_fresh_ones_join_the_backlog_and_who_was_flipped_after_them_stays_fresh(backlog):
    backlog.measured(look(after(3), MOST_FRESH + 1, first=after(1), bulk_end=after(2), newest=after(2.5)))
    assert backlog.fresh_from == after(2)


def test_many_fresh_ones_that_came_one_by_one_join_it_to_the_last(backlog):
    backlog.measured(look(after(3), MOST_FRESH + 1, first=after(1), newest=after(2.5)))
    assert backlog.fresh_from == after(2.5)


def test_some_fresh_ones_wait_where_they_are(backlog):
    backlog.measured(look(after(60), MOST_FRESH, first=after(1), bulk_end=after(2), newest=after(2.5)))
    assert backlog.fresh_from == NOON


def test_what_was_served_is_left_behind_but_not_what_may_be_committed_late(backlog):
    backlog.measured(look(after(60)))
    assert backlog.fresh_from == after(60) - LATE_COMMIT
    backlog.measured(look(after(61), 1, first=after(60.5), newest=after(60.5)))
    assert backlog.fresh_from == after(61) - LATE_COMMIT
    backlog.measured(look(after(30)))
    assert backlog.fresh_from == after(61) - LATE_COMMIT, "it goes never back"


def test_a_fresh_contact_is_none_of_the_backlog(backlog):
    assert backlog.of_backlog([after(-1), NOON, after(1)]) == [after(-1), NOON]
    assert Fairness().of_backlog([NOON, after(1)]) == [NOON, after(1)]
