from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.identity import Addressee, addressees, check_email, fold
from crm_sync.core.outcome import Contact


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


# Addressees: who is sent, of those with one address.

EARLY = datetime(2026, 11, 1, tzinfo=UTC)


def contact(number, email, minutes=0, remote_id=None):
    return Contact(number, 1, 1, remote_id, email, EARLY + timedelta(minutes=minutes), {})


def test_contacts_with_addresses_of_their_own_are_all_sent():
    contacts = [contact(1, "a@example.com"), contact(2, "b@example.com")]
    assert addressees(contacts) == [Addressee("a@example.com", contacts[0]), Addressee("b@example.com", contacts[1])]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_of_one_address_however_it_is_spelt_the_later_flip_is_sent(order):
    contacts = [contact(1, "Ada@Example.com ", 1), contact(2, " ada@example.com", 3), contact(3, "ADA@EXAMPLE.COM", 2)]
    (addressee,) = addressees([contacts[place] for place in order])
    assert addressee.address == "ada@example.com"
    assert addressee.contact.id == 2
    assert {twin.id for twin in addressee.twins} == {1, 3}


def test_the_record_that_an_earlier_twin_has_is_the_one_that_is_meant():
    (addressee,) = addressees([contact(1, "a@example.com", 0, "77"), contact(2, "a@example.com", 1)])
    assert (addressee.contact.id, addressee.contact.remote_id) == (2, "77")


def test_a_record_of_its_own_is_kept():
    (addressee,) = addressees([contact(1, "a@example.com", 0, "77"), contact(2, "a@example.com", 1, "78")])
    assert (addressee.contact.id, addressee.contact.remote_id) == (2, "78")


@given(st.lists(st.tuples(st.sampled_from(["a@x.org", "A@x.org", " a@x.org", "b@x.org"]), st.integers(0, 5)), max_size=12))
def test_nobody_is_lost_and_no_address_is_sent_twice(people):
    contacts = [contact(number, email, minutes) for number, (email, minutes) in enumerate(people)]
    found = addressees(contacts)
    assert sorted(one.id for person in found for one in (person.contact, *person.twins)) == [one.id for one in contacts]
    assert len({fold(person.contact.email) for person in found}) == len(found)
    assert all(twin.flipped_at <= person.contact.flipped_at for person in found for twin in person.twins)
