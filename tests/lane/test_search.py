"""The search for culprits, without I/O: every contact is judged, within the promised cost, whichever are to blame."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.outcome import Contact
from crm_sync.lane.search import Search

LIMITS = [10, 25, 100, 200]
LONGEST_WAIT = 8  # rounds
CONTACTS = [Contact(number, 1, 1, None, f"{number}@example.com", datetime(2026, 1, 1, tzinfo=UTC), {}) for number in range(200)]


class Crm:
    """Refuses each request with one of these contacts in it, or all."""

    def __init__(self, count, minded=(), *, everybody=False):
        self.search = Search(CONTACTS[:count], 0)
        self.minded = set(minded)
        self.everybody = everybody
        self.rounds = 0
        self.requests = 0
        self.served = {}  # by contact: in which round
        self._run()

    def _run(self):
        served = False
        while asks := self.search.next(served=served):
            self.rounds += 1
            self.requests += len(asks)
            served = False
            for asked in asks:
                ids = {contact.id for contact in asked}
                assert not ids & self.served.keys(), "asked again, though it was served"
                refused = self.everybody or bool(ids & self.minded)
                self.search.heard(asked if refused else [], self.rounds)
                if not refused:
                    self.served.update(dict.fromkeys(ids, self.rounds))
                    served = True

    @property
    def found(self):
        return sorted(found.contact.id for found in self.search.found)

    @property
    def unproven(self):
        """Those that were found alone while none was served in a later round."""
        last = max(self.served.values(), default=0)
        return [found.contact.id for found in self.search.found if found.alone and found.refused_at >= last]


@pytest.mark.parametrize("limit", LIMITS)
def test_one_is_found_and_proven_for_twice_the_logarithm_of_requests_and_no_other_waits_long(limit):
    for count in range(2, limit + 1):
        for minded in {0, 1, count // 3, count // 2, 2 * count // 3, count - 2, count - 1}:
            crm = Crm(count, [minded])
            assert crm.found == [minded]
            assert len(crm.served) == count - 1
            assert crm.unproven == []
            # It is sent alone once more.
            assert crm.requests + 1 <= 2 * math.log2(limit) + 1
            assert max(crm.served.values()) <= math.ceil(math.log(count, 3)) + 1


@pytest.mark.parametrize("count", [25, 100, 200])
def test_five_neighbours_are_found_and_proven_and_no_other_waits_longer_than_eight_rounds(count):
    for first in range(count - 4):
        crm = Crm(count, range(first, first + 5))
        assert crm.found == [*range(first, first + 5)]
        assert len(crm.served) == count - 5
        assert crm.unproven == []
        assert crm.rounds <= LONGEST_WAIT
        assert crm.requests + 5 <= 5 * (2 * math.log2(count) + 1)


@given(count=st.integers(2, 200), data=st.data())
def test_whoever_is_to_blame_all_are_told_apart_or_left_and_no_other_is_blamed(count, data):
    minded = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=10))
    crm = Crm(count, minded)
    left = {contact.id for contact in crm.search.left}
    assert {*crm.found} <= minded
    assert {*crm.found} | left | crm.served.keys() == {*range(count)}
    assert len(crm.found) + len(left) + len(crm.served) == count


@given(count=st.integers(2, 200))
def test_where_everybody_is_refused_little_is_asked_and_the_others_are_left(count):
    crm = Crm(count, everybody=True)
    assert crm.requests <= math.ceil(math.log2(count)) + 2
    assert len(crm.found) + len(crm.search.left) == count


def test_once_it_is_stopped_nothing_more_is_asked():
    search = Search(CONTACTS[:10], 0)
    _first, second, _third = search.next(served=False)
    search.heard(second, 1)
    search.stop()
    assert search.next(served=True) == []
    assert {contact.id for contact in search.left} == {0, 9, *(contact.id for contact in second)}
    assert search.found == []
