import json
from bisect import bisect_left
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_sync.core.rate import (
    LONGEST_AHEAD_S,
    LONGEST_WAIT_S,
    STEPPED_S,
    Budget,
    Window,
    correct,
    parse,
    take,
)
from tests.examples import examples
from tests.tiers import slow

START = 1_800_000_000.0  # about today's time: as a float it is accurate to a quarter of a microsecond
ROUNDING_S = 0.0001  # what such floats may add up to in one example
HOUR = Window(60, 3600.0)
TEN_SECONDS = Window(100, 10.0)

short_windows = st.builds(Window, st.integers(1, 60), st.sampled_from([0.5, 1.0, 2.0, 5.0, 10.0]))
long_windows = st.builds(Window, st.integers(1, 200), st.sampled_from([10.5, 20.0, 30.0, 60.0, 3600.0]))


def each_length_once(windows):
    return tuple({window.seconds: window for window in windows}.values())


several_windows = st.lists(short_windows | long_windows, min_size=1, max_size=4).map(each_length_once)
quickly_renewed = st.lists(
    short_windows | st.builds(Window, st.integers(1, 200), st.sampled_from([10.5, 20.0, 30.0])), min_size=1, max_size=3
).map(each_length_once)
unhurried = settings(deadline=None)  # other tests may be running next to these
aheads = st.floats(0, LONGEST_AHEAD_S)
passing = st.just(0.0) | st.floats(0, 0.5) | st.floats(0, 120)
takes = st.lists(st.tuples(passing, st.integers(1, 300), aheads), max_size=60)


def stored(budget, windows):
    """The budget as the next worker reads it."""
    return Budget.from_json(json.loads(json.dumps(budget.to_json())), windows)


def reach(slots, window, share):
    """When the requests arrive, each up to a share of the slack after its slot."""
    slack_s = window.span_s - window.seconds
    return sorted(slot + part * max(0.0, slack_s - ROUNDING_S) for slot, part in zip(slots, share, strict=True))


def most_at_once(times, seconds):
    """The most of these sorted times in any half-open window of this many seconds."""
    return max((bisect_left(times, start + seconds) - index for index, start in enumerate(times)), default=0)


def most_that_can_meet(slots, window):
    """The most requests that can arrive in one window: the first as late as possible, the last without delay."""
    return most_at_once(slots, window.span_s - ROUNDING_S)


def slots_of(windows, steps, budget=None):
    """What takers get, one after another, each reading what the previous one stored."""
    budget, now, slots = budget or Budget(), START, []
    for passed, wanted, ahead_s in steps:
        now += passed
        taken = take(windows, budget, now, wanted, ahead_s)
        assert taken.count <= wanted
        assert all(now <= slot <= now + ahead_s + ROUNDING_S for slot in taken.slots)
        slots += taken.slots
        budget = stored(taken.budget, windows)
    return slots


def since_start(*times):
    return [time - START for time in times]


def work_through(windows, seconds, chunk, ahead_s):
    """The slots of a taker that wants as many as possible for this many seconds, and asks when a chunk of them is near enough."""
    budget, now, slots = Budget(), START, []
    while now < START + seconds:
        taken = take(windows, budget, now, chunk, ahead_s)
        slots += taken.slots
        budget, now = taken.budget, now + (taken.wait_s + ahead_s / 2 if taken.wait_s else 0.0)
    return [slot for slot in slots if slot < START + seconds]


# Limits.


@unhurried
@given(several_windows, takes)
def test_whoever_takes_whenever_no_window_ever_holds_more_than_its_limit(windows, steps):
    slots = slots_of(windows, steps)
    assert slots == sorted(slots)
    for window in windows:
        assert most_that_can_meet(slots, window) <= window.limit


@unhurried
@given(several_windows, takes, st.data())
def test_requests_that_come_anywhere_within_the_slack_keep_every_limit(windows, steps, data):
    slots = slots_of(windows, steps)
    share = data.draw(st.lists(st.sampled_from([0.0, 1.0]) | st.floats(0, 1), min_size=1, max_size=20))
    delays = [share[number % len(share)] for number in range(len(slots))]
    for window in windows:
        assert most_at_once(reach(slots, window, delays), window.seconds) <= window.limit


