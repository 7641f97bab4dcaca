"""The demo's people are what they say they are."""

import re
from collections import Counter

import pytest

from crm_sync.core.identity import check_email
from crm_sync.sandbox.brevo.account import BrevoAccount
from crm_sync.sandbox.brevo.errors import BrevoError
from crm_sync.sandbox.people import NAMES_IN_OTHER_SCRIPTS, REMARKABLE_NAMES, SHARES, people

CROWD = list(people(10_000, seed=1))
RESERVED = re.compile(r"@([a-z-]+\.)*(example\.(com|org|net)|[a-z-]+\.(example|test))$")


def of_kind(kind):
    return [person for person in CROWD if person.kind == kind]


def outcome(account, person):
    """What Brevo makes of a person: None if it takes them, else the message of its refusal."""
    body = {"updateEnabled": True, "attributes": {"SMS": person.phone} if person.phone else {}}
    if email := (person.email or "").strip():
        body["email"] = email
    try:
        account.save(body)
    except BrevoError as error:
        return str(error)
    return None


def test_the_same_seed_gives_the_same_people():
    assert list(people(500, seed=7)) == list(people(500, seed=7))
    assert list(people(500, seed=7)) != list(people(500, seed=8))


def test_a_smaller_crowd_is_the_start_of_a_larger_one():
    assert list(people(100, seed=1)) == CROWD[:100]


def test_the_shares_of_the_kinds_are_kept():
    assert sum(SHARES.values()) == pytest.approx(1)
    counts = Counter(person.kind for person in CROWD)
    for kind, share in SHARES.items():
        assert counts[kind] / len(CROWD) == pytest.approx(share, rel=0.2), kind


def test_the_first_person_needs_nobody_before_them():
    assert {next(people(1, seed=seed)).kind for seed in range(100)} == {"ok"}


def test_good_addresses_and_numbers_are_used_once():
    good = of_kind("ok")
    phones = [person.phone for person in good if person.phone is not None]
    assert len({person.email for person in good}) == len(good)
    assert len(set(phones)) == len(phones) > len(good) / 2


def test_a_shared_phone_is_that_of_an_earlier_person_with_another_address():
    seen = {}
    for person in CROWD:
        if person.kind == "shared_phone":
            assert seen[person.phone] != person.email
        elif person.kind == "ok":
            seen[person.phone] = person.email


def test_a_duplicate_has_the_address_of_an_earlier_person_at_times_spelt_otherwise():
    seen = set()
    for person in CROWD:
        if person.kind == "duplicate_email":
            assert person.email.strip().lower() in seen
        elif person.kind == "ok":
            seen.add(person.email)
    duplicates = [person.email for person in of_kind("duplicate_email")]
    assert any(email in seen for email in duplicates)
    assert any(email != email.lower() for email in duplicates)
    assert any(email != email.strip() for email in duplicates)


def test_a_missing_address_is_none_empty_or_blank():
    emails = [person.email for person in of_kind("no_email")]
    assert {None, "", " "} <= set(emails)
    assert not any((email or "").strip() for email in emails)


def test_a_bad_phone_comes_with_a_good_address():
    assert all(RESERVED.search(person.email) and person.phone for person in of_kind("bad_phone"))


def test_nobody_can_be_reached():
    for kind in ("ok", "shared_phone", "bad_phone"):
        assert all(RESERVED.search(person.email) for person in of_kind(kind)), kind


def test_addresses_have_plus_tags_and_sub_domains():
    emails = [person.email for person in of_kind("ok")]
    assert any("+" in email for email in emails)
    assert any(email.endswith("@staff.london.example.com") for email in emails)


def test_the_crowd_has_the_names_that_break_software():
    names = {(person.first_name, person.last_name) for person in CROWD}
    assert set(REMARKABLE_NAMES) <= names
    assert {(first, last) for first, last, _ in NAMES_IN_OTHER_SCRIPTS} <= names
    assert {"O'Brien", "Null", "Smith-Jones", "Tables; Jr."} <= {last for _, last in names}


def test_brevo_makes_of_everyone_what_their_kind_says():
    account = BrevoAccount()
    outcomes = {kind: Counter() for kind in SHARES}
    for person in CROWD:
        outcomes[person.kind][outcome(account, person)] += 1
    shared_phone = "Unable to create contact, SMS is already associated with another Contact"
    assert {kind: set(messages) for kind, messages in outcomes.items()} == {
        "ok": {None},
        "shared_phone": {shared_phone},
        "duplicate_email": {None},
        "invalid_email": {"Invalid email address"},
        "no_email": {"email, ext_id or SMS is missing", None},
        "bad_phone": {"Invalid phone number"},
    }
    assert len(account.contacts) == len(of_kind("ok")) + sum(bool(person.phone) for person in of_kind("no_email"))


def test_whoever_should_be_delivered_has_an_address_that_passes():
    for person in people(20_000, 3):
        should_pass = person.kind not in ("invalid_email", "no_email")
        assert (check_email(person.email) is None) == should_pass, person.kind
