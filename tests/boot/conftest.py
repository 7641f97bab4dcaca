"""One machine per test, from a tree that is made once."""

import pytest

from tests.boot.machine import booted
from tests.boot.tree import NotHereError, tree
from tests.faults.promise import Stopwatch


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    try:
        with tree(tmp_path_factory.mktemp("boot")) as made:
            yield made
    except NotHereError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def machine(system, tmp_path):
    stopwatch = Stopwatch()
    with booted(system, tmp_path) as machine:
        stopwatch.tell("booted")
        yield machine
