# ruff: noqa: RUF001 (addresses in all scripts)
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.identity import Addressee, addressees, check_email, fold, with_ascii_domain
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
        "ada@xn--bcher-kva.example",
        "ada@foo_bar.example",
        "ada@foo_bar.bücher.example",
        "ada@mu\u0308ller.example",
        "ada@straße.example",
        "ada@उदाहरण.परीक्षा",
        "ada@உதாரணம்.பரிட்சை",
        "ada@ตัวอย่าง.ทดสอบ",
        "ada@مثال.إختبار",
        "ada@דוגמה.טעסט",
        "ada@例え.テスト",
        "ada@example。jp",
        "ada@نامه\u200cای.example",
        "ada@ශ්\u200dරී.example",
        "अदा@example.com",
        "ශ්\u200dරී@example.com",
        "นก@example.com",
        "ａｄａ@ｅxample.com",
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
        "a@" + "ü" * 60 + ".com",
        "ada@bücher",
        "ada@bücher.example.",
        "ada@-bücher.example",
        "ada@bücher..example",
        "ada@\u0308bucher.example",
        "ada@i❤.example",
        "ada@1מזל.example",
        "mailto:ada@example.com",
        '"ada lovelace"@example.com',
        "ada＠example.com",
        "ada@example.com;bob@example.com",
    ],
)
def test_what_is_no_address_is_stopped_with_a_reason_that_does_not_quote_it(email):
    problem = check_email(email)
    assert problem is not None
    assert "ada" not in problem


@pytest.mark.parametrize(
    ("email", "code", "position"),
    [
        ("ada\u200b@example.com", "U+200B", 4),
        ("\ufeffada@example.com", "U+FEFF", 1),
        ("ada@exam\u00a0ple.com", "U+00A0", 9),
        ("ada@example.com\u200b", "U+200B", 16),
        ("ada\u2060@example.com", "U+2060", 4),
        ("a\u200dda@example.com", "U+200D", 2),
        ("ada@ex\u200cample.com", "U+200C", 7),
        ("ada@bü\u00adcher.example", "U+00AD", 7),
        ("ada@b\u202eücher.example", "U+202E", 6),
        ("ada\u3164@example.com", "U+3164", 4),
        ("ada\ufe0f@example.com", "U+FE0F", 4),
        ("ada\u3000@example.com", "U+3000", 4),
        ("a\x00da@example.com", "U+0000", 2),
        ("ada@example.com\nBcc: x@example.com", "U+000A", 16),
        ("  ada\u200b@example.com ", "U+200B", 6),
        ("\u00a0ada\u200b@example.com", "U+200B", 5),
    ],
)
def test_a_character_that_nobody_sees_is_named_with_its_place(email, code, position):
    assert check_email(email) == f"the email address has an invisible character, {code}, at position {position}"


def test_blanks_around_an_address_are_forgiven_whatever_their_kind():
    assert check_email("\u00a0\u3000ada@example.com\t\r\n\u2003") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ADA@BÜCHER.EXAMPLE ", "ada@XN--BCHER-KVA.example"),
        ("ada@müller.example", "ada@mu\u0308ller.example"),
        ("ada@ｅxample.com", "ada@example.com"),
        ("ada@bücher。example", "ada@bücher.example"),
        ("ada@उदाहरण.example", "ada@xn--p1b6ci4b4b3a.example"),
    ],
)
def test_a_domain_is_the_same_in_both_its_forms(one, other):
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"), [("ada@straße.example", "ada@strasse.example"), ("ada@bücher.example", "ada@bucher.example")]
)
def test_domains_that_differ_in_dns_differ(one, other):
    assert fold(one) != fold(other)


def test_what_is_sent_in_ascii_keeps_the_part_before_the_at():
    assert with_ascii_domain(" Ada.Müller@Bücher.example ") == "Ada.Müller@xn--bcher-kva.example"
    assert with_ascii_domain(" Ada@Example.com ") == "Ada@Example.com"
    assert with_ascii_domain("no address at all, é") == "no address at all, é"


@given(st.text(max_size=30))
def test_folding_is_stable_whatever_the_text_is(text):
    assert fold(fold(text)) == fold(text)
    check_email(text)


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


def test_the_two_forms_of_a_domain_are_one_address():
    (addressee,) = addressees([contact(1, "ada@bücher.example", 1), contact(2, "ada@xn--bcher-kva.example", 2)])
    assert (addressee.contact.id, [twin.id for twin in addressee.twins]) == (2, [1])


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


def test_what_is_sent_is_made_of_the_fields_of_all_the_latest_first():
    said = [contact(n, "a@example.com", n)._replace(fields={"n": n}) for n in (2, 1, 3)]
    (addressee,) = addressees([*said], lambda own, others: {"own": own["n"], "others": [one["n"] for one in others]})
    assert addressee.contact.fields == {"own": 3, "others": [2, 1]}
    assert [twin.fields for twin in addressee.twins] == [{"n": 1}, {"n": 2}]
    alone = contact(1, "b@example.com")
    assert addressees([alone], lambda own, others: pytest.fail("there is no other")) == [Addressee("b@example.com", alone)]
