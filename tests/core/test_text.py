from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.text import MAX_REASON_CHARACTERS, clean, name_of


@given(st.text(st.characters(), max_size=2000))
def test_any_text_becomes_one_that_postgres_takes(text):
    cleaned = clean(text)
    assert len(cleaned) <= MAX_REASON_CHARACTERS
    assert "\x00" not in cleaned
    assert "\n" not in cleaned
    cleaned.encode("utf-8")


def test_a_key_that_is_an_address_is_named_without_it_and_can_be_found():
    assert name_of("c-17") == "c-17"
    assert name_of(17) == "17"
    assert name_of("ada@example.com") == "sha256:b5fc85e55755f9e0"
    assert name_of("ada@example.com") != name_of("bob@example.com")


def test_nul_surrogates_and_line_ends_become_blanks():
    assert clean("a\x00b\ud800c\r\n d") == "a b c d"


@given(st.text("abcdefgh", min_size=3, max_size=20), st.text("xyz. ", max_size=20))
def test_a_value_is_masked_wherever_it_stands(value, around):
    assert value not in clean(f"{around}{value}{around}{value.upper()}", hide=[value, None, 5])


def test_an_email_is_masked_without_being_named():
    assert clean("contact <zoe.o'brien+1@mail.example.org> exists") == "contact <zoe.o'***> exists"


def test_short_values_do_not_mask_half_of_the_sentence():
    assert clean("a bad answer", hide=["a", "ad"]) == "a bad answer"


def test_megabytes_without_a_blank_are_cut_before_they_are_looked_at():
    assert len(clean("x" * 10_000_000 + "@", hide=["y" * 5_000])) == MAX_REASON_CHARACTERS
