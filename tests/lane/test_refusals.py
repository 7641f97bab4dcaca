"""What is known of refusals by status alone: who is a suspect, what proves that a contact is to blame, and when every contact is
refused. No I/O; the times are given.
"""

from datetime import timedelta

import pytest

from crm_sync.core.breaker import FAILURES
from crm_sync.core.operation import Operation
from crm_sync.lane.refusals import MOST, ROUNDS, Refusals
from tests.lane.scripted_lane import contact

ADA, BOB = contact(1), contact(2)


@pytest.fixture
def refusals():
    return Refusals()


@pytest.fixture
def upserts():
    return Operation()


def test_nobody_is_a_suspect_at_first(refusals):
    assert not refusals
    assert not refusals.suspects(ADA)


def test_who_was_refused_alone_is_until_there_is_a_verdict(refusals, upserts):
    refusals.add(ADA, upserts, began=1, now=2)
    assert refusals
    assert refusals.suspects(ADA)
    assert not refusals.suspects(BOB)
    refusals.settled(ADA)
    assert not refusals
    assert not refusals.suspects(ADA)


def test_who_was_left_over_from_a_refused_group_is_one_too(refusals, upserts):
    refusals.remember(ADA, upserts, refused_at=2)
    assert refusals.suspects(ADA)


def test_another_flip_of_the_contact_is_not_suspected(refusals, upserts):
    refusals.add(ADA, upserts, began=1, now=2)
    again = ADA._replace(flipped_at=ADA.flipped_at + timedelta(microseconds=1))
    upserts.served(3, 4)
    assert not refusals.suspects(again)
    assert not refusals.proven(again, upserts)
    assert refusals.suspects(ADA._replace(token=9, attempts=3))


# Proof.


def test_without_a_first_refusal_no_success_proves_anything(refusals, upserts):
    upserts.served(3, 4)
    assert not refusals.proven(ADA, upserts)


@pytest.mark.parametrize(("began", "proves"), [(0, False), (1.9, False), (2, False), (2.1, True)])
@pytest.mark.parametrize("how", ["refused alone", "left over"])
def test_only_a_success_that_began_after_the_refusal_proves_it(refusals, upserts, how, began, proves):
    if how == "refused alone":
        refusals.add(ADA, upserts, began=1, now=2)
    else:
        refusals.remember(ADA, upserts, refused_at=2)
    upserts.served(began, now=5)
    assert refusals.proven(ADA, upserts) is proves


def test_a_success_of_another_kind_of_request_does_not(refusals, upserts):
    refusals.add(ADA, upserts, began=1, now=2)
    lookups = Operation()
    lookups.served(3, 4)
    assert not refusals.proven(ADA, upserts)
    assert not refusals.proven(ADA, lookups)


def test_the_first_of_several_refusals_counts(refusals, upserts):
    refusals.remember(ADA, upserts, refused_at=2)
    upserts.served(3, 4)
    refusals.add(ADA, upserts, began=5, now=6)
    refusals.remember(ADA, upserts, refused_at=7)
    assert refusals.proven(ADA, upserts)


# Everybody.


def refused_in_turn(refusals, operation, numbers, start=0.0):
    """Each contact alone, one request after another. Returns what is known after each."""
    return [
        refusals.add(contact(number), operation, began=start + 2 * place, now=start + 2 * place + 1)
        for place, number in enumerate(numbers)
    ]


def everybody(refusals, operation, numbers):
    """After each refusal, whether every contact is refused."""
    return [
        refusals.add(contact(number), operation, began=2 * place, now=2 * place + 1).everybody
        for place, number in enumerate(numbers)
    ]


def test_different_ones_in_a_row_mean_everybody_and_it_takes_more_than_five_neighbours(refusals, upserts):
    assert everybody(refusals, upserts, range(ROUNDS)) == [False] * (ROUNDS - 1) + [True]
    assert ROUNDS > 5


def test_so_does_a_single_one_several_times_where_there_is_no_other(refusals, upserts):
    assert everybody(refusals, upserts, [1] * FAILURES) == [False] * (FAILURES - 1) + [True]


def test_and_so_does_one_of_two_that_is_refused_as_often(refusals, upserts):
    assert everybody(refusals, upserts, [1, 2, *[1] * (FAILURES - 1)]) == [False] * FAILURES + [True]


