"""The fields that a delivery left out, as the row's error names them."""

import pytest

from crm_sync.core.left_fields import LONGEST_HEAD, headed, left_out
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.core.retry import describe


@pytest.mark.parametrize(
    ("names", "reason", "error"),
    [
        (set(), "Brevo has no list 7", "Brevo has no list 7"),
        ({"SMS"}, "another contact has it", "SMS: another contact has it"),
        ({"SMS", "CITY"}, "another contact has it", "CITY, SMS: another contact has it"),
        ({"SMS"}, "SMS: it was left out", "SMS: it was left out"),
        ({"SMS", "CITY"}, "SMS: it was left out", "CITY, SMS: SMS: it was left out"),
    ],
)
def test_their_names_come_before_the_reason_unless_it_begins_with_them(names, reason, error):
    assert headed(names, reason) == error


@pytest.mark.parametrize("names", [{"SMS"}, {"a b", "c.d", "ümlaut"}, {f"field{number}" for number in range(20)}])
def test_what_is_written_is_read_back(names):
    contact = Contact(1, 1, 1, None, "ada@example.com", None, {"SMS": "0176 1234567"})
    error = describe(contact, Outcome.delivered("7", "FIELD_NOT_SENT", "0176 1234567: is taken", frozenset(names)))
    assert left_out(error) == names
    assert "1234567" not in error


def test_of_very_many_those_are_named_that_fit():
    names = {f"field_{number:04}" for number in range(1000)}
    error = f"FIELD_NOT_SENT: {headed(names, 'x' * 500)}"
    assert left_out(error) < names
    assert len(error) < LONGEST_HEAD + 600


@pytest.mark.parametrize(
    "error",
    [
        None,
        "",
        "FIELD_NOT_SENT",
        "FIELD_NOT_SENT: ",
        "FIELD_NOT_SENT: SMS is taken",
        "REJECTED: SMS: no",
        "ALREADY_THERE: SMS: x",
    ],
)
def test_without_them_no_field_was_left_out(error):
    assert left_out(error) == frozenset()