@settings(max_examples=examples(ci=50, dev=10), deadline=None)
@given(quickly_renewed, st.integers(1, 200), aheads)
def test_while_there_is_work_at_least_95_percent_of_the_tightest_limit_is_used(windows, chunk, ahead_s):
    seconds = 90.0
    slots = work_through(windows, seconds, chunk, ahead_s)
    assert len(slots) >= int(0.95 * seconds * min(window.limit / window.seconds for window in windows))
    for window in windows:
        assert most_that_can_meet(slots, window) <= window.limit


@pytest.mark.parametrize(
    ("limits", "hours"),
    [
        pytest.param("100/10s 250000/day", 26, marks=slow),
        ("190/10s", 1),
        pytest.param("10/s 36000/h", 3, marks=slow),
        ("500/min", 3),
        ("300/h 1000/day", 60),
    ],
)
def test_published_limits_are_kept_and_used(limits, hours):
    windows = parse(limits)
    slots = work_through(windows, hours * 3600.0, chunk=200, ahead_s=LONGEST_AHEAD_S)
    for window in windows:
        assert most_that_can_meet(slots, window) <= window.limit
    assert any(len(slots) >= 0.95 * window.limit * hours * 3600 / window.seconds for window in windows)


def test_short_windows_are_spaced_evenly_from_the_first_request_on():
    taken = take((TEN_SECONDS,), Budget(), START, 5, 2.0)
    assert since_start(*taken.slots) == pytest.approx([0, 0.1025, 0.205, 0.3075, 0.41], abs=ROUNDING_S)


def test_an_idle_account_saves_nothing_up():
    taken = take((TEN_SECONDS,), Budget(next_slot=START - 3600), START, 1000, 1.0)
    assert taken.count == 10


def test_of_several_short_windows_the_slowest_spaces():
    assert take((Window(10, 1.0), TEN_SECONDS), Budget(), START, 1, 1.0).interval_s == pytest.approx(0.104)


def test_with_only_long_windows_requests_need_not_be_spaced():
    taken = take((HOUR,), Budget(), START, 100, 0.0)
    assert (taken.count, taken.first, taken.interval_s) == (60, START, 0.0)


def test_without_limits_everybody_gets_what_they_want():
    taken = take((), Budget(), START, 12, 0.0)
    assert (taken.count, taken.first, taken.interval_s, taken.wait_s) == (12, START, 0.0, 0.0)


def test_nobody_takes_further_ahead_than_the_longest_or_than_they_said():
    windows = (Window(1, 1.0),)
    assert max(take(windows, Budget(), START, 100, 3.0).slots) <= START + 3
    assert max(take(windows, Budget(), START, 100, 1000.0).slots) <= START + LONGEST_AHEAD_S


@unhurried
@given(several_windows, takes, st.floats(0, 3))
def test_who_needs_some_time_gets_no_slot_that_is_nearer_and_nobody_else_loses_one(windows, steps, lead_s):
    budget, now = Budget(), START
    for passed, wanted, ahead_s in steps:
        now += passed
        budget = take(windows, budget, now, wanted, ahead_s).budget
    slow, quick = (take(windows, budget, now, 1, LONGEST_AHEAD_S, lead_s=lead) for lead in (lead_s, 0.0))
    assert all(slot >= now + lead_s for slot in slow.slots)
    assert all(slow.budget.used(window, now) >= budget.used(window, now) for window in windows)
    if quick.count and quick.first >= now + lead_s:
        assert slow == quick


def test_who_wants_nothing_gets_nothing():
    taken = take((TEN_SECONDS, HOUR), Budget(), START, 0, 1.0)
    assert taken.count == 0
    assert stored(taken.budget, (TEN_SECONDS, HOUR)).used(HOUR, START) == 0


# Waiting.


