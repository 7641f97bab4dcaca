"""How few contacts are worth a claim: at a quick CRM, one for each would cost more than its delivery."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.lane.delivery import worth_a_claim


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
