"""How few contacts are worth a claim: at a quick CRM, one for each would cost more than its delivery."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.retry import RetryPolicy
from crm_sync.core.tally import Tally
from crm_sync.core.waits import USUAL
from crm_sync.lane.channel import Channel
from crm_sync.lane.delivery import AHEAD_S, Deliveries, worth_a_claim
from tests.harness import ScriptedCrm


@pytest.mark.parametrize("contacts", [1, 7, 100])
def test_where_a_request_that_ends_leaves_nothing_to_send_any_contact_is(contacts):
    assert worth_a_claim(contacts, ahead=0, size=100, batch_size=100) == contacts


@pytest.mark.parametrize(("contacts", "claimed"), [(0, 0), (1, 0), (36, 0), (37, 37), (90, 90)])
def test_at_a_quick_crm_of_single_contacts_half_of_what_is_sent_within_a_moment_is(contacts, claimed):
    assert worth_a_claim(contacts, ahead=74, size=1, batch_size=100) == claimed


@pytest.mark.parametrize(("contacts", "claimed"), [(30, 0), (99, 0), (100, 100), (250, 250)])
def test_at_a_quick_crm_of_batches_a_whole_request_is(contacts, claimed):
    assert worth_a_claim(contacts, ahead=100, size=100, batch_size=100) == claimed


def test_no_more_is_waited_for_than_one_claim_may_have():
    assert worth_a_claim(20, ahead=4000, size=100, batch_size=20) == 20


@given(st.integers(1, 64), st.integers(1, 500), st.integers(0, 50), st.integers(1, 5000))
def test_empty_hands_always_claim(permits, size, ahead, batch_size):
    assert worth_a_claim((permits + ahead) * size, ahead=ahead * size, size=size, batch_size=batch_size)


# With the room that there is for contacts in hand.

PERMITS, PLENTY, BATCH_SIZE = 4, 10_000, 100


def deliveries(*, size=1, ahead=0, probing=False, ramping=False, limited=False, alone=False):
    """Of a lane with this many contacts ahead: those that its CRM takes within a moment. alone: it claims more of them."""
    session = SimpleNamespace(alone=alone)
    client = ScriptedCrm(batch_limit=size)
    breaker = SimpleNamespace(probing=probing)
    permits = SimpleNamespace(limit=PERMITS, ramp=SimpleNamespace(allowed=1 if ramping else None))
    limits = breaker, SimpleNamespace(limited=limited), permits
    made = Deliveries(Channel("brevo", client, session, *limits, None, RetryPolicy(3, 60.0), USUAL, Tally()))
    made._judge.throughput = SimpleNamespace(per_s=lambda _: ahead / AHEAD_S)
    return made


@pytest.mark.parametrize(("under_way", "free"), [(0, 4), (3, 1), (4, 0), (5, 0)])
def test_at_a_slow_crm_a_claim_is_as_large_as_the_requests_that_may_start(under_way, free):
    assert deliveries(size=10).sendable(under_way, PLENTY, BATCH_SIZE) == free * 10


@pytest.mark.parametrize(("room", "sendable"), [(-3, 0), (0, 0), (1, 1), (9, 9), (40, 40), (41, 40)])
def test_at_a_slow_crm_any_room_is_enough_and_no_more_is_claimed(room, sendable):
    assert deliveries(size=10).sendable(0, room, BATCH_SIZE) == sendable


@pytest.mark.parametrize(("room", "sendable"), [(0, 0), (1, 1), (70, 70), (PLENTY, 78)])
def test_at_a_quick_crm_of_single_contacts_room_for_one_is_enough(room, sendable):
    """Outcomes that are being written take up the rest, and it would run out of requests."""
    assert deliveries(ahead=74).sendable(0, room, BATCH_SIZE) == sendable


@pytest.mark.parametrize(("room", "sendable"), [(0, 0), (1, 0), (99, 0), (100, 100), (PLENTY, 800)])
def test_at_a_quick_crm_of_batches_the_room_has_to_hold_a_request(room, sendable):
    assert deliveries(size=100, ahead=400).sendable(0, room, BATCH_SIZE) == sendable


@pytest.mark.parametrize(("room", "sendable"), [(19, 0), (20, 20)])
def test_or_a_claim_where_that_is_smaller(room, sendable):
    assert deliveries(size=100, ahead=400).sendable(0, room, 20) == sendable


@pytest.mark.parametrize(("ahead", "sendable"), [(20, PERMITS + 100), (2, PERMITS + 10), (0.1, PERMITS)])
def test_a_worker_that_is_alone_claims_five_times_as_much_ahead(ahead, sendable):
    assert deliveries(ahead=ahead, alone=True).sendable(0, PLENTY, BATCH_SIZE) == sendable


def test_a_worker_that_is_alone_has_room_for_it():
    assert deliveries(ahead=20, alone=True).capacity == 2 * PERMITS + 100


@pytest.mark.parametrize("held_back", [{"ramping": True}, {"limited": True}])
def test_where_its_limits_hold_a_crm_back_it_counts_as_slow(held_back):
    quick = deliveries(size=100, ahead=400, **held_back)
    assert (quick.sendable(0, 1, BATCH_SIZE), quick.sendable(3, PLENTY, BATCH_SIZE)) == (1, 100)


@pytest.mark.parametrize(("under_way", "room", "sendable"), [(0, 1, 1), (0, PLENTY, 1), (0, 0, 0), (0, -1, 0), (1, PLENTY, 0)])
def test_a_probe_is_one_contact(under_way, room, sendable):
    assert deliveries(size=100, ahead=400, probing=True).sendable(under_way, room, BATCH_SIZE) == sendable


@given(
    st.integers(0, 100), st.integers(-1000, 10_000), st.integers(1, 500), st.integers(1, 500), st.integers(0, 2000), st.booleans()
)
def test_no_more_is_ever_claimed_than_there_is_room_for(under_way, room, batch_size, size, ahead, probing):  # noqa: PLR0917
    assert deliveries(size=size, ahead=ahead, probing=probing).sendable(under_way, room, batch_size) <= max(room, 0)