@unhurried
@given(several_windows, takes, aheads)
def test_nothing_is_taken_and_nothing_charged_until_the_wait_is_over(windows, steps, ahead_s):
    budget, now = Budget(), START
    for passed, wanted, _ in steps:
        now += passed
        taken = take(windows, budget, now, wanted, ahead_s)
        budget = taken.budget
        if taken.count:
            assert taken.wait_s == 0
            continue
        assert 0 < taken.wait_s <= LONGEST_WAIT_S
        assert budget == budget.settled(windows, now)
        assert take(windows, budget, now + taken.wait_s * 0.99 - ROUNDING_S, wanted, ahead_s).count == 0
        if taken.wait_s < LONGEST_WAIT_S:
            assert take(windows, budget, now + taken.wait_s + ROUNDING_S, wanted, ahead_s).count > 0


def test_who_comes_too_early_is_told_when_a_slot_is_near_enough():
    taken = take((Window(10, 10.0),), Budget(next_slot=START + 5), START, 1, 2.0)
    assert (taken.count, taken.wait_s) == (0, 3.0)


def test_a_used_up_long_window_is_asked_again_within_a_minute():
    used_up = take((HOUR,), Budget(), START, 60, 0.0).budget
    assert take((HOUR,), used_up, START + 1, 1, 5.0).wait_s == LONGEST_WAIT_S


def test_a_used_up_long_window_opens_when_its_oldest_part_leaves_it():
    budget = take((HOUR,), Budget(), START, 60, 0.0).budget
    opens = budget.room_at(HOUR, START)
    assert HOUR.span_s < opens - START <= HOUR.span_s + HOUR.part_s + 0.01
    assert take((HOUR,), budget, opens, 100, 0.0).count == 60


# The CRM's own count.


@unhurried
@given(several_windows, takes, st.integers(0, 3), st.integers(-5, 300), st.tuples(passing, st.integers(1, 300), aheads))
def test_a_correction_never_grants_more_or_earlier(windows, steps, which, remaining, then):
    budget, now = Budget(), START
    for step, some, ahead in steps:
        now += step
        budget = take(windows, budget, now, some, ahead).budget
    seconds = windows[which % len(windows)].seconds
    corrected = correct(windows, budget, now, seconds, remaining)
    passed, wanted, ahead_s = then
    later = now + passed
    without, with_it = take(windows, budget, later, wanted, ahead_s), take(windows, corrected, later, wanted, ahead_s)
    assert with_it.count <= without.count
    assert with_it.first >= without.first
    assert all(corrected.used(window, later) >= budget.used(window, later) for window in windows)


@unhurried
@given(several_windows, takes, st.integers(0, 3), st.integers(-5, 300))
def test_after_a_correction_no_more_is_left_than_the_crm_says_and_saying_it_again_changes_nothing(
    windows, steps, which, remaining
):
    budget, now = Budget(), START
    for step, some, ahead in steps:
        now += step
        budget = take(windows, budget, now, some, ahead).budget
    window = windows[which % len(windows)]
    corrected = correct(windows, budget, now, window.seconds, remaining)
    assert window.limit - corrected.used(window, now) <= max(0, remaining)
    assert correct(windows, corrected, now, window.seconds, remaining) is corrected


@given(
    several_windows, st.lists(st.tuples(passing, st.integers(1, 50), aheads, st.integers(0, 3), st.integers(0, 60)), max_size=40)
)
def test_corrections_between_takes_break_no_limit(windows, steps):
    budget, now, slots = Budget(), START, []
    for passed, wanted, ahead_s, which, remaining in steps:
        now += passed
        taken = take(windows, budget, now, wanted, ahead_s)
        slots += taken.slots
        budget = stored(correct(windows, taken.budget, now, windows[which % len(windows)].seconds, remaining), windows)
    for window in windows:
        assert most_that_can_meet(slots, window) <= window.limit


def test_what_others_used_of_a_long_window_is_charged():
    budget = correct((HOUR,), take((HOUR,), Budget(), START, 10, 0.0).budget, START, 3600, remaining=20)
    assert take((HOUR,), budget, START, 100, 0.0).count == 20


