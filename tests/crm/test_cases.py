"""Each report from the field is covered by tests that exist."""

import pytest

from tests.crm.cases import CASES
from tests.existing import missing

NOT_BUILT = {24}
NUMBERS = range(1, 35)


@pytest.mark.parametrize("case", CASES, ids=[str(case.number) for case in CASES])
def test_each_case_is_held_by_tests_that_exist(case):
    assert case.situation
    assert case.tests
    assert missing(case.tests) == []


def test_each_case_that_is_built_is_there_once_and_in_order():
    assert [case.number for case in CASES] == [number for number in NUMBERS if number not in NOT_BUILT]


def test_a_test_that_does_not_exist_is_noticed():
    here = "tests/crm/test_cases.py"
    assert missing((here, f"{here}::test_a_test_that_does_not_exist_is_noticed")) == []
    assert missing((f"{here}::test_nothing", "tests/crm/nothing.py", "tests/crm/cases.py")) == [
        f"{here}::test_nothing",
        "tests/crm/nothing.py",
        "tests/crm/cases.py",
    ]
