"""What represents a key: the key itself, or a sealed reference that reveals nothing and cannot be forged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.api.references import LONGEST_TAKEN, PREFIX, References, label
from crm_sync.api.tables import NotFoundError

KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=200)


@given(KEYS)
def test_what_stands_for_a_key_leads_back_to_it(key):
    references = References()
    for stands in (references.of(key), references.sealed(key)):
        assert references.key(stands) == key
        assert references.again(stands) == stands
    assert references.again(key) == references.of(key)


@given(KEYS)
def test_a_reference_can_stand_in_any_path(key):
    stands = References().sealed(key)
    assert stands.isascii()
    assert set(stands) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~")


@pytest.mark.parametrize("key", ["4711", "a/b", "x" * 3_000, "sealed"])
def test_a_key_stands_for_itself_where_it_can(key):
    assert References().of(key) == key


@pytest.mark.parametrize("key", ["", ".", "..", "line\nbreak", "ada@example.com", "ada%40example.com", "x" * 3_001, f"{PREFIX}x"])
def test_a_key_is_sealed_where_it_says_an_address_or_no_path_can_carry_it(key):
    stands = References().of(key)
    assert stands.startswith(PREFIX)
    assert "ada" not in stands
    assert len(stands) <= LONGEST_TAKEN


def test_equal_keys_have_equal_references_and_other_processes_others():
    one, other = References(), References()
    assert one.sealed("a") == one.sealed("a") != one.sealed("b")
    assert one.sealed("a") != other.sealed("a")
    assert References(b"shared").key(References(b"shared").sealed("a")) == "a"


@pytest.mark.parametrize(
    "text", [PREFIX, f"{PREFIX}AAAA", f"{PREFIX}!", f"{PREFIX}ä", References(b"another").sealed("ada@example.com")]
)
def test_a_reference_that_is_not_ours_is_refused_and_never_taken_for_a_key(text):
    with pytest.raises(NotFoundError, match="find the contact again"):
        References().key(text)


@pytest.mark.parametrize("place", [len(PREFIX), -1, 30])
def test_a_reference_that_was_changed_is_refused(place):
    references = References()
    letters = list(references.sealed("a" * 30))
    letters[place] = "A" if letters[place] != "A" else "E"
    with pytest.raises(NotFoundError):
        references.key("".join(letters))


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("ada@example.com", "a***@example.com"),
        ("tenant 7: ada@example.com", "tenant 7: a***@example.com"),
        ("ada%40example.com", "***"),
        ('"ada love"@example.com', "***"),
        ("", "(empty)"),
        ("4711", "4711"),
    ],
)
def test_people_are_shown_a_key_without_its_address(key, shown):
    assert label(key) == shown