def test_what_others_used_of_a_short_window_delays_as_long_as_ours_would():
    budget = correct((TEN_SECONDS,), Budget(), START, 10, remaining=80)
    assert since_start(budget.next_slot) == pytest.approx([20 * 0.1025], abs=ROUNDING_S)


def test_that_delay_comes_after_the_slots_that_were_given():
    budget = take((TEN_SECONDS,), Budget(), START, 10, 2.0).budget
    corrected = correct((TEN_SECONDS,), budget, START, 10, remaining=70)
    assert since_start(corrected.next_slot) == pytest.approx([30 * 0.1025], abs=ROUNDING_S)


def test_nobody_is_delayed_by_more_than_one_whole_window():
    windows = (Window(1, 1.0), TEN_SECONDS)
    reserved = take(windows, Budget(), START, 9, 10.0).budget
    corrected = correct(windows, reserved, START, 10, remaining=-7)
    assert since_start(reserved.next_slot, corrected.next_slot) == pytest.approx([9.36, 10.25], abs=ROUNDING_S)
    assert corrected.used(TEN_SECONDS, START) == 100, "less than nothing cannot be left"


def test_a_crm_that_sees_more_left_than_we_count_changes_nothing():
    budget = take((TEN_SECONDS,), Budget(), START, 50, 10.0).budget
    assert correct((TEN_SECONDS,), budget, START, 10, remaining=51) is budget
    assert correct((TEN_SECONDS,), budget, START, 10, remaining=50) is budget


def test_a_window_that_is_not_configured_is_not_corrected():
    assert correct((HOUR,), Budget(), START, 86400, remaining=0) == Budget()


# Stepping clocks.


@pytest.mark.parametrize("step_s", [-30.0, -3600.0, -10.0 * 365 * 86400])
def test_a_clock_that_was_set_back_starts_over_from_now(step_s):
    windows = (TEN_SECONDS, Window(1000, 3600.0))
    budget = take(windows, Budget(), START, 50, 10.0).budget
    taken = take(windows, budget, START + step_s, 1, 0.0)
    assert (taken.count, taken.first) == (1, START + step_s)


def test_a_clock_that_was_set_back_a_little_waits_no_longer_than_that_and_the_slots_that_were_given():
    budget = take((TEN_SECONDS,), Budget(), START, 1000, 10.0).budget
    assert 0 < take((TEN_SECONDS,), budget, START - 10, 1, 1.0).wait_s <= STEPPED_S


@unhurried
@given(several_windows, takes, st.floats(-1e8, 0))
def test_a_clock_that_was_set_back_forgets_nothing_that_was_used(windows, steps, step_s):
    budget, now = Budget(), START
    for passed, wanted, ahead_s in steps:
        now += passed
        budget = take(windows, budget, now, wanted, ahead_s).budget
    back = budget.settled(windows, now + step_s)
    for window in windows:
        assert back.used(window, now + step_s) >= budget.used(window, now)
        assert back.room_at(window, now + step_s) <= now + step_s + window.span_s + STEPPED_S + 2 * window.part_s


@unhurried
@given(several_windows, st.lists(st.tuples(st.floats(-1e5, 1e5), st.integers(1, 100), aheads), max_size=30))
def test_however_the_clock_steps_requests_go_on(windows, steps):
    budget, now = Budget(), START
    for step, wanted, ahead_s in steps:
        now += step
        budget = stored(take(windows, budget, now, wanted, ahead_s).budget, windows)
    longest = max(window.span_s for window in windows)
    assert take(windows, budget, now + longest + STEPPED_S + longest / 30, 1, 0.0).count == 1


# What is stored.


@unhurried
@given(several_windows, takes)
def test_a_budget_comes_back_from_json_as_it_went(windows, steps):
    budget, now = Budget(), START
    for passed, wanted, ahead_s in steps:
        now += passed
        budget = take(windows, budget, now, wanted, ahead_s).budget
        assert stored(budget, windows) == budget


def test_a_budget_is_small_and_can_be_read():
    windows = parse("10/s")
    budget = take(windows, Budget(), 1_000_000.0, 2, 1.0).budget
    assert budget.to_json() == {"next": 1_000_000.208, "counts": {"1": [57692307, 1, 0, 0, 0, 0, 0, 1]}}


