"""Which conditions hold, given what the database says of a CRM. No I/O."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from crm_sync.core.alert import Condition, Seen
from crm_sync.core.codes import NO_CODE, NO_CODE_MEANING
from crm_sync.core.rate import Window
from crm_sync.core.waits import USUAL
from crm_sync.telling.alert_conditions import Facts, conditions, new_codes

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
MINUTE_S = 60.0
DAY = Window(1000, 86400.0)


def ago(seconds):
    return NOW - timedelta(seconds=seconds)


LANE = {"breaker": "closed", "breaker_since": ago(9000), "breaker_reason": None, "openings": 0}
HELD = {"held_since": None, "held_reason": None, "fault": None, "fault_since": None}
MINUTES = {"finished": 100, "failed": 0, "strays": 0, "strays_since": None, "last_minute": ago(MINUTE_S)}
WELL = {"crm": "brevo", "now": NOW, **LANE, **HELD, **MINUTES, "stuck": 0, "stuck_since": None, "budget": None}
DOWN = {"breaker": "open", "breaker_since": ago(USUAL.lane_down_s), "breaker_reason": "TIMEOUT: no answer", "openings": 3}


def holds(due=0, oldest_s=None, windows=(), **lane):
    """What holds with these differences from a CRM that is well. oldest_s: how long the oldest contact has waited."""
    facts = Facts({**WELL, **lane}, due, None if oldest_s is None else ago(oldest_s), windows)
    return list(conditions(facts, USUAL))


def only(condition, since_s, count, reason):
    return [Seen(condition, "brevo", ago(since_s), count, reason)]


# The lane.


def test_of_a_crm_that_is_well_there_is_nothing_to_say():
    assert holds() == holds(due=5, oldest_s=10.0) == []


def test_a_crm_is_down_once_it_was_for_some_minutes():
    assert holds(due=7, **DOWN) == only(Condition.LANE_DOWN, USUAL.lane_down_s, 7, "TIMEOUT: no answer")
    assert holds(**{**DOWN, "breaker": "half-open"}) == only(Condition.LANE_DOWN, USUAL.lane_down_s, 0, "TIMEOUT: no answer")
    assert holds(**{**DOWN, "breaker_since": ago(USUAL.lane_down_s - 1)}) == []
    assert holds(**{**DOWN, "breaker_reason": None})[0].reason == "no reason known"


def test_a_crm_that_says_too_many_requests_is_not_down():
    assert holds(**{**DOWN, "breaker": "throttled", "openings": 0}) == []


@pytest.mark.parametrize(
    ("reason", "condition"),
    [
        ("REFUSED: 401", Condition.CREDENTIALS_REFUSED),
        ("IP_REFUSED: 401", Condition.CREDENTIALS_REFUSED),
        ("API_DISABLED: 403", Condition.CREDENTIALS_REFUSED),
        ("ANOTHER_ACCOUNT: of portal 2", Condition.LANE_MISCONFIGURED),
        ("UNKNOWN_FIELD: NICKNAME", Condition.LANE_MISCONFIGURED),
        ("FIELD_MISFIT: a number", Condition.LANE_MISCONFIGURED),
        ("FIELD_REQUIRED: NICKNAME", Condition.LANE_MISCONFIGURED),
        ("MISCONFIGURED: no list", Condition.LANE_MISCONFIGURED),
    ],
)
def test_what_only_a_person_can_mend_is_told_of_at_once(reason, condition):
    assert holds(due=2, **{**DOWN, "breaker_since": ago(1), "breaker_reason": reason}) == only(condition, 1, 2, reason)


def test_so_is_a_fault_and_not_what_the_breaker_says_beside_it():
    fault = {"fault": "no right to read", "fault_since": ago(5)}
    assert holds(due=3, **fault, **DOWN) == only(Condition.LANE_MISCONFIGURED, 5, 3, "no right to read")


def test_a_pause_is_told_of_when_it_was_long_and_nothing_else_of_its_lane_is():
    paused = {"held_since": ago(USUAL.paused_long_s), "held_reason": "new key", "fault": "x", "fault_since": ago(1), **DOWN}
    assert holds(due=4, oldest_s=9000.0, **paused) == only(Condition.LANE_PAUSED_LONG, USUAL.paused_long_s, 4, "new key")
    assert holds(oldest_s=9000.0, **{**paused, "held_since": ago(USUAL.paused_long_s - 1)}) == []
    assert holds(**{**paused, "held_reason": None})[0].reason == "no reason given"


# The line.


def test_contacts_wait_and_none_is_finished():
    silent = {"due": 3, "oldest_s": 9000.0, "last_minute": ago(USUAL.silence_s + MINUTE_S)}
    assert holds(**silent) == only(Condition.SILENCE, USUAL.silence_s, 3, "nothing has been finished since")
    assert holds(**{**silent, "last_minute": None})[0].since == ago(9000)
    [seen] = holds(**silent, breaker="throttled", breaker_reason="RATE_LIMITED: too many")
    assert seen.reason == "nothing has been finished since; the CRM said: RATE_LIMITED: too many"


def test_before_the_first_contact_was_ready_there_was_nothing_to_finish():
    quiet = {"last_minute": ago(7000)}
    assert holds(oldest_s=USUAL.silence_s - 1, **quiet) == []
    assert holds(oldest_s=USUAL.silence_s, **quiet) == only(
        Condition.SILENCE, USUAL.silence_s, 0, "nothing has been finished since"
    )


def test_one_contact_waits_while_others_are_finished():
    reason = "it has waited for 15 min; others are finished meanwhile"
    assert holds(due=3, oldest_s=900.0) == only(Condition.OLDEST_WAITING, USUAL.oldest_waiting_s, 3, reason)
    assert holds(due=3, oldest_s=899.0) == []


@pytest.mark.parametrize(
    "held_up",
    [
        {"held_since": ago(1)},
        {**DOWN, "breaker_since": ago(1)},
        {**DOWN, "breaker": "throttled", "breaker_since": ago(1)},
        {"fault": "no right to read", "fault_since": ago(1)},
    ],
)
def test_contacts_that_wait_for_a_known_reason_are_no_alert_of_their_own(held_up):
    found = {seen.condition for seen in holds(due=3, oldest_s=9000.0, last_minute=None, **held_up)}
    assert not found & {Condition.SILENCE, Condition.OLDEST_WAITING}


# Outcomes.


@pytest.mark.parametrize(("failed", "finished", "is_told"), [(20, 399, True), (20, 400, False), (19, 19, False), (21, 400, True)])
def test_errors_are_told_of_when_they_are_many_and_more_than_one_in_twenty(failed, finished, is_told):
    assert bool(holds(failed=failed, finished=finished)) is is_told


def test_errors_are_counted_and_so_is_their_share():
    assert holds(failed=1200, finished=4800) == only(Condition.ERRORS, 0, 1200, "1,200 of 4,800 attempts, 25%")


def test_errors_strays_and_deletions_are_told_of_next_to_an_outage():
    found = holds(**DOWN, failed=50, finished=50, strays=1200, strays_since=ago(600), stuck=4, stuck_since=ago(2 * 86400))
    assert found[1:] == [
        Seen(Condition.ERRORS, "brevo", NOW, 50, "50 of 50 attempts, 100%"),
        Seen(Condition.STRAYS, "brevo", ago(600), 1200, "1,200 flips within an hour"),
        Seen(Condition.DELETIONS_STUCK, "brevo", ago(2 * 86400), 4, "the oldest for 2 d"),
    ]


# Limits.


def used(requests, window=DAY):
    return json.dumps({"next": 0, "counts": {window.key: [window.part(NOW.timestamp()), requests]}})


def test_a_days_requests_are_told_of_when_nine_in_ten_are_used():
    assert holds(windows=(Window(10, 1.0), DAY), budget=used(899)) == []
    reason = "900 of 1,000 requests in 24 hours, 90%"
    assert holds(windows=(Window(10, 1.0), DAY), budget=used(900)) == only(Condition.LIMIT_NEARLY_USED, 0, 900, reason)


def test_shorter_windows_are_used_up_every_day_and_what_is_not_limited_cannot_be():
    hour = Window(1000, 3600.0)
    assert holds(windows=(hour,), budget=used(1000, hour)) == []
    assert holds(budget=used(1000)) == holds(windows=(DAY,)) == []


# Codes.


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("DUPLICATE", "another contact in the CRM has the same identifier"),
        ("MINE", "a code of another package's client"),
        (NO_CODE, NO_CODE_MEANING),
    ],
)
def test_a_new_code_is_told_of_with_what_it_means(code, meaning):
    row = {"crm": "brevo", "code": code, "new_since": ago(60), "failures": 3}
    assert list(new_codes([row])) == [Seen(Condition.NEW_CODE, "brevo", ago(60), 3, f"{code}: {meaning}", code)]
