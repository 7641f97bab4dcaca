"""What a judge remembers of failures, and what it tells of answers: a lane at a scripted CRM, in virtual time."""

from crm_sync.core.outcome import Outcome, Receipt
from crm_sync.errors import BatchRefusedError, HeldBackError, StatusRefusedError, ThrottledError
from crm_sync.lane.judge import MOST_SUSPECTS
from tests.lane.scripted_lane import AWAY, Lane, contact, contacts, minding, named, page, scripted

# Suspects: the CRM failed with them.


@scripted
async def test_one_suspect_in_a_batch_is_enough_to_look_for_it_there():
    lane = Lane(minding({3}, AWAY))
    await lane.deliver([contact(3)])
    await lane.deliver(contacts(2, first=50))
    assert await lane.deliver([contact(3), contact(4)]) == []
    assert named(lane) == {3}


@scripted
async def test_a_verdict_ends_the_suspicion_and_the_next_failure_is_a_first_one():
    lane = Lane(minding({3}, AWAY))
    await lane.deliver([contact(3)])
    await lane.deliver(contacts(2, first=50))
    assert await lane.deliver([contact(3)]) == []
    await lane.deliver(contacts(2, first=50))
    assert await lane.deliver([contact(3)]) == [contact(3)]


@scripted
async def test_no_more_than_a_limited_number_of_suspects_are_remembered():
    lane = Lane(lambda _: AWAY)
    await lane.deliver(contacts(MOST_SUSPECTS + 1))
    await lane.deliver([contact(-1)])
    lane.answer = minding({0, -1}, AWAY)
    await lane.deliver([contact(-2)])
    assert await lane.deliver([contact(0)]) == [contact(0)]
    assert await lane.deliver([contact(-1)]) == []


# A refusal by status.


@scripted
async def test_what_the_crm_rejects_of_others_proves_nothing_as_it_serves_nobody():
    lane = Lane(lambda asked: page() if asked[0].id == 0 else [Outcome.rejected("REJECTED", "bad")] * len(asked))
    await lane.deliver(contacts(1))
    await lane.deliver(contacts(2, first=1))
    assert await lane.deliver(contacts(1)) == contacts(1)
    assert named(lane) == {1, 2}


@scripted
async def test_the_reason_of_the_one_to_blame_is_the_clients_if_it_has_one():
    lane = Lane(minding({0}, StatusRefusedError("REFUSED", "403", blamed="of another owner")))
    await lane.deliver(contacts(1))
    await lane.deliver(contacts(2))
    assert lane.verdicts[0] == Outcome.rejected("REJECTED", "of another owner")


@scripted
async def test_a_crm_that_fails_with_a_witness_ends_the_search():
    lane = Lane(lambda _: page() if len(lane.requests) <= 4 else AWAY)
    assert await lane.deliver(contacts(24)) == contacts(24)
    assert [len(request) for request in lane.requests] == [24, 7, 7, 6, 1]
    assert lane.breaker.openings == []


@scripted
async def test_so_does_a_stop():
    lane = Lane(lambda _: page())

    def answer(_):
        lane.stopped = len(lane.requests) >= 4
        return page()

    lane.answer = answer
    assert await lane.deliver(contacts(24)) == contacts(24)
    assert len(lane.requests) == 4
    assert lane.breaker.openings == []


# What is told of an answer.


@scripted
async def test_only_an_answer_with_a_verdict_on_each_contact_measures_the_crm():
    delivered = Outcome.delivered("7")
    lane = Lane(lambda _: [delivered, Outcome.rejected("REJECTED", "bad")])
    await lane.deliver(contacts(2))
    lane.answer = lambda _: [delivered, ThrottledError("RATE_LIMITED", "429", 7.0)]
    await lane.deliver(contacts(2))
    lane.answer = lambda _: BatchRefusedError("SPOILED", "bad")
    lane.breaker.shut = False
    await lane.deliver(contacts(1))
    assert lane.permits.told == [True, False, False]


@scripted
async def test_a_receipt_has_the_time_of_all_requests_and_is_handed_out_once():
    lane = Lane(minding({0}, BatchRefusedError("SPOILED", "bad")))
    await lane.judge.outcomes(contacts(4))
    assert lane.judge.receipts(contacts(4)) == [(Receipt(took, None, None), False) for took in (3000, 3000, 2000, 2000)]
    assert lane.judge.receipts(contacts(4)) == [(None, False)] * 4


@scripted
async def test_there_is_none_of_what_was_held_back_before_any_request():
    lane = Lane(lambda _: HeldBackError("stopping"))
    await lane.judge.outcomes(contacts(2))
    lane.stopped = True
    await lane.judge.outcomes(contacts(2))
    assert lane.judge.receipts(contacts(2)) == [(None, False)] * 2
