"""Who is to blame for a refusal, and what finding out costs: the judge of a lane at a scripted CRM, in virtual time."""

import asyncio
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.breaker import FAILURES
from crm_sync.core.operation import Operation
from crm_sync.core.outcome import Outcome, Unsent, Verdict
from crm_sync.errors import BatchRefusedError, HeldBackError, NotSentError, OutageError, RefusedError, ThrottledError
from crm_sync.lane.crm_failures import MOST_ACCUSED
from crm_sync.lane.refusals import ROUNDS
from tests import virtual_time
from tests.examples import examples
from tests.lane.scripted_lane import AWAY, PROBE, ROUND_TRIP_S, TIMED, Lane, contact, contacts, minding, named, page, scripted

LONGEST_WAIT_S = 8  # round trips beyond the first
LARGEST = 600
MOST_AT_FIRST = 6  # requests until nothing but single contacts is sent, if every one is refused: in a batch of seven
FEW = settings(max_examples=examples(ci=40, dev=20))


async def deliver_all(lane, batch, *, most=20):
    """The batch, and what comes back of it, until each contact has a verdict or the lane is held."""
    left = batch
    for _ in range(most):
        if not left or lane.breaker.shut:
            break
        left = await lane.deliver(left)
    return left


def promised(count):
    """Further requests for each contact to blame."""
    return math.ceil(2 * math.log2(max(count, 2))) + 1


@st.composite
def neighbours(draw, most, largest=LARGEST):
    """The size of a batch, and so many of it, next to each other, that are to blame. Another is there to compare them with."""
    count = draw(st.integers(2, largest))
    width = draw(st.integers(1, min(most, count - 1)))
    first = draw(st.integers(0, count - width))
    return count, {*range(first, first + width)}


@st.composite
def anywhere(draw, most):
    """The same, and they are anywhere in the batch."""
    count = draw(st.one_of(st.integers(2, 12), st.integers(2, LARGEST)))
    return count, draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=min(most, count - 1)))


# One that is refused alone.


@scripted
async def test_who_is_refused_alone_waits_unmarked_is_sent_alone_again_and_is_named_once_others_were_served():
    lane = Lane(minding({0}, page()))
    [unsent] = await lane.judge.outcomes(contacts(1))
    assert (unsent.done, unsent.delay_s) == (False, 1.0)
    assert unsent.reason == "REFUSED: 403, not the CRM's: check the address"
    assert await lane.deliver(contacts(3)) == []
    assert lane.requests == [[0], [1, 2], [0]]
    assert named(lane) == {0}
    assert lane.verdicts[0] == Outcome.rejected(
        "REJECTED",
        "a firewall or something else in front of the CRM refuses this contact, while others are served (403: Blocked)",
    )
    assert lane.breaker.openings == []


@scripted
async def test_served_the_second_time_it_is_marked_by_nothing_and_suspected_no_longer():
    refused = [page()]
    lane = Lane(lambda _: refused.pop() if refused else None)
    await lane.deliver(contacts(1))
    await lane.deliver(contacts(2))
    await lane.deliver(contacts(2))
    assert lane.requests == [[0], [1], [0], [0, 1]]
    assert named(lane) == set()


@scripted
async def test_a_success_that_began_before_the_refusal_proves_nothing():
    lane = Lane(minding({0}, page()))
    await asyncio.gather(lane.deliver(contacts(1)), lane.deliver(contacts(3, first=1)))
    assert await lane.deliver(contacts(1)) == contacts(1)
    assert named(lane) == set()


@scripted
async def test_nor_does_one_of_another_kind_of_request():
    creating, changing = Operation(), Operation()
    lane = Lane(minding({0}, page(creating)), operation=changing)
    for _ in range(2):
        await lane.deliver(contacts(2, first=1))
        assert await lane.deliver(contacts(1)) == contacts(1)
    assert named(lane) == set()
    creating.served(virtual_time.monotonic(), virtual_time.monotonic())
    assert await lane.deliver(contacts(1)) == []
    assert named(lane) == {0}


