from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.durations import LONGEST, parse


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("3d", 259_200), (" 2 H ", 7200), ("3650d", 315_360_000)]
)
def test_a_span_is_a_number_and_a_unit(text, seconds):
    assert parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "2", "h", "0h", "-2h", "2 hours", "1h30m", "1.5h", "2w", "yesterday", "٣h", "2026-11-24"])
def test_anything_else_is_told_what_is_expected(text):
    with pytest.raises(ValueError, match="a number and a unit: 90s, 30m, 2h or 3d"):
        parse(text)


def test_a_span_that_no_clock_reaches_back_is_told_the_longest():
    with pytest.raises(ValueError, match="at most 3,650d"):
        parse("3651d")


@given(st.text(max_size=20))
def test_whatever_is_typed_is_a_span_or_a_value_error(text):
    try:
        assert timedelta() < parse(text) <= LONGEST
    except ValueError:
        return
