"""Which codes the user means, who may spell them in any way."""

import click
import pytest

from crm_sync.commands.retry import meant_codes, named_codes
from crm_sync.core.codes import NO_CODE, Code


def test_codes_come_one_by_one_or_with_commas_or_with_the_reason_as_in_a_row():
    assert named_codes(["TIMEOUT, LOCKED", "REJECTED: the CRM refused it, alas", " ", ","]) == ["TIMEOUT", "LOCKED", "REJECTED"]


@pytest.mark.parametrize("written", ["RATE_LIMITED", "rate_limited", "rate-limited", "Rate Limited"])
def test_a_code_is_known_however_it_is_written(written):
    assert meant_codes([written], []) == ["RATE_LIMITED"]


def test_what_rows_have_is_chosen_as_it_stands_there_in_every_spelling():
    assert meant_codes(["rate_limited"], ["Rate-Limited", "RATE_LIMITED", "TIMEOUT"]) == ["Rate-Limited", "RATE_LIMITED"]


def test_a_code_of_another_program_is_as_good_as_ours():
    assert meant_codes(["429"], ["429"]) == ["429"]


def test_reasons_without_a_code_have_a_name():
    assert meant_codes(["no_code"], []) == [NO_CODE]


def test_each_is_chosen_once_and_none_means_none():
    assert meant_codes(["TIMEOUT", "timeout"], ["TIMEOUT"]) == ["TIMEOUT"]
    assert meant_codes([], ["TIMEOUT"]) == []


def test_an_unknown_one_names_those_that_there_are_and_the_nearest_first():
    with pytest.raises(click.BadParameter) as caught:
        meant_codes(["RATELIMITED"], ["LEGACY_9"])
    said, _, rest = caught.value.message.partition(" Known: ")
    known = rest.split(", ")
    assert said == "RATELIMITED is not a code of crm-sync, and no contact has it; similar: RATE_LIMITED."
    assert known[0] == "RATE_LIMITED"
    assert set(known) == {*Code, NO_CODE, "LEGACY_9"}
    assert len(known) == len(set(known))


def test_what_is_like_no_code_has_no_nearest():
    with pytest.raises(
        click.BadParameter, match=r"^xyz is not a code of crm-sync, and no contact has it\. Known: ALREADY_THERE, "
    ):
        meant_codes(["xyz"], [])
