"""The model of the protocol: correct configurations hold, and a removed rule is noticed."""

import pytest

from tests.model.configurations import CONFIGURATIONS, LOST, STALE, STRANDED, Configuration
from tests.model.spin import MODEL, NARROW, WIDE, ModelError, Result, check, missing_tools, read, with_wide_hash
from tests.tiers import slow

SMALL = [one for one in CONFIGURATIONS if not one.large]
SOUND = """
State-vector 100 byte, depth reached 120, errors: 0
     4711 states, stored
pan: elapsed time 0.12 seconds
"""


@slow
@pytest.mark.parametrize("configuration", SMALL, ids=lambda one: one.name.replace(" ", "-"))
def test_what_has_to_hold_holds_and_what_is_broken_is_found(configuration: Configuration):
    if (missing := missing_tools()) is not None:
        pytest.skip(missing)
    result = check(configuration)
    right, words = result.verdict(configuration.fault)
    assert right, f"{words}\n{result.trail}"


@slow
def test_a_fault_where_none_may_be_is_told_with_its_last_steps():
    if (missing := missing_tools()) is not None:
        pytest.skip(missing)
    result = check(Configuration("wrong", "APPLICATIONS=1 BROKEN_SILENT_FLIP"))
    assert result.verdict(None) == (False, f"FOUND: {STRANDED}")
    assert "proc" in result.trail


@slow
def test_no_state_is_taken_for_another():
    if (missing := missing_tools()) is not None:
        pytest.skip(missing)
    one_flip = Configuration("two workers, one flip", "APPLICATIONS=1")
    assert check(one_flip).states == check(one_flip, kept="-DNOFAIR").states


def test_a_verifier_gets_the_wide_hash_once():
    assert with_wide_hash(f"if (ssize <= 32)\n{{ {NARROW}") == f"if (ssize <= 32)\n{{ {WIDE}"


@pytest.mark.parametrize("verifier", ["", NARROW * 2])
def test_a_verifier_that_chooses_its_hash_in_another_way_is_an_error(verifier):
    with pytest.raises(ModelError, match="this version of Spin chooses its hash in another way"):
        with_wide_hash(verifier)


def test_every_rule_that_can_be_taken_out_is_taken_out_in_a_configuration():
    text = MODEL.read_text()
    switches = {word.strip("()") for word in text.replace("defined(", " ").split() if word.startswith("BROKEN_")} - {"BROKEN_..."}
    used = {switch for one in CONFIGURATIONS for switch in one.switches.split() if switch.startswith("BROKEN_")}
    assert switches == used


def test_names_are_told_apart():
    assert len({one.name for one in CONFIGURATIONS}) == len(CONFIGURATIONS)


def test_a_search_that_saw_all_and_found_nothing_holds():
    result = read(SOUND)
    assert (result.states, result.seconds) == (4711, 0.12)
    assert result.verdict(None) == (True, "holds")
    assert result.verdict(STALE) == (False, f"NOT FOUND: {STALE}")


@pytest.mark.parametrize(
    ("violated", "fault"),
    [
        ("assertion violated  (newest[0]==version[0])", LOST),
        ("assertion violated  ((sync[0]!=9)||(at_crm[0]==version[0]))", STALE),
        ("assertion violated  (claim_by[0]==255)", STRANDED),
    ],
)
def test_a_fault_is_named_by_the_assertion_that_it_violates(violated, fault):
    result = read(f"pan:1: {violated} (at depth 30)\n" + SOUND.replace("errors: 0", "errors: 1"))
    assert result.verdict(fault) == (True, f"found: {fault}")
    assert result.verdict(None) == (False, f"FOUND: {fault}")
    assert result.verdict("another")[0] is False


@pytest.mark.parametrize("said", ["error: max search depth too small", "Warning: Search not completed"])
def test_a_search_that_did_not_see_all_does_not_hold(said):
    assert read(said + SOUND).verdict(None)[0] is False


def test_what_is_no_result_is_an_error():
    with pytest.raises(ModelError, match="gave no result"):
        read("Segmentation fault")


def test_what_takes_too_long_is_not_taken_for_sound():
    assert Result(0, 1.0, None, "it takes over 1 s").verdict(None) == (False, "NOT FINISHED: it takes over 1 s")