@scripted
async def test_if_one_kind_is_refused_to_all_while_another_is_served_only_those_wait_and_it_is_told_once():
    creating = Operation()
    lane = Lane(minding({*range(10)}, page(creating)), operation=Operation())
    with capture_logs() as log:
        for number in range(10):
            [unsent] = await lane.judge.outcomes([contact(number)])
            await lane.deliver([contact(number + 20)])
    assert unsent.delay_s == 60.0
    assert lane.breaker.openings == []
    assert (named(lane), len(lane.served)) == (set(), 10)
    assert [entry["event"] for entry in log] == [events.REQUESTS_REFUSED]


# Several that are refused together.


@FEW
@given(st.one_of(neighbours(5), anywhere(5)))
def test_any_five_are_named_within_the_promised_requests(batch):
    count, bad = batch
    lane = Lane(minding(bad, page()))
    left = virtual_time.run(deliver_all(lane, contacts(count)), *TIMED)
    assert len(lane.requests) - 1 <= promised(count) * len(bad)
    assert named(lane) <= bad
    if not lane.breaker.shut:  # hardly any other is there to compare them with
        assert (named(lane), len(lane.served), left) == (bad, count - len(bad), [])


@FEW
@given(neighbours(5, largest=100))
def test_no_other_waits_longer_than_eight_round_trips_for_five_neighbours(batch):
    count, bad = batch
    lane = Lane(minding(bad, page()))
    virtual_time.run(deliver_all(lane, contacts(count)), *TIMED)
    assert max(at for number, at in lane.served.items() if number not in bad) - 1 <= LONGEST_WAIT_S


