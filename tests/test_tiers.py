"""Which combinations of parameters are tried."""

from itertools import combinations, product

import pytest

from tests.tiers import in_turn, one_case_quick, one_quick, pairwise


def together(cases):
    return {(a, b) for case in cases for a, b in combinations(enumerate(case), 2)}


@pytest.mark.parametrize("sizes", [(2, 2), (4, 3, 5), (3, 2, 6), (2, 2, 2, 2)])
def test_every_two_values_are_together_in_one_of_fewer_cases(sizes):
    parameters = [range(size) for size in sizes]
    everything = list(product(*parameters))
    chosen = pairwise(*parameters)
    assert together(chosen) == together(everything)
    assert len(chosen) == len(set(chosen)) <= len(everything)
    assert len(sizes) == 2 or len(chosen) < len(everything) / 1.2


def test_what_is_not_possible_is_in_no_case_and_everything_else_is():
    possible = lambda a, b, c: (a, b) != (1, 2)  # noqa: E731
    chosen = pairwise(range(3), range(4), range(2), possible=possible)
    assert all(possible(*case) for case in chosen)
    assert together(chosen) == together(product(range(3), range(4), range(2))) - {((0, 1), (1, 2))}


def test_the_cases_do_not_depend_on_chance():
    assert pairwise("abc", "de", "fgh") == pairwise("abc", "de", "fgh")
    assert pairwise("abc", "de", "fgh")[0] == ("a", "d", "f")


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
