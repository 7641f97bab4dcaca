"""Contacts that others, flipped later, may have overtaken."""

from datetime import UTC, datetime, timedelta

import pytest

from crm_sync.core.outcome import Contact
from crm_sync.core.overtaking import SHORTEST_REQUEST, Overtaking, overtaken_by_others

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


def test_other_workers_may_have_overtaken_what_was_flipped_longer_ago_than_a_request_takes():
    [contact] = flipped(0)
    assert not overtaken_by_others(contact, NOON + SHORTEST_REQUEST)
    assert overtaken_by_others(contact, NOON + SHORTEST_REQUEST + timedelta(microseconds=1))
