import pytest

from worker.core.identity import check_email


@pytest.mark.parametrize(
    "email",
    [
        "ada@example.com",
        " ada@example.com ",
        "o'brien+tag@mail.example.co.uk",
        "jürgen@müller.example",
        "x@a-b.example",
        "1@example.museum",
        "a" * 64 + "@example.com",
    ],
)
def test_an_address_passes(email):
    assert check_email(email) is None


@pytest.mark.parametrize("email", [None, "", "   ", "\t"])
def test_no_address_is_told_apart(email):
    assert check_email(email) == "the contact has no email address"


@pytest.mark.parametrize(
    "email",
    [
        "ada",
        "ada@",
        "@example.com",
        "ada@example",
        "ada@@example.com",
        "a da@example.com",
        "ada@exam ple.com",
        "ada@-example.com",
        "ada@example-.com",
        "ada@example..com",
        "ada@.example.com",
        ".ada@example.com",
        "ada.@example.com",
        "a..da@example.com",
        "ada@example.com,bob@example.com",
        "Ada <ada@example.com>",
        "ada@example.com\nBcc: x@example.com",
        "ada\x00@example.com",
        "a" * 65 + "@example.com",
        "a@" + "b" * 10_000 + ".com",
    ],
)
def test_what_is_no_address_is_stopped_with_a_reason_that_does_not_quote_it(email):
    problem = check_email(email)
    assert problem is not None
    assert "ada" not in problem
