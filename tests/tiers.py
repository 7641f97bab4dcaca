"""Which tests are for `make test`, and which take too long for it."""

from collections.abc import Iterable
from itertools import cycle
from typing import Any

import pytest

slow = pytest.mark.slow
alone = pytest.mark.alone
root = pytest.mark.root


def one_quick(cases: Iterable[Any]) -> list[Any]:
    """The first as it is, and the others slow: one shows that it holds, all that it holds for all."""
    first, *others = cases
    return [first, *(pytest.param(other, marks=slow) for other in others)]


def one_case_quick(cases: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The same, for cases of several parameters."""
    first, *others = cases
    return [first, *(pytest.param(*other, marks=slow) for other in others)]


def in_turn(cases: Iterable[Any], others: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Each case with one of the others. For what a quick test tries in every combination."""
    return list(zip(cases, cycle(others), strict=False))