def test_requests_in_flight_together_are_one_piece_of_evidence(refusals, upserts):
    # Each began before the answer to the first one, or at that very moment.
    doubts = [refusals.add(contact(number), upserts, began=number / 10, now=1 + number) for number in range(11)]
    assert doubts[-1].rounds == 1
    assert not doubts[-1].everybody
    assert refusals.add(contact(11), upserts, began=1.1, now=20).rounds == 2


def test_a_success_in_between_begins_the_count_again(refusals, upserts):
    before = refused_in_turn(refusals, upserts, range(ROUNDS - 1))[-1]
    upserts.served(began=100, now=101)
    [after] = refused_in_turn(refusals, upserts, [9], start=102)
    assert (before.rounds, after.rounds) == (ROUNDS - 1, 1)
    assert not after.everybody


def test_a_success_before_or_of_another_kind_does_not(refusals, upserts):
    upserts.served(began=0, now=0.5)
    refused_in_turn(refusals, upserts, range(2))
    upserts.served(began=0, now=3)  # at the moment of the last refusal
    lookups = Operation()
    lookups.served(began=4, now=5)
    [last] = refused_in_turn(refusals, upserts, [3], start=6)
    assert last.rounds == 3


def test_each_kind_of_request_is_counted_for_itself(refusals, upserts):
    refused_in_turn(refusals, upserts, range(5))
    [other] = refused_in_turn(refusals, Operation(), [1], start=20)
    assert (other.rounds, other.since) == (1, 21)
    [next_one] = refused_in_turn(refusals, upserts, [6], start=30)
    assert next_one.rounds == 6


def test_until_different_contacts_were_refused_the_reason_says_how_many(refusals, upserts):
    doubts = [(refusals.add(contact(number), upserts, began=number, now=number + 0.5)) for number in [1]]
    assert (doubts[-1].is_certain, "Seen with one contact only, with no other to compare" in doubts[-1].caution) == (False, True)
    two = refusals.add(contact(2), upserts, began=2, now=2.5)
    assert (two.is_certain, "Seen with 2 contacts only" in two.caution) == (False, True)
    three = refusals.add(contact(3), upserts, began=3, now=3.5)
    assert (three.is_certain, three.caution) == (True, "")


def test_if_everybody_is_refused_that_says_nothing_against_any_of_them(refusals, upserts):
    doubt = refused_in_turn(refusals, upserts, range(ROUNDS))[-1]
    refusals.remember(contact(50), upserts, refused_at=1)
    refusals.close(doubt)
    assert [number for number in range(60) if refusals.suspects(contact(number))] == [50]
    upserts.served(began=100, now=101)
    assert not refusals.proven(contact(0), upserts)


def test_if_that_was_seen_with_one_contact_only_it_stays_a_suspect(refusals, upserts):
    doubt = refused_in_turn(refusals, upserts, [1] * FAILURES)[-1]
    refusals.close(doubt)
    upserts.served(began=100, now=101)
    assert refusals.proven(ADA, upserts)


def test_there_is_doubt_from_the_latest_refusal_until_the_lane_is_held(refusals, upserts):
    before = refusals.last
    doubt = refused_in_turn(refusals, upserts, [1, 2])[-1]
    assert before < 0
    assert refusals.last == 3
    refusals.close(doubt)
    assert refusals.last < 0


# Memory.


def test_no_more_than_so_many_suspects_are_remembered(refusals, upserts):
    for number in range(MOST + 1):
        refusals.remember(contact(number), upserts, refused_at=number)
    assert sum(refusals.suspects(contact(number)) for number in range(MOST + 1)) <= MOST
    assert refusals.suspects(contact(MOST))


def test_one_more_refusal_of_a_suspect_forgets_nobody(refusals, upserts):
    for number in range(MOST):
        refusals.remember(contact(number), upserts, refused_at=number)
    refusals.add(contact(0), upserts, began=MOST, now=MOST + 1)
    assert all(refusals.suspects(contact(number)) for number in range(0, MOST, 100))


def test_no_more_than_so_many_kinds_of_requests_are_remembered(refusals, upserts):
    refusals.add(ADA, upserts, began=0, now=1)
    for number in range(MOST):
        refusals.add(ADA, Operation(), began=number + 2, now=number + 2)
    assert refusals.add(ADA, upserts, began=2 * MOST, now=2 * MOST).rounds == 1
