from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.outcome import Contact, Kind, Outcome, Verdict
from crm_sync.core.retry import JITTER, LONGEST_DELAY_S, LONGEST_REMOTE_ID, RetryPolicy

POLICY = RetryPolicy(max_retries=3, delay_s=300)
FLIPPED_AT = datetime(2026, 11, 3, 9, 30, tzinfo=UTC)


def contact(attempts: int) -> Contact:
    return Contact("id", 7, attempts, None, "ada@example.com", FLIPPED_AT, {"FIRSTNAME": "Ada"})


@given(st.integers(1, 10_000), st.floats(0.001, 86_400), st.floats(0, 1, exclude_max=True))
def test_a_delay_doubles_up_to_a_day_give_or_take_the_jitter(retry, delay_s, chance):
    bare = min(delay_s * 2 ** min(retry - 1, 60), LONGEST_DELAY_S)
    delay = RetryPolicy(3, delay_s).delay_before_retry(retry, chance)
    assert bare * (1 - JITTER) <= delay <= bare * (1 + JITTER)


def test_without_luck_the_delays_are_5_10_and_20_minutes():
    assert [POLICY.delay_before_retry(retry, 0.5) for retry in (1, 2, 3)] == [300, 600, 1200]


@given(st.integers(1, 10), st.integers(0, 10))
def test_a_failed_contact_is_tried_once_more_than_it_may_be_retried(attempts, max_retries):
    finish = RetryPolicy(max_retries, 1).finish(contact(attempts), Outcome.failed("A", "b"), 0.5)
    assert finish.kind is (Kind.RETRY if attempts <= max_retries else Kind.REJECTED)


def test_a_rejected_contact_is_not_tried_again():
    finish = POLICY.finish(contact(1), Outcome.rejected("REJECTED", "no"), 0.5)
    assert (finish.kind, finish.error, finish.code) == (Kind.REJECTED, "REJECTED: no", "REJECTED")


def test_a_delivered_contact_says_what_could_not_be_sent():
    finish = POLICY.finish(contact(1), Outcome.delivered("9", "FIELD_NOT_SENT", "SMS"), 0.5)
    assert (finish.kind, finish.remote_id, finish.error) == (Kind.DELIVERED, "9", "FIELD_NOT_SENT: SMS")


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (None, None, "NO_CODE: no reason given"),
        (None, "it is closed", "NO_CODE: it is closed"),
        ("", "it is closed", "NO_CODE: it is closed"),
        ("Bad request", "email", "NO_CODE: Bad request: email"),
        ("A:B", None, "NO_CODE: A:B"),
        ("ada@example.com", None, "NO_CODE: ***"),
        ("MINE", None, "MINE: no reason given"),
        ("404", "gone", "404: gone"),
    ],
)
@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.REJECTED])
def test_a_failure_has_a_code_whatever_its_client_names(verdict, code, reason, error):
    finish = POLICY.finish(contact(1), Outcome(verdict, code, reason), 0.5)
    assert (finish.error, finish.code) == (error, error.partition(":")[0])


def test_a_delivery_without_a_code_has_no_error():
    assert POLICY.finish(contact(1), Outcome.delivered("9"), 0.5).error is None


def test_values_of_the_contact_are_masked_in_the_reason():
    finish = POLICY.finish(contact(1), Outcome.rejected("REJECTED", "ADA@example.com of Ada is bad"), 0.5)
    assert finish.error == "REJECTED: *** of *** is bad"


def test_an_orphan_goes_back_in_line_until_it_has_outlived_all_its_workers():
    assert POLICY.orphan("id", 7, 3).kind is Kind.ORPHANED
    parked = POLICY.orphan("id", 7, 4)
    assert (parked.kind, parked.code) == (Kind.REJECTED, "WORKER_DIED")


def test_an_id_that_postgres_would_refuse_is_made_fit():
    finish = POLICY.finish(contact(1), Outcome.delivered("a\x00b\ud800" + "c" * 1000), 0.5)
    assert finish.remote_id is not None
    assert finish.remote_id.startswith("a b")
    assert len(finish.remote_id) == LONGEST_REMOTE_ID
    assert POLICY.finish(contact(1), Outcome.delivered("\x00"), 0.5).remote_id is None
