"""Each fault of the table is shown by tests that exist."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.faults.met import OF_ATTACKS, OF_REPORTS
from tests.faults.table import PROMISE, TABLE

ROOT = Path(__file__).parents[2]


@cache
def names_in(path):
    """The names of the tests in a file, none if there is no such file."""
    file = ROOT / path
    if not file.exists():
        return frozenset()
    functions = (
        node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def exists(test):
    path, _, name = test.partition("::")
    return name in names_in(path) if name else bool(names_in(path))


ALL = (*TABLE, *OF_ATTACKS, *OF_REPORTS)


@pytest.mark.parametrize("row", ALL, ids=[row.fault for row in ALL])
def test_each_fault_is_shown_by_tests_that_exist(row):
    assert row.tests
    assert row.expected
    assert [test for test in row.tests if not exists(test)] == []


def test_what_shows_the_promise_exists():
    assert [test for test in PROMISE if not exists(test)] == []


def test_each_file_of_faults_is_in_the_table():
    named = {test.partition("::")[0] for row in ALL for test in row.tests}
    here = {str(file.relative_to(ROOT)) for file in Path(__file__).parent.glob("test_*.py")} - {"tests/faults/test_table.py"}
    assert here - named == set()
