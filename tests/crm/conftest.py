"""What tests of several CRMs share."""

from collections.abc import Iterator

import pytest

from tests.crm.prepared import PreparedAnswers


@pytest.fixture
def prepared() -> Iterator[PreparedAnswers]:
    """Answers each request of the test with what it has prepared, and fails it for any other."""
    with PreparedAnswers("https://crm.example.com") as answers:
        yield answers
