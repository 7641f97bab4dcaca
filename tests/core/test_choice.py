import pytest

from crm_sync.core.choice import NO_CODE, UnknownCodeError, choose, split
from crm_sync.core.codes import Code


def test_codes_come_one_by_one_or_with_commas_or_with_the_reason_as_in_a_row():
    assert split(["TIMEOUT, LOCKED", "REJECTED: the CRM refused it, alas", " ", ","]) == ["TIMEOUT", "LOCKED", "REJECTED"]


@pytest.mark.parametrize("written", ["RATE_LIMITED", "rate_limited", "rate-limited", "Rate Limited"])
def test_a_code_is_known_however_it_is_written(written):
    assert choose([written], []) == ["RATE_LIMITED"]


def test_what_rows_have_is_chosen_as_it_stands_there_in_every_spelling():
    assert choose(["rate_limited"], ["Rate-Limited", "RATE_LIMITED", "TIMEOUT"]) == ["Rate-Limited", "RATE_LIMITED"]


def test_a_code_of_another_program_is_as_good_as_ours():
    assert choose(["429"], ["429"]) == ["429"]


def test_reasons_without_a_code_have_a_name():
    assert choose(["no_code"], []) == [NO_CODE]


def test_each_is_chosen_once_and_none_means_none():
    assert choose(["TIMEOUT", "timeout"], ["TIMEOUT"]) == ["TIMEOUT"]
    assert choose([], ["TIMEOUT"]) == []


def test_an_unknown_one_names_those_that_there_are_and_the_nearest_first():
    with pytest.raises(UnknownCodeError) as caught:
        choose(["RATELIMITED"], ["LEGACY_9"])
    error = caught.value
    assert (error.asked, error.known[0], error.near) == ("RATELIMITED", "RATE_LIMITED", 1)
    assert set(error.known) == {*Code, NO_CODE, "LEGACY_9"}
    assert len(error.known) == len(set(error.known))