def test_a_day_of_work_does_not_let_it_grow():
    windows = parse("100/10s 250000/day")
    budget, now = Budget(), START
    while now < START + 86400:
        taken = take(windows, budget, now, 20, 2.0)
        budget, now = taken.budget, now + 20.0
        assert sum(map(len, budget.counts.values())) < 200
    assert len(json.dumps(budget.to_json())) < 1000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["next", "counts", "1", "3600"]), inner, max_size=4)
    ),
)
nearly_budgets = st.fixed_dictionaries(
    {"next": json_values, "counts": st.dictionaries(st.sampled_from(["1", "3600", "60"]), st.lists(json_values) | json_values)}
)


@unhurried
@given(json_values | nearly_budgets, st.integers(0, 100))
def test_whatever_is_stored_can_be_read_and_worked_with(value, remaining):
    windows = parse("10/s 3600/h")
    budget = Budget.from_json(value, windows)
    taken = take(windows, correct(windows, budget, START, 3600, remaining), START, 5, 1.0)
    assert 0 <= taken.count <= 5
    assert stored(taken.budget, windows) == taken.budget


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        "",
        7,
        {"next": "7", "counts": {"1": [5, "x"]}},
        {"next": None, "counts": None},
        {"next": -1, "counts": {"1": [5, 1, -1]}},
    ],
)
def test_what_is_not_understood_is_an_empty_budget(value):
    assert Budget.from_json(value, parse("10/s")) == Budget()


def test_windows_no_longer_configured_are_dropped_and_new_ones_start_empty():
    budget = take((TEN_SECONDS, HOUR), Budget(), START, 10, 1.0).budget
    day = Window(1000, 86400.0)
    read = Budget.from_json(budget.to_json(), (HOUR, day))
    assert (read.used(HOUR, START), read.used(day, START), list(read.counts)) == (10, 0, [3600.0])


def test_what_was_used_stays_used_when_the_limit_changes():
    budget = take((HOUR,), Budget(), START, 40, 0.0).budget
    lower, higher = (Window(30, 3600.0),), (Window(100, 3600.0),)
    assert take(lower, stored(budget, lower), START, 100, 0.0).count == 0
    assert take(higher, stored(budget, higher), START, 100, 0.0).count == 60


# Settings.


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("100/10s 250000/day", [(100, 10), (250000, 86400)]),
        ("10/s, 36000/h", [(10, 1), (36000, 3600)]),
        (" 10/second,36000/hour\n", [(10, 1), (36000, 3600)]),
        ("500/min", [(500, 60)]),
        ("500/Minute 5/2h", [(500, 60), (5, 7200)]),
        ("190/10S", [(190, 10)]),
        ("7/30days", [(7, 30 * 86400)]),
        ("none", []),
        ("None", []),
        (" 0 ", []),
    ],
)
def test_limits_are_written_as_people_say_them(text, windows):
    assert parse(text) == tuple(Window(limit, seconds) for limit, seconds in windows)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "100",
        "0/s",
        "-1/s",
        "10/0s",
        "10/",
        "/s",
        "10/m",
        "10/week",
        "1.5/s",
        "10 / s",
        "10/s none",
        "9/s 8/1s",
        "10/s;",
        "1/\u017f",
    ],
)
def test_limits_that_say_nothing_are_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"expected requests per window, e\.g\. .100/10s 250000/day."):
        parse(text)


def test_what_is_refused_is_not_shown_for_it_may_be_a_key():
    with pytest.raises(ValueError, match="expected") as refused:
        parse("10/s xkeysib-1")
    assert "xkeysib" not in str(refused.value)


@given(st.text() | st.from_regex(r"[0-9]{1,3}/[0-9]{0,2}[a-z]{1,2}", fullmatch=True))
def test_no_text_is_refused_with_anything_but_words(text):
    with suppress(ValueError):
        assert all(window.limit > 0 and window.seconds > 0 for window in parse(text))
