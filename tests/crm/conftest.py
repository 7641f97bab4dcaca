"""Fixtures shared by the tests of several CRMs."""

from collections.abc import Iterator

import pytest

from tests.crm.prepared import PreparedAnswers


@pytest.fixture
def prepared() -> Iterator[PreparedAnswers]:
    """Answers each request of the test with a prepared answer, and fails the test for any other request."""
    with PreparedAnswers("https://crm.example.com") as answers:
        yield answers
