"""Contacts that others, flipped later, may have overtaken."""

from datetime import UTC, datetime, timedelta

import pytest

from crm_sync.core.moments import BEGINNING
from crm_sync.core.outcome import Contact
from crm_sync.core.overtaking import LEAST_AHEAD, MOST_AHEAD, NOTE_S, Ahead, Overtaking

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def flipped(*minutes: int) -> list[Contact]:
    """Contacts flipped this many minutes after noon, which is also their key."""
    return [Contact(one, 1, 1, None, f"{one}@example.com", NOON + timedelta(minutes=one), {}) for one in minutes]


def late(contacts: list[Contact]) -> list[int]:
    return [contact.id for contact in contacts if contact.late]


@pytest.mark.parametrize(
    ("earlier", "claim", "overtaken"),
    [
        ([], [], []),
        ([], [3, 1, 2], []),
        ([1, 2], [], []),
        ([1, 2], [3, 4], []),
        ([1, 9], [2, 9, 10], [2]),
        ([9, 1], [2, 3], [2, 3]),
        ([5], [5], []),
    ],
)
def test_those_claimed_after_others_that_were_flipped_later_are_late(earlier, claim, overtaken):
    overtaking = Overtaking()
    overtaking.marked(flipped(*earlier))
    marked = overtaking.marked(flipped(*claim))
    assert late(marked) == overtaken
    assert [contact.id for contact in marked] == claim


def test_an_earlier_claim_stays_known():
    overtaking = Overtaking()
    for minutes in ([9], [2], []):
        overtaking.marked(flipped(*minutes))
    assert late(overtaking.marked(flipped(8))) == [8]


def test_a_contact_that_was_put_back_stays_late():
    [contact] = flipped(1)
    assert late(Overtaking().marked([contact._replace(late=True)])) == [1]


def noted(ahead, minutes, at):
    """What is noted for a flip this many minutes after noon."""
    until = ahead.until(NOON + timedelta(minutes=minutes), at)
    if until is not None:
        ahead.noted(until, at)
    return until


def test_the_newest_flip_is_noted_a_second_ahead_and_no_more_while_no_later_one_is_sent():
    ahead = Ahead()
    assert ahead.until(BEGINNING, 0.0) is None
    assert noted(ahead, 0, 0.0) == NOON + LEAST_AHEAD
    assert noted(ahead, 0, 9.0) is None
    assert ahead.until(NOON + LEAST_AHEAD, 9.0) is None


def test_what_could_not_be_noted_is_noted_the_next_time():
    ahead = Ahead()
    assert ahead.until(NOON, 0.0) == ahead.until(NOON, NOTE_S) == NOON + LEAST_AHEAD


def test_what_another_worker_has_noted_counts():
    ahead = Ahead()
    ahead.noted(NOON + timedelta(minutes=9), 0.0)
    assert noted(ahead, 8, 5.0) is None


def test_steady_flips_are_noted_about_once_a_second_however_long():
    ahead, notes = Ahead(), 0
    for tick in range(60_000):
        notes += noted(ahead, tick / 60_000, tick / 1000) is not None
    assert 30 <= notes <= 60


def test_a_day_of_flips_that_is_served_in_a_minute_is_noted_about_once_a_second():
    ahead, notes = Ahead(), 0
    for tick in range(6000):
        notes += noted(ahead, 1440 * tick / 6000, tick / 100) is not None
    assert notes <= 80


def test_it_is_noted_a_day_ahead_at_most():
    ahead = Ahead()
    for day in range(40):
        until = noted(ahead, 1440 * 2 * day, 0.0)
    assert until == NOON + timedelta(days=78) + MOST_AHEAD
