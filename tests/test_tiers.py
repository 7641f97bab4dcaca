"""Which combinations of parameters are tried."""

import pytest

from tests.tiers import in_turn, one_case_quick, one_quick


def test_in_turn_each_case_is_there_once_and_each_other_is_used():
    assert in_turn("abcde", [1, 2]) == [("a", 1), ("b", 2), ("c", 1), ("d", 2), ("e", 1)]


@pytest.mark.parametrize(
    ("quicken", "cases", "values"),
    [
        (one_quick, ["a", "b", (1, 2)], [("b",), ((1, 2),)]),
        (one_case_quick, [("a", 1), ("b", 2), ("c", 3)], [("b", 2), ("c", 3)]),
    ],
)
def test_one_is_quick_and_the_others_are_slow(quicken, cases, values):
    first, *others = quicken(cases)
    assert first == cases[0]
    assert [other.values for other in others] == values
    assert all([mark.name for mark in other.marks] == ["slow"] for other in others)
