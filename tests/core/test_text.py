import html
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.text import MASK, MAX_REASON_CHARACTERS, clean, name_of


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


@pytest.mark.parametrize("mark", [*"\u202a\u202e\u2066\u2069\u200e\u200f\u061c\u200b\ufeff\u2060\ufffb\U000e0041"])
def test_what_turns_text_around_or_is_seen_by_nobody_becomes_a_blank(mark):
    assert clean(f"a{mark}b") == "a b"


def test_joiners_that_belong_to_a_script_or_an_emoji_stay():
    assert clean("\u0645\u06cc\u200c\u062e \U0001f469\u200d\U0001f4bb") == "\u0645\u06cc\u200c\u062e \U0001f469\u200d\U0001f4bb"


@given(st.text("abcdefgh", min_size=3, max_size=20), st.text("xyz. ", max_size=20))
def test_a_value_is_masked_wherever_it_stands(value, around):
    assert value not in clean(f"{around}{value}{around}{value.upper()}", hide=[value, None, 5])


def test_an_email_is_masked_without_being_named():
    assert clean("contact <zoe.o'brien+1@mail.example.org> exists") == "contact <zoe.o'***> exists"


def test_short_values_do_not_mask_half_of_the_sentence():
    assert clean("a bad answer", hide=["a", "ad"]) == "a bad answer"


def test_megabytes_without_a_blank_are_cut_before_they_are_looked_at():
    assert len(clean("x" * 10_000_000 + "@", hide=["y" * 5_000])) == MAX_REASON_CHARACTERS


def test_a_value_that_is_cut_at_the_end_of_the_line_is_masked_as_far_as_it_goes():
    secret = "Zaphod Beeblebrox of Betelgeuse"
    assert "Zaphod" not in clean("x " * 990 + secret, hide=[secret, "x", "x x x x"])


@given(st.integers(1, 5_000_000))
def test_of_a_long_value_no_part_is_left(length):
    value = ("Marvin-the-paranoid-android " * (length // 28 + 1))[: max(3, length)]
    assert "aranoid" not in clean(f"invalid: {value}", hide=[value])


@pytest.mark.parametrize("value", ["İstanbul", "STRASSE", "a\nb\tc", 'say "hi"', "ä&b", "a%20b", "Ada\u00a0Lovelace"])
def test_a_value_is_masked_in_every_way_of_quoting_it(value):
    for form in (value, value.upper(), json.dumps(value), quote(value, safe=""), quote_plus(value), html.escape(value)):
        assert clean(f"no {form} please", hide=[value]).replace('"', "") == f"no {MASK} please", form


@pytest.mark.parametrize(
    "value",
    ["+44 7771 234567", "0044 7771 234567", "0044 (0)7771 234567", "+44 (0) 7771-234567", "447771234567"],
)
@pytest.mark.parametrize("quoted", ["447771234567", "+44 7771 234567", "+44-7771-234567", "+44 (777) 1234567"])
def test_a_phone_number_is_masked_as_a_crm_writes_it(value, quoted):
    """CRMs take off the prefix 00 and the 0 in brackets."""
    assert clean(f"SMS {quoted} is taken", hide=[value]) in ("SMS *** is taken", "SMS +*** is taken")


@pytest.mark.parametrize("value", ["0000123", "(0)", "00 (0) 12", "2026"])
def test_what_is_no_phone_number_masks_no_other_number(value):
    assert clean("line 123 of 12 in 20260", hide=[value]).startswith("line 123 of 12 in ")


def test_values_next_to_each_other_and_within_each_other_are_masked():
    assert clean("AdaLovelace and Ada", hide=["Ada", "Lovelace", "AdaLovelace"]) == f"{MASK} and {MASK}"
    assert clean("abcabcd", hide=["abc", "bcd"]) == f"{MASK}{MASK}"


def test_only_so_many_patterns_are_kept_as_stand_in_a_text():
    re.purge()
    before = len(re._cache)
    for number in range(300):
        clean("the email address is malformed", hide=[f"{number}{'y' * 200_000}"])
    assert len(re._cache) - before < 10
