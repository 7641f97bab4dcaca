"""When people are told of an alert: once, again after hours, and once when it is over."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from crm_sync.core.alert import Alert, Condition, Message, Rules, Seen, how_many
from crm_sync.core.waits import USUAL

START = datetime(2026, 11, 29, 12, tzinfo=UTC)
RULES = Rules(USUAL, ["webhook", "command"])


def at(seconds):
    return START + timedelta(seconds=seconds)


def seen(condition=Condition.LANE_DOWN, since=0.0, count=3, reason="CRM_ERROR: 503"):
    return Seen(condition, "brevo", at(since), count, reason)


def alert(condition=Condition.LANE_DOWN, **changes):
    """Its state after the first look, at 0."""
    raised = RULES.is_raised(condition, at(0), at(0))
    fresh = Alert(
        *(1, condition, "brevo", "", at(0), at(0), at(0), None, at(0) if raised else None, None),
        *(3, "CRM_ERROR: 503", Message.RAISED if raised else None, at(0) if raised else None),
        *(RULES.channels if raised else (), (), 0, at(0) if raised else None),
    )
    return replace(fresh, **changes)


def told(one):
    return replace(one, untold=(), told=RULES.channels)


def test_what_cannot_pass_by_itself_in_a_moment_is_raised_at_once():
    assert alert().is_open
    assert RULES.to_tell(alert(), at(0)) == ["webhook", "command"]


@pytest.mark.parametrize("condition", [Condition.SILENCE, Condition.OLDEST_WAITING])
def test_what_passes_right_after_a_start_is_raised_only_when_it_was_seen_for_a_while(condition):
    fresh = alert(condition)
    assert not fresh.is_open
    soon = RULES.seen_again(fresh, seen(condition), at(USUAL.alert_hold_s - 1))
    assert not soon.is_open
    later = RULES.seen_again(soon, seen(condition), at(USUAL.alert_hold_s))
    assert later.is_open
    assert later.message is Message.RAISED


def test_what_was_seen_before_a_gap_is_not_added_to_what_is_seen_after_it():
    fresh = alert(Condition.SILENCE)
    after = RULES.seen_again(fresh, seen(Condition.SILENCE), at(USUAL.alert_gap_s + 1))
    assert not after.is_open
    assert after.first_seen_at == at(USUAL.alert_gap_s + 1)


def test_what_passes_before_anybody_was_told_is_forgotten():
    assert RULES.not_seen(alert(Condition.SILENCE), at(10)) is None


def test_it_is_told_once_however_often_it_is_seen():
    one = told(alert())
    for second in range(15, int(USUAL.alert_repeat_s), 600):
        one = RULES.seen_again(one, seen(), at(second))
        assert not RULES.to_tell(one, at(second))


def test_it_is_told_again_after_hours_and_as_often():
    one = RULES.seen_again(told(alert()), seen(), at(USUAL.alert_repeat_s))
    assert one.message is Message.STILL
    assert RULES.to_tell(one, at(USUAL.alert_repeat_s)) == ["webhook", "command"]
    again = RULES.seen_again(told(one), seen(), at(USUAL.alert_repeat_s + 60))
    assert not RULES.to_tell(again, at(USUAL.alert_repeat_s + 60))
    assert RULES.seen_again(told(again), seen(), at(2 * USUAL.alert_repeat_s)).message_at == at(2 * USUAL.alert_repeat_s)


def test_it_is_over_when_all_was_well_for_a_while_and_those_who_were_told_are_told_so():
    one = replace(told(alert()), told=("webhook",))
    one = RULES.not_seen(one, at(100))
    assert one.is_open
    one = RULES.not_seen(one, at(100 + USUAL.alert_over_s))
    assert not one.is_open
    assert one.message is Message.OVER
    assert one.until == at(100)
    assert RULES.to_tell(one, at(100 + USUAL.alert_over_s)) == ["webhook"]


def test_one_that_comes_and_goes_is_one_alert_with_its_first_beginning_and_its_largest_number():
    one = told(alert())
    for round_ in range(20):
        one = RULES.not_seen(one, at(100 + 60 * round_))
        one = RULES.seen_again(one, seen(since=110 + 60 * round_, count=round_), at(110 + 60 * round_))
        assert not RULES.to_tell(one, at(110 + 60 * round_))
    assert one.since == at(0)
    assert one.contacts == 19
    assert one.well_since is None


def test_one_that_nobody_could_be_told_of_is_over_without_a_word():
    one = RULES.not_seen(RULES.not_seen(alert(), at(100)), at(100 + USUAL.alert_over_s))
    assert not one.is_open
    assert not RULES.to_tell(one, at(1000))


def test_a_channel_that_fails_is_tried_again_less_and_less_often_and_the_others_are_not_told_twice():
    failing = replace(alert(), untold=("webhook",), told=("command",), next_try_at=at(30))
    assert RULES.to_tell(failing, at(29)) == []
    assert RULES.to_tell(failing, at(30)) == ["webhook"]
    waits = [RULES.again_s(tries) for tries in range(8)]
    assert waits == sorted(waits)
    assert waits[0] == USUAL.first_telling_again_s
    assert waits[-1] == USUAL.longest_telling_again_s


def test_a_channel_that_is_set_no_more_is_waited_for_no_longer():
    ended = RULES.not_seen(replace(told(alert()), told=("pigeon",), well_since=at(0)), at(USUAL.alert_over_s))
    assert not RULES.to_tell(ended, at(USUAL.alert_over_s))
    assert RULES.is_given_up(replace(ended, untold=("pigeon",)), at(USUAL.alert_over_s))


def test_the_end_of_an_alert_is_told_for_an_hour_at_most():
    ended = RULES.not_seen(replace(told(alert()), well_since=at(0)), at(USUAL.alert_over_s))
    assert not RULES.is_given_up(ended, at(USUAL.telling_patience_s))
    assert RULES.is_given_up(ended, at(USUAL.alert_over_s + USUAL.telling_patience_s + 1))


def test_numbers_that_are_not_counted_to_the_end_say_so():
    assert how_many(Condition.LANE_DOWN, 12) == "12 contacts in line"
    assert how_many(Condition.LANE_DOWN, 10_000) == "10,000 contacts in line"
    assert how_many(Condition.LANE_DOWN, 10_001) == "more than 10,000 contacts in line"
    assert how_many(Condition.LIMIT_NEARLY_USED, 240_000) == "240,000 requests used"


@pytest.mark.parametrize(
    ("condition", "one", "none"),
    [
        (Condition.LANE_DOWN, "1 contact in line", "0 contacts in line"),
        (Condition.NEW_CODE, "1 failure with this code", "0 failures with this code"),
        (Condition.DELETIONS_STUCK, "1 deletion", "0 deletions"),
    ],
)
def test_one_is_told_in_the_singular(condition, one, none):
    assert (how_many(condition, 1), how_many(condition, 0)) == (one, none)


def test_a_gap_of_just_so_long_is_none():
    after = RULES.seen_again(alert(Condition.SILENCE), seen(Condition.SILENCE), at(USUAL.alert_gap_s))
    assert after.first_seen_at == at(0)


def test_a_gap_does_not_matter_once_it_was_raised():
    after = RULES.seen_again(told(alert()), seen(), at(USUAL.alert_gap_s + 1))
    assert after.first_seen_at == at(0)


def test_until_it_is_raised_it_began_when_the_last_look_says():
    soon = RULES.seen_again(alert(Condition.SILENCE), seen(Condition.SILENCE, since=5), at(10))
    assert soon.since == at(5)


def test_it_is_over_after_just_so_long_and_not_before():
    one = replace(told(alert()), well_since=at(0))
    assert RULES.not_seen(one, at(USUAL.alert_over_s - 1)).is_open
    assert not RULES.not_seen(one, at(USUAL.alert_over_s)).is_open


def test_those_of_one_condition_at_one_crm_differ_by_their_code():
    one, other = alert(Condition.NEW_CODE, code="LOCKED"), alert(Condition.NEW_CODE, code="DUPLICATE")
    assert one.key == replace(seen(Condition.NEW_CODE), code="LOCKED").key
    assert one.key != other.key


def test_a_new_message_is_tried_at_once_however_often_the_last_one_failed():
    failing = replace(alert(), tries=7, next_try_at=at(USUAL.alert_repeat_s + 300))
    still = RULES.seen_again(failing, seen(), at(USUAL.alert_repeat_s))
    assert (still.message, still.tries, still.next_try_at) == (Message.STILL, 0, at(USUAL.alert_repeat_s))


def test_only_channels_that_are_set_are_told():
    assert RULES.to_tell(replace(alert(), untold=("pigeon", "command")), at(0)) == ["command"]
    assert RULES.not_seen(
        replace(told(alert()), told=("pigeon", "command"), well_since=at(0)), at(USUAL.alert_over_s)
    ).untold == ["command"]


def test_one_without_a_message_or_with_no_try_due_is_not_told():
    assert RULES.to_tell(alert(Condition.SILENCE), at(0)) == []
    assert RULES.to_tell(replace(alert(), next_try_at=None), at(0)) == []
    assert RULES.to_tell(replace(alert(), message=None), at(0)) == []


def test_each_failure_of_a_channel_doubles_the_wait():
    assert [RULES.again_s(tries) for tries in (0, 1, 2, 1000)] == [15, 30, 60, 300]


def test_what_lasts_is_never_given_up_and_what_is_over_as_long_as_one_channel_is_left():
    assert not RULES.is_given_up(replace(alert(), untold=("pigeon",)), at(10 * USUAL.telling_patience_s))
    ended = RULES.not_seen(replace(told(alert()), well_since=at(0)), at(USUAL.alert_over_s))
    assert not RULES.is_given_up(replace(ended, untold=("pigeon", "command")), at(USUAL.alert_over_s))
    assert not RULES.is_given_up(ended, at(USUAL.alert_over_s + USUAL.telling_patience_s))


@pytest.mark.parametrize("condition", Condition)
def test_each_says_what_to_do_and_by_which_command_it_is_seen(condition):
    assert condition.named("brevo", "DUPLICATE").startswith("brevo ")
    assert "{" not in condition.named("brevo", "DUPLICATE")
    assert condition.remedy.format(crm="brevo", code="DUPLICATE")
    assert condition.command.format(crm="brevo", code="DUPLICATE").startswith("crm-sync ")
