"""Pauses between attempts: each twice the last one, up to a maximum, and not everybody's the same."""

import pytest

from crm_sync.core.waits import Waits
from crm_sync.postgres import backoff
from crm_sync.postgres.backoff import Backoff, chance

WAITS = Waits(first_reconnect_s=0.1, longest_reconnect_s=0.5, first_mending_look_s=1.0, longest_mending_look_s=3.0)


@pytest.fixture
def luck(monkeypatch):
    """Sets where in its range each pause is: 0 the shortest, 1 the longest."""

    def is_set(share):
        monkeypatch.setattr(backoff.random, "uniform", lambda least, most: least + share * (most - least))

    return is_set


@pytest.mark.parametrize(
    ("share", "pauses"),
    [(1, [0.1, 0.2, 0.4, 0.5, 0.5]), (0, [0.05, 0.1, 0.2, 0.25, 0.25]), (0.5, [0.075, 0.15, 0.3, 0.375, 0.375])],
)
def test_each_is_twice_the_last_one_up_to_a_maximum_less_up_to_half_by_chance(luck, share, pauses):
    luck(share)
    one = Backoff(WAITS)
    assert [one.pause_s() for _ in pauses] == pytest.approx(pauses)


def test_once_it_was_reached_the_next_is_short_again(luck):
    luck(1)
    one = Backoff(WAITS)
    assert [one.pause_s() for _ in range(3)][-1] == pytest.approx(0.4)
    one.reset()
    assert [one.pause_s(), one.pause_s()] == pytest.approx([0.1, 0.2])


def test_what_a_person_has_to_fix_is_looked_at_less_often(luck):
    luck(1)
    one = Backoff.of_a_person(WAITS)
    assert [one.pause_s() for _ in range(4)] == pytest.approx([1.0, 2.0, 3.0, 3.0])
    one.reset()
    assert one.pause_s() == pytest.approx(1.0)


def test_not_everybody_pauses_equally_long():
    assert len({Backoff(WAITS).pause_s() for _ in range(20)}) > 1
    chances = {chance() for _ in range(20)}
    assert len(chances) > 1
    assert all(0 <= one < 1 for one in chances)
