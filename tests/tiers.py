"""Which tests are for `make test`, and which take too long for it."""

from collections.abc import Iterable
from typing import Any

import pytest

slow = pytest.mark.slow
alone = pytest.mark.alone
root = pytest.mark.root


def one_quick(cases: Iterable[Any]) -> list[Any]:
    """The first as it is, and the others slow: one shows that it holds, all that it holds for all."""
    first, *others = cases
    return [first, *(pytest.param(other, marks=slow) for other in others)]
