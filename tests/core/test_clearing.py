"""Which fields are emptied, and what a row records as sent afterwards."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core import clearing
from crm_sync.core.outcome import Contact, Outcome, Unsent
from crm_sync.core.retry import RetryPolicy, deferred, set_aside, unsent
from crm_sync.crm.n8n.client import idempotency_key

BITS = {"phone": 1, "city": 2, "zip": 4}
OTHER = 1 << 40  # of a field that the mapping once had
POLICY = RetryPolicy(3, 60.0)


def contact(number, **fields):
    made = Contact(1, 1, 1, "7", "ada@example.com", datetime(2026, 11, 3, tzinfo=UTC), fields)
    return made._replace(sent=clearing.sent(number, fields, made.filled, BITS))


def after(one, outcome):
    return number_after(one, POLICY.finish(one, outcome, 0.5))


def number_after(one, finish):
    """As written by the two statements."""
    return (one.sent.before | one.sent.new) & ~finish.sent_fields.gone


def test_only_what_was_sent_and_is_empty_now_is_emptied():
    assert contact(1 | 2, phone=None, city="London", zip="").emptied == ("phone",)
    assert contact(None, phone=None, city=" ", zip=[]).emptied == ()
    assert contact(1 | 4, phone=" ", city=None, zip=[]).emptied == ("phone", "zip")


def test_a_field_that_is_not_in_the_mapping_any_more_is_not_emptied():
    assert contact(OTHER, phone=None).emptied == ()


def test_without_clearing_nothing_is_emptied_and_nothing_is_noted_down():
    one = contact(1, phone=None)._replace(sent=None)
    assert one.emptied == ()
    assert POLICY.finish(one, Outcome.delivered("7"), 0.5).sent_fields is None
    assert deferred(one).sent_fields is None


def test_delivered_it_is_what_is_there_now():
    one = contact(1 | 4 | OTHER, phone=None, city="London", zip="E1")
    assert after(one, Outcome.delivered("7")) == 2 | 4 | OTHER


def test_what_was_left_as_it_was_is_as_it_was():
    one = contact(1, phone=None, city="London", zip="E1")
    assert after(one, Outcome.delivered("7", left=frozenset({"phone", "zip"}))) == 1 | 2


def test_what_somebody_else_has_typed_over_ours_is_not_ours():
    one = contact(1 | 2, phone="1", city="London", zip="E1")
    left, theirs = frozenset({"phone", "city", "zip"}), frozenset({"phone", "zip"})
    assert after(one, Outcome.delivered("7", left=left)._replace(theirs=theirs)) == 2


@pytest.mark.parametrize("number", [None, 0, 1, 1 | OTHER])
def test_refused_or_never_sent_it_is_what_it_was_before(number):
    one = contact(number, phone=None, city="London")
    ends = [
        after(one, Outcome.rejected("REJECTED", "no")),
        after(one, Outcome.failed("LOCKED", "somebody writes it")),
        number_after(one, deferred(one)),
        number_after(one, set_aside(one, Unsent(done=False))),
    ]
    assert ends == [number or 0] * 4


def test_where_it_may_have_landed_what_was_noted_down_stays():
    one = contact(1, phone=None, city="London")
    used_up = one._replace(attempts=9)
    failed = Outcome.failed("TIMEOUT", "no answer")
    finishes = [
        POLICY.finish(one, failed, 0.5, stored=True),
        POLICY.finish(used_up, failed, 0.5, stored=True),
        POLICY.finish(
            one, Outcome.rejected("REJECTED", "an earlier request of this delivery was not answered"), 0.5, stored=True
        ),
        deferred(one, sent=True),
        set_aside(one, Unsent(done=False), sent=True),
    ]
    for finish in finishes:
        assert finish.sent
        assert number_after(one, finish) == 1 | 2
        assert finish.sent_fields.landed == 2


fields = st.fixed_dictionaries({name: st.sampled_from([None, "", "x"]) for name in BITS})


@given(st.lists(st.tuples(fields, st.sampled_from(["delivered", "rejected", "landed", "lost"]))))
def test_whatever_happens_the_crm_ends_as_the_row_and_nothing_else_is_touched(steps):
    """landed and lost: the worker died with the request, which arrived or not."""
    number, crm, foreign = 0, {"zip": "of sales"}, {"zip"}
    for row, end in [*steps, (dict.fromkeys(BITS), "delivered")]:
        one = contact(number, **row)
        assert not foreign & {*one.emptied}, "of somebody else's"
        number = one.sent.before | one.sent.new
        if end in ("delivered", "landed"):
            crm |= one.filled
            crm = {name: value for name, value in crm.items() if name not in one.emptied}
        # A field counts as ours from the first request that had it: it would be, if that had arrived.
        foreign -= set() if end == "rejected" else one.filled.keys()
        if end in ("delivered", "rejected"):
            outcome = Outcome.delivered("7") if end == "delivered" else Outcome.rejected("REJECTED", "no")
            number = after(one, outcome)
    assert crm == ({"zip": "of sales"} if "zip" in foreign else {})


def test_a_workflow_of_n8n_does_not_take_what_is_emptied_for_what_it_has_handled():
    one = contact(1, phone=None, city="London")
    assert one.emptied == ("phone",)
    assert idempotency_key(one) != idempotency_key(one._replace(sent=None))


def test_of_another_record_only_what_was_sent_to_it_counts():
    one = contact(1 | OTHER, phone=None, city="London", zip="E1")
    one = one._replace(sent=one.sent._replace(record="7"))
    assert after(one, Outcome.delivered("9", left=frozenset({"zip"}))) == 2
    assert after(one, Outcome.delivered("7")) == after(one, Outcome.delivered(None)) == 2 | 4 | OTHER
    assert number_after(one, deferred(one)._replace(sent_fields=unsent(one, "9"))) == 0
    unknown = one._replace(sent=one.sent._replace(record=None))
    assert after(unknown, Outcome.delivered("9")) == 2 | 4 | OTHER
