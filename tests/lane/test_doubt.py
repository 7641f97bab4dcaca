"""Whether values may be in a CRM that has not said so: by the requests, and without a trail of them by what was said."""

import asyncio

import pytest

from crm_sync.core.outcome import Contact, Outcome, Unsent
from crm_sync.crm.trail import Trail
from crm_sync.errors import (
    BatchRefusedError,
    DatabaseTroubleError,
    HeldBackError,
    NotSentError,
    OutageError,
    RefusedError,
    StatusRefusedError,
    ThrottledError,
)
from crm_sync.lane.doubt import may_be_stored, may_be_stored_in_spite_of

ADA = Contact(1, 1, 1, None, "ada@example.com", None, {})
SAID = [
    (OutageError("CRM_ERROR", "500"), True),
    (BatchRefusedError("NOT_ACCOUNTED", "no word of them", retried=True), True),
    (Outcome.failed("LOCKED", "somebody writes it"), True),
    (BatchRefusedError("REJECTED", "one of them is bad"), False),
    (RefusedError("REFUSED", "401"), False),
    (StatusRefusedError("REFUSED", "403"), False),
    (ThrottledError("RATE_LIMITED", "429", 1.0), False),
    (NotSentError("UNREACHABLE", "no connection"), False),
    (HeldBackError("stopping"), False),
    (Outcome.rejected("REJECTED", "bad"), False),
    (Unsent(done=False), False),
]


@pytest.mark.parametrize(("entry", "stored"), SAID)
def test_without_a_trail_what_was_said_decides(entry, stored):
    assert may_be_stored(ADA, entry, None) is stored


@pytest.mark.parametrize("entry", [entry for entry, _ in SAID if not isinstance(entry, Unsent) and entry.code != "REJECTED"])
def test_with_one_the_requests_do(entry):
    assert not may_be_stored(ADA, entry, Trail())
    assert not may_be_stored(ADA, entry, Trail(requests=2))
    assert not may_be_stored(ADA, entry, Trail(requests=2, written={2}))
    assert may_be_stored(ADA, entry, Trail(requests=2, written={1}))
    assert may_be_stored(ADA, entry, Trail(requests=2, all_written=True))


def test_rejected_by_name_in_the_answer_to_a_batch_it_is_not_stored():
    assert not may_be_stored(ADA, Outcome.rejected("REJECTED", "bad"), Trail(requests=1, written={1, 2}))


def test_cut_short_it_is_stored_unless_nothing_was_begun():
    assert may_be_stored_in_spite_of(asyncio.CancelledError(), ADA, None)
    assert not may_be_stored_in_spite_of(asyncio.CancelledError(), ADA, Trail())
    assert not may_be_stored_in_spite_of(DatabaseTroubleError("away"), ADA, None)
    assert not may_be_stored_in_spite_of(DatabaseTroubleError("away"), ADA, Trail(requests=1))
    assert may_be_stored_in_spite_of(DatabaseTroubleError("away"), ADA, Trail(requests=1, written={1}))
