"""The search for culprits, without I/O: every contact is judged, within the promised cost, whichever are to blame."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.outcome import Contact
from crm_sync.lane.refusals import ROUNDS
from crm_sync.lane.search import Search

LIMITS = [10, 25, 100, 200]
LONGEST_WAIT = 8  # rounds, in a batch of a hundred
CONTACTS = [Contact(number, 1, 1, None, f"{number}@example.com", datetime(2026, 1, 1, tzinfo=UTC), {}) for number in range(600)]


class Crm:
    """Refuses each request with one of these contacts in it, or all, or from a round on all.

    served: by contact, in which round. sizes: of the requests of each round. witnesses: how many were sent.
    """

    def __init__(self, count, minded=(), *, everybody=False, shut_out_from=math.inf):
        self.search = Search(CONTACTS[:count], 0)
        self.minded = set(minded)
        self.everybody = everybody
        self.shut_out_from = shut_out_from
        self.rounds = 0
        self.requests = 0
        self.witnesses = 0
        self.served = {}
        self.sizes = {}
        self._run()

    def _run(self):
        while asks := self.search.next():
            self.rounds += 1
            answers = [self._ask(asked) for asked in asks]
            if not any(answers):
                self._hear_witnesses()

    def _hear_witnesses(self):
        for _ in range(ROUNDS):
            witness = self.search.witness()
            if witness is None:
                return
            self.rounds += 1
            self.witnesses += 1
            is_served = self._answers([witness])
            self.search.witnessed(witness, None if is_served else self.rounds)
            if is_served:
                return
        self.search.stop()

    def _ask(self, asked):
        is_served = self._answers(asked)
        self.search.heard([] if is_served else asked, self.rounds)
        return is_served

    def _answers(self, asked):
        self.requests += 1
        self.sizes.setdefault(self.rounds, []).append(len(asked))
        ids = {contact.id for contact in asked}
        assert not ids & self.served.keys(), "asked again, though it was served"
        if self.everybody or self.rounds >= self.shut_out_from or ids & self.minded:
            return False
        self.served.update(dict.fromkeys(ids, self.rounds))
        return True

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


@pytest.mark.parametrize("count", [25, 100])
def test_five_neighbours_are_found_and_proven_and_no_other_waits_longer_than_eight_rounds(count):
    for first in range(count - 4):
        crm = Crm(count, range(first, first + 5))
        assert crm.found == [*range(first, first + 5)]
        assert len(crm.served) == count - 5
        assert crm.unproven == []
        assert crm.rounds <= LONGEST_WAIT
        assert crm.requests + 5 <= 5 * (2 * math.log2(count) + 1)


@given(count=st.integers(2, 600), data=st.data())
def test_any_number_of_culprits_make_no_other_wait_for_more_than_the_logarithm_and_the_witnesses(count, data):
    minded = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=count - 1))
    crm = Crm(count, minded)
    waited = max(crm.served.values(), default=0) - crm.witnesses
    assert waited <= math.ceil(math.log(count, 3)) + 4
    assert waited <= LONGEST_WAIT or count > 100


@pytest.mark.parametrize("count", [10, 25, 60, 100])
def test_up_to_a_dozen_neighbours_are_found_wherever_they_are(count):
    for width in range(2, min(13, count // 2)):
        for first in range(0, count - width + 1, 1 + count // 50):
            crm = Crm(count, range(first, first + width))
            assert (crm.found, crm.search.left) == ([*range(first, first + width)], [])
            assert max(crm.served.values()) - crm.witnesses <= math.ceil(math.log(count, 3)) + 4


@given(count=st.integers(2, 200), data=st.data())
def test_if_everybody_is_refused_in_the_middle_hardly_more_is_sent_than_was_under_way(count, data):
    minded = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=10))
    shut_out_from = data.draw(st.integers(2, 6))
    crm = Crm(count, minded, shut_out_from=shut_out_from)
    requests = {number: len(sizes) for number, sizes in crm.sizes.items()}
    later = sum(count for number, count in requests.items() if number > shut_out_from)
    assert later <= ROUNDS + requests.get(shut_out_from, 0)


@given(count=st.integers(2, 200), data=st.data())
def test_whoever_is_to_blame_all_are_told_apart_or_left_and_no_other_is_blamed(count, data):
    minded = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=10))
    crm = Crm(count, minded)
    left = {contact.id for contact in crm.search.left}
    assert {*crm.found} <= minded
    assert {*crm.found} | left | crm.served.keys() == {*range(count)}
    assert len(crm.found) + len(left) + len(crm.served) == count


def test_where_everybody_is_refused_little_is_asked_and_the_others_are_left():
    for count in range(2, 601):
        crm = Crm(count, everybody=True)
        # Of up to seven, each is asked alone in the end.
        assert crm.requests <= 3 + max(ROUNDS, min(count, 7))
        assert len(crm.found) + len(crm.search.left) == count


def test_once_it_is_stopped_nothing_more_is_asked():
    search = Search(CONTACTS[:10], 0)
    _first, second, _third = search.next()
    search.heard(second, 1)
    search.stop()
    assert search.next() == []
    assert {contact.id for contact in search.left} == {0, 9, *(contact.id for contact in second)}
    assert search.found == []


def test_what_is_left_of_a_small_group_when_it_is_stopped_is_left_undecided():
    search = Search(CONTACTS[:4], 0)
    assert [[contact.id for contact in group] for group in search.next()] == [[0], [1], [2]]
    search.stop()
    assert [contact.id for contact in search.left] == [3]
    assert search.found == []


def test_once_several_parts_were_refused_each_is_sent_in_four():
    search = Search(CONTACTS[:100], 0)
    first, second, _third = search.next()
    search.heard(first, 1)
    search.heard(second, 1)
    parts = search.next()
    assert len(parts) == 8
    search.heard(parts[0], 2)
    assert len(search.next()) == 4, "also when only one was refused since"


def test_of_one_refused_part_each_further_one_is_a_third():
    search = Search(CONTACTS[:100], 0)
    search.heard(search.next()[0], 1)
    assert len(search.next()) == 3


# Witnesses. Of 24 contacts two at each end are kept, and the others are sent in parts: 2 to 8, 9 to 15, 16 to 21.


@pytest.fixture
def search():
    """All three parts were refused."""
    search = Search(CONTACTS[:24], 0)
    for part in search.next():
        search.heard(part, 1)
    return search


def ids(groups):
    return [[contact.id for contact in group] for group in groups]


def test_witnesses_are_two_of_those_kept_and_then_the_farthest_from_those_refused(search):
    witnesses = []
    for _ in range(5):
        witness = search.witness()
        search.witnessed(witness, 2)
        witnesses.append(witness.id)
    assert witnesses == [1, 22, 11, 6, 16]
    assert [contact.id for contact in search.left][-2:] == [0, 23]


def test_of_a_group_whose_witness_was_served_the_last_is_still_inferred(search):
    for number in range(2, 6):
        search.witnessed(CONTACTS[number], None)
    assert [group for group in ids(search.next()) if group[0] <= 8] == [[6], [7]]
    search.next()
    assert 8 in {found.contact.id for found in search.found if not found.alone}


def test_who_is_left_alone_of_a_refused_group_is_to_blame_without_being_sent():
    search = Search(CONTACTS[:24], 0)
    search.heard(search.next()[0], 1)
    for number in range(2, 8):
        search.witnessed(CONTACTS[number], None)
    assert sorted(contact for group in ids(search.next()) for contact in group) == [0, 1, 22, 23]
    assert [(found.contact.id, found.alone) for found in search.found] == [(8, False)]


def test_of_a_group_whose_witness_was_refused_nothing_is_known_so_each_is_sent(search):
    for number in range(2, 6):
        search.witnessed(CONTACTS[number], 2)
    assert [group for group in ids(search.next()) if group[0] <= 8] == [[6], [7], [8]]


def test_at_the_end_there_is_no_witness_but_those_kept(search):
    for contact in CONTACTS[2:22]:
        assert search.witness() is not None
        search.witnessed(contact, None)
    assert search.witness() is None
    assert [contact.id for contact in search.left] == [0, 23, 1, 22]
