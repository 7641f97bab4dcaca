from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.clearing import Ending, Sent
from crm_sync.core.outcome import Contact, Finish, Kind, Outcome, Receipt, Unsent, Verdict
from crm_sync.core.retry import JITTER, LONGEST_DELAY_S, LONGEST_REMOTE_ID, RetryPolicy, deferred, set_aside

POLICY = RetryPolicy(max_retries=3, delay_s=300)
FLIPPED_AT = datetime(2026, 11, 3, 9, 30, tzinfo=UTC)


def contact(attempts: int) -> Contact:
    return Contact("id", 7, attempts, None, "ada@example.com", FLIPPED_AT, {"FIRSTNAME": "Ada"})


@given(st.integers(1, 10_000), st.floats(0.001, 86_400), st.floats(0, 1, exclude_max=True))
def test_a_delay_doubles_up_to_a_day_give_or_take_the_jitter(retry, delay_s, chance):
    bare = min(delay_s * 2 ** min(retry - 1, 60), LONGEST_DELAY_S)
    delay = RetryPolicy(3, delay_s).delay_before_retry(retry, chance)
    assert bare * (1 - JITTER) <= delay <= bare * (1 + JITTER)


def test_without_luck_the_delays_are_5_10_and_20_minutes_and_at_last_a_day():
    assert [POLICY.delay_before_retry(retry, 0.5) for retry in (1, 2, 3, 60)] == [300, 600, 1200, 86_400]


def test_luck_makes_a_quarter_of_a_delay():
    assert [POLICY.delay_before_retry(1, chance) for chance in (0, 0.75)] == [225, 337.5]


@given(st.integers(1, 10), st.integers(0, 10))
def test_a_failed_contact_is_tried_once_more_than_it_may_be_retried(attempts, max_retries):
    finish = RetryPolicy(max_retries, 1).finish(contact(attempts), Outcome.failed("A", "b"), 0.5)
    assert finish.kind is (Kind.RETRY if attempts <= max_retries else Kind.REJECTED)


def test_a_rejected_contact_is_not_tried_again():
    finish = POLICY.finish(contact(1), Outcome.rejected("REJECTED", "no"), 0.5)
    assert (finish.kind, finish.error, finish.code, finish.delay_s) == (Kind.REJECTED, "REJECTED: no", "REJECTED", 0)


def test_a_delivered_contact_says_what_could_not_be_sent():
    finish = POLICY.finish(contact(1), Outcome.delivered("9", "FIELD_NOT_SENT", "SMS"), 0.5)
    assert (finish.kind, finish.remote_id, finish.error) == (Kind.DELIVERED, "9", "FIELD_NOT_SENT: SMS")


@pytest.mark.parametrize(
    ("code", "theirs", "error"),
    [
        ("FIELD_NOT_SENT", [], "FIELD_NOT_SENT: CITY, SMS: no"),
        ("FIELD_NOT_SENT", ["SMS"], "FIELD_NOT_SENT: CITY: no"),
        ("OTHER", [], "OTHER: no"),
    ],
)
def test_the_names_of_fields_that_were_left_are_at_the_head_of_their_code_only(code, theirs, error):
    outcome = Outcome.delivered("9", code, "no", frozenset({"CITY", "SMS"}))._replace(theirs=frozenset(theirs))
    assert POLICY.finish(contact(1), outcome, 0.5).error == error


def test_a_finish_says_whether_the_row_had_an_id_in_the_crm():
    assert not POLICY.finish(contact(1), Outcome.delivered("9"), 0.5).known
    assert POLICY.finish(contact(1)._replace(remote_id="9"), Outcome.delivered("9"), 0.5).known


RECEIPT = Receipt(12, 503, "request-7")
TRACED = contact(2)._replace(trace="00-1-2-01")
TOLD = (2, FLIPPED_AT, "00-1-2-01")


def told(finish):
    """What history needs of it."""
    return finish.attempts, finish.flipped_at, finish.trace


def test_without_a_verdict_it_is_due_at_once_and_history_is_told_only_if_it_was_in_a_request():
    assert deferred(TRACED) == Finish("id", 7, Kind.DEFERRED)
    assert deferred(TRACED, 2.5).delay_s == 2.5
    sent, answered = deferred(TRACED, sent=True), deferred(TRACED, receipt=RECEIPT)
    assert (told(sent), sent.sent, sent.receipt) == (TOLD, True, None)
    assert (told(answered), answered.sent, answered.receipt) == (TOLD, False, RECEIPT)