@pytest.mark.parametrize(("size", "count"), [(25, 6), (25, 8), (60, 12), (100, 6), (100, 8), (100, 12), (100, 20)])
@scripted
async def test_nor_for_more_that_are_scattered_and_the_lane_is_not_held(size, count):
    bad = {(2 * number + 1) * size // (2 * count) for number in range(count)}
    lane = Lane(minding(bad, page()))
    assert await deliver_all(lane, contacts(size)) == []
    assert named(lane) == bad
    assert max(at for number, at in lane.served.items() if number not in bad) - 1 <= LONGEST_WAIT_S
    assert lane.breaker.openings == []


@scripted
async def test_those_found_come_back_and_are_sent_at_the_same_time_each_alone_after_the_others():
    bad = {*range(20, 32)}
    lane = Lane(minding(bad, page()))
    found = await lane.deliver(contacts(100))
    before, began = len(lane.requests), asyncio.get_running_loop().time()
    assert await lane.deliver([*found, *contacts(10, first=200)]) == []
    assert lane.requests[before] == [*range(200, 210)]
    assert sorted(lane.requests[before + 1 :]) == [[number] for number in sorted(bad)]
    assert asyncio.get_running_loop().time() - began == 2 * ROUND_TRIP_S
    assert named(lane) == bad


@FEW
@given(st.integers(3, LARGEST), st.data())
def test_nor_longer_than_the_logarithm_for_one(count, data):
    bad = data.draw(st.integers(0, count - 1))
    lane = Lane(minding({bad}, page()))
    virtual_time.run(deliver_all(lane, contacts(count)), *TIMED)
    assert named(lane) == {bad}
    assert max(at for number, at in lane.served.items() if number != bad) - 1 <= math.ceil(math.log(count, 3)) + 1


@FEW
@given(anywhere(LARGEST))
def test_however_many_there_are_no_other_is_named_and_all_are_if_the_lane_goes_on(batch):
    count, bad = batch
    lane = Lane(minding(bad, page()))
    left = virtual_time.run(deliver_all(lane, contacts(count)), *TIMED)
    assert named(lane) <= bad
    assert lane.verdicts.keys() | {one.id for one in left} == {*range(count)}
    assert lane.breaker.shut or named(lane) == bad


@pytest.mark.parametrize("count", [3, 5, 12])
@scripted
async def test_if_all_of_a_batch_are_to_blame_they_are_named_once_another_is_sent_with_them(count):
    lane = Lane(minding({*range(count)}, page()))
    left = await deliver_all(lane, contacts(count))
    assert (named(lane), left) == (set(), contacts(count))
    assert lane.breaker.shut
    await lane.deliver([contact(100, token=PROBE)])
    left = await deliver_all(lane, contacts(count) + [contact(number) for number in range(101, 101 + count)])
    assert named(lane) == {*range(count)}
    assert left == []


@scripted
async def test_while_one_is_searched_for_the_parts_are_asked_for_at_once():
    lane = Lane(minding({50}, page()))
    await lane.deliver(contacts(100))
    assert max(lane.at_once) == 3


@scripted
async def test_while_it_is_not_known_who_is_to_blame_requests_go_out_one_at_a_time_until_one_is_served():
    lane = Lane(minding({0}, page()))
    await lane.deliver([contact(0)])
    await asyncio.gather(*(lane.deliver([contact(number)]) for number in (0, 1, 2, 3, 4)))
    assert lane.requests[1:3] == [[0], [1]]
    assert lane.at_once == [1, 1, 1, 1, 2, 3]


@scripted
async def test_a_search_ends_where_the_lane_is_stopped_and_nobody_is_marked():
    lane = Lane(minding({7}, page()))

    def answer(asked):
        lane.stopped = len(lane.requests) >= 2
        return minding({7}, page())(asked)

    lane.answer = answer
    left = await lane.deliver(contacts(100))
    assert len(lane.requests) <= 4
    assert named(lane) == set()
    assert {one.id for one in left} == {*range(100)} - lane.served.keys()


# Everybody is refused.


@FEW
@given(st.integers(1, LARGEST))
@example(7)
def test_a_page_that_everybody_gets_marks_nobody_and_holds_the_lane_within_a_few_requests(count):
    lane = Lane(lambda _: page())
    left = virtual_time.run(deliver_all(lane, contacts(count)), *TIMED)
    assert (lane.verdicts, left) == ({}, contacts(count))
    assert len(lane.requests) <= MOST_AT_FIRST + ROUNDS
    [opening] = lane.breaker.openings
    assert opening.code == "REFUSED"
    assert opening.refused == (count >= FAILURES)
    assert ("perhaps" in opening.reason) == (count < FAILURES)


@FEW
@given(st.integers(1, LARGEST), st.integers(0, 12), st.integers(1, 30), st.integers(10, 100))
def test_a_page_for_a_while_marks_nobody(count, served, refused, size):
    lane = Lane(lambda _: page() if served < len(lane.requests) <= served + refused else None)

    async def until_served():
        left = contacts(count)
        while left:
            again = await lane.deliver(left[:size])
            lane.breaker.shut = False  # it was probed
            left = again + left[size:]

    virtual_time.run(until_served(), *TIMED)
    assert named(lane) == set()
    assert len(lane.served) == count


@pytest.mark.parametrize("status", [401, 402, 403])
@scripted
async def test_what_the_crm_itself_says_of_its_key_is_everybodys_at_once(status):
    lane = Lane(minding({3}, RefusedError("REFUSED", f"{status}: check the key of 3@example.com")))
    assert await lane.deliver(contacts(10)) == contacts(10)
    assert len(lane.requests) == 1
    assert lane.verdicts == {}
    [opening] = lane.breaker.openings
    assert (opening.refused, opening.probe) == (True, False)
    assert "3@example.com" not in opening.reason


@scripted
async def test_a_service_that_starts_is_probed_soon_however_many_it_refuses():
    lane = Lane(lambda _: type(page())("NOT_READY", "it is starting"))
    await deliver_all(lane, contacts(100))
    assert [opening.refused for opening in lane.breaker.openings] == [False]


@scripted
async def test_who_handles_refusals_of_everybody_gets_them_and_the_lane_goes_on():
    waits = Unsent(done=False, delay_s=5.0)
    lane = Lane(lambda asked: RefusedError("REFUSED", "403") if len(asked) > 1 else page(), refused=lambda _: waits)
    assert await lane.judge.outcomes(contacts(3)) == [waits] * 3
    for number in range(ROUNDS):
        [last] = await lane.judge.outcomes([contact(number)])
    assert last == waits
    assert lane.breaker.openings == []


# The probe.


@scripted
async def test_a_page_for_the_probe_holds_the_lane_again_at_once_and_another_contact_is_the_next():
    lane = Lane(lambda _: page())
    assert await lane.deliver([contact(1, token=PROBE)]) == [contact(1, token=PROBE)]
    [opening] = lane.breaker.openings
    assert opening.probe
    assert [*lane.judge.accused] == [1]
    await lane.deliver([contact(2, token=PROBE)])
    assert [*lane.judge.accused] == [1, 2]
    await lane.deliver([contact(1, token=PROBE)])
    assert [*lane.judge.accused] == [2, 1]  # the latest at the end: it is forgotten last


@pytest.mark.parametrize("error", [AWAY, NotSentError("UNREACHABLE", "no"), RefusedError("REFUSED", "403")])
@scripted
async def test_so_does_each_failure_of_the_crm(error):
    lane = Lane(lambda _: error)
    await lane.deliver([contact(1, token=PROBE)])
    assert [opening.probe for opening in lane.breaker.openings] == [True]
    assert [*lane.judge.accused] == [1]


@scripted
async def test_if_the_probe_is_answered_the_lane_goes_on_and_if_nothing_was_asked_it_is_given_back():
    lane = Lane(lambda _: None)
    await lane.deliver([contact(1, token=PROBE)])
    assert lane.breaker.answers == 1
    lane.answer = lambda _: HeldBackError("stopping")
    await lane.deliver([contact(2, token=PROBE)])
    assert (lane.breaker.answers, lane.breaker.given_back) == (1, 2)


@scripted
async def test_only_the_latest_are_accused():
    lane = Lane(lambda _: AWAY)
    await lane.deliver(contacts(LARGEST))
    assert [*lane.judge.accused] == [*range(LARGEST - MOST_ACCUSED, LARGEST)]


# A client that fails.


@FEW
@given(anywhere(3))
def test_what_a_client_raises_for_a_contact_is_found_by_halves_and_is_never_the_lanes(batch):
    count, bad = batch
    lane = Lane(minding(bad, KeyError("no")))
    assert virtual_time.run(lane.deliver(contacts(count)), *TIMED) == []
    assert named(lane) == bad
    assert {(lane.verdicts[number].verdict, lane.verdicts[number].code) for number in bad} == {(Verdict.FAILED, "CLIENT_FAILED")}
    assert len(lane.requests) - 1 <= promised(count) * len(bad)
    assert lane.breaker.openings == []


@scripted
async def test_not_even_if_it_fails_for_all():
    lane = Lane(lambda _: 1 // 0)
    for _ in range(FAILURES + 1):
        await lane.deliver(contacts(4))
    assert named(lane) == {0, 1, 2, 3}
    assert (lane.breaker.openings, lane.permits.failures) == ([], 0)


# A batch that the CRM refuses because of some of it.


@pytest.mark.parametrize(("retried", "verdict"), [(False, Verdict.REJECTED), (True, Verdict.FAILED)])
@FEW
@given(batch=anywhere(3))
def test_those_that_spoil_a_batch_are_found_by_halves(retried, verdict, batch):
    count, bad = batch
    lane = Lane(minding(bad, BatchRefusedError("SPOILED", "one of them is bad", retried=retried)))
    assert virtual_time.run(lane.deliver(contacts(count)), *TIMED) == []
    assert {(lane.verdicts[number].verdict, lane.verdicts[number].code) for number in bad} == {(verdict, "SPOILED")}
    assert named(lane) == bad
    assert len(lane.requests) - 1 <= promised(count) * len(bad)


# A CRM that fails.


@scripted
async def test_a_crm_that_goes_down_marks_nobody_and_is_left_alone_after_the_third_failure():
    lane = Lane(lambda _: None)
    await lane.deliver(contacts(10))
    lane.answer = lambda _: AWAY
    for number in range(FAILURES):
        assert lane.breaker.openings == []
        assert await lane.deliver(contacts(10, first=100 * number + 100)) == contacts(10, first=100 * number + 100)
    assert [(opening.refused, opening.probe) for opening in lane.breaker.openings] == [(False, False)]
    assert named(lane) == set()
    assert len(lane.requests) == 1 + FAILURES
    assert lane.permits.failures == FAILURES


@scripted
async def test_an_answer_in_between_begins_the_count_again():
    lane = Lane(lambda asked: AWAY if asked[0].id % FAILURES else None)
    for number in range(1, 4 * FAILURES):
        await lane.deliver([contact(number)])
    assert lane.breaker.openings == []


@scripted
async def test_each_opening_takes_as_many_failures_again():
    lane = Lane(lambda _: AWAY)
    openings = []
    for number in range(2 * FAILURES):
        await lane.deliver([contact(number)])
        openings.append(len(lane.breaker.openings))
        lane.breaker.shut = False  # it was probed
    assert openings == [0] * (FAILURES - 1) + [1] * FAILURES + [2]


@scripted
async def test_who_makes_the_crm_fail_is_found_by_halves_if_others_were_answered_since():
    lane = Lane(minding({3}, AWAY))
    assert await lane.deliver(contacts(16)) == contacts(16)
    await lane.deliver(contacts(2, first=50))
    assert await lane.deliver(contacts(16)) == []
    assert named(lane) == {3}
    assert lane.verdicts[3] == Outcome.failed("CRM_ERROR", "500")
    assert lane.breaker.openings == []


@scripted
async def test_if_nobody_was_it_is_not_blamed_again():
    lane = Lane(minding({3}, AWAY))
    await lane.deliver(contacts(16))
    assert await lane.deliver(contacts(16)) == contacts(16)
    assert lane.verdicts == {}


@scripted
async def test_a_request_that_may_still_run_is_not_repeated_in_halves():
    lane = Lane(minding({3}, OutageError("TIMEOUT", "no answer")))
    await lane.deliver(contacts(16))
    await lane.deliver(contacts(2, first=50))
    assert await lane.deliver(contacts(16)) == []
    assert len(lane.requests) == 3
    assert {lane.verdicts[number] for number in range(16)} == {Outcome.failed("TIMEOUT", "no answer")}


@scripted
async def test_too_many_requests_are_a_pause_and_no_failure():
    lane = Lane(lambda _: ThrottledError("RATE_LIMITED", "429", 7.0))
    for _ in range(FAILURES + 1):
        assert await lane.judge.outcomes(contacts(3)) == [None] * 3
        lane.breaker.shut = False
    assert lane.breaker.pauses == [7.0] * (FAILURES + 1)
    assert (lane.breaker.openings, [*lane.judge.accused]) == ([], [])


@scripted
async def test_held_back_by_ourselves_nothing_is_known():
    lane = Lane(lambda _: None)
    lane.stopped = True
    assert await lane.judge.outcomes(contacts(3)) == [Unsent(done=False)] * 3
    assert lane.requests == []
    assert await lane.judge.outcomes([]) == []


@scripted
async def test_of_different_answers_to_one_batch_each_is_judged_for_itself():
    delivered, throttled = Outcome.delivered("7"), ThrottledError("RATE_LIMITED", "429", 7.0)
    said = [delivered, throttled, Unsent(done=True), BatchRefusedError("SPOILED", "bad")]
    lane = Lane(lambda asked: said if len(asked) == 4 else None)
    assert await lane.judge.outcomes(contacts(4)) == [delivered, None, Unsent(done=True), Outcome.rejected("SPOILED", "bad")]
    assert lane.breaker.pauses == [7.0]
