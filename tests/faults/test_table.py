"""Each fault in the table is covered by tests that exist."""

from pathlib import Path

import pytest

from tests.existing import ROOT, missing
from tests.faults.met import OF_ATTACKS, OF_REPORTS
from tests.faults.table import PROMISE, TABLE

ALL = (*TABLE, *OF_ATTACKS, *OF_REPORTS)


@pytest.mark.parametrize("row", ALL, ids=[row.fault for row in ALL])
def test_each_fault_is_shown_by_tests_that_exist(row):
    assert row.tests
    assert row.expected
    assert missing(row.tests) == []


def test_what_shows_the_promise_exists():
    assert missing(PROMISE) == []


def test_each_file_of_faults_is_in_the_table():
    named = {test.partition("::")[0] for row in ALL for test in row.tests}
    here = {str(file.relative_to(ROOT)) for file in Path(__file__).parent.glob("test_*.py")} - {"tests/faults/test_table.py"}
    assert here - named == set()