EMPTIES = contact(1)._replace(sent=Sent(0b001, 0b110, {"FIRSTNAME": 1, "CITY": 2, "SMS": 4}, ("FIRSTNAME",), "9"))


@pytest.mark.parametrize(
    ("outcome", "stored", "ending"),
    [
        (Outcome.delivered("9"), False, Ending(gone=0b001, landed=0b110, emptied=0b001)),
        (Outcome.delivered("9", left=frozenset({"SMS"})), True, Ending(gone=0b101, landed=0b010, emptied=0b001)),
        (Outcome.delivered("10"), False, Ending(gone=~0b110, landed=0b110)),
        (Outcome.failed("LOCKED", "why"), False, Ending(gone=0b110, landed=0)),
        (Outcome.rejected("REJECTED", "why"), True, Ending(gone=0, landed=0b110)),
    ],
)
def test_a_finish_says_which_fields_are_in_the_crm(outcome, stored, ending):
    assert POLICY.finish(EMPTIES, outcome, 0.5, stored=stored).sent_fields == ending


def test_of_a_contact_that_was_never_sent_what_was_to_be_written_is_not_there():
    assert deferred(EMPTIES).sent_fields == Ending(gone=0b110, landed=0)
    assert set_aside(EMPTIES, Unsent(done=False)).sent_fields == Ending(gone=0b110, landed=0)


def test_answered_without_being_stored_what_was_to_be_written_is_not_there():
    writes = TRACED._replace(sent=Sent(0b001, 0b011, {"FIRSTNAME": 1, "CITY": 2}, ()))
    assert deferred(writes, receipt=RECEIPT).sent_fields == Ending(0b010, 0)
    assert deferred(writes, receipt=RECEIPT, sent=True).sent_fields == Ending(0, 0b011)


def test_set_aside_it_is_done_or_due_later_and_says_why_without_its_address():
    assert (set_aside(TRACED, Unsent(done=True)).kind, set_aside(TRACED, Unsent(done=True)).error) == (Kind.DELIVERED, None)
    later = set_aside(TRACED, Unsent(done=False, delay_s=3.0, reason="REFUSED: no ada@example.com"))
    assert (later.kind, later.delay_s, later.error) == (Kind.DEFERRED, 3.0, "REFUSED: no ***")
    assert (later.sent, later.attempts, later.trace) == (False, None, "00-1-2-01")
    assert told(set_aside(TRACED, Unsent(done=False), RECEIPT)) == TOLD


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


def test_only_a_delivery_gives_the_row_an_id_and_not_at_every_crm():
    assert POLICY.finish(contact(1), Outcome.delivered(None), 0.5).remote_id is None
    for verdict in (Verdict.FAILED, Verdict.REJECTED):
        assert POLICY.finish(contact(1), Outcome(verdict, "CODE", "why", "9"), 0.5).remote_id is None


def test_values_of_the_contact_are_masked_in_the_reason():
    finish = POLICY.finish(contact(1), Outcome.rejected("REJECTED", "ADA@example.com of Ada is bad"), 0.5)
    assert finish.error == "REJECTED: *** of *** is bad"


def test_an_orphan_goes_back_in_line_until_it_has_outlived_all_its_workers():
    assert POLICY.orphan("id", 7, 3).kind is Kind.ORPHANED
    parked = POLICY.orphan("id", 7, 4)
    assert (parked.kind, parked.error) == (
        Kind.REJECTED,
        "WORKER_DIED: the worker died each of the 4 times it had this contact in flight",
    )


def test_an_id_that_postgres_would_refuse_is_made_fit():
    finish = POLICY.finish(contact(1), Outcome.delivered("a\x00b\ud800" + "c" * 1000), 0.5)
    assert finish.remote_id is not None
    assert finish.remote_id.startswith("a b")
    assert len(finish.remote_id) == LONGEST_REMOTE_ID == 255
    assert POLICY.finish(contact(1), Outcome.delivered("\x00"), 0.5).remote_id is None
