"""How a table is changed under load: when it is tried again, what is reported, and when it is given up."""

import pytest

from crm_sync.errors import DatabaseTroubleError
from crm_sync.postgres.lock_patience import PAUSE_S, LockPatience

HOLDERS = [{"pid": 4711, "kind": "client backend", "age_s": 192.0}]
WHO = "It is in use by client backend (pid 4711) for 3 min"
REFUSED = RuntimeError("canceling statement due to lock timeout")


def patience(patience_s=60.0):
    return LockPatience("the contacts table", patience_s, now=100.0, refusal="nothing was changed: {why}. Try again")


def test_a_person_is_told_once_on_whom_it_waits():
    asking = patience()
    first = asking.refused(REFUSED, HOLDERS, now=100.1, chance=0.5)
    assert first.told == f"Waiting until the contacts table is free, for 1 min at most. {WHO}."
    assert asking.refused(REFUSED, HOLDERS, now=130.0, chance=0.5).told is None
    assert asking.refused(REFUSED, [], now=160.0, chance=0.5).told is None


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5)])
def test_those_who_waited_have_time_that_is_not_the_same_for_all(chance, share):
    assert patience().refused(REFUSED, HOLDERS, now=100.1, chance=chance).pause_s == PAUSE_S * share


def test_at_the_end_of_patience_it_is_given_up_with_who_holds_the_table():
    asking = patience()
    asking.refused(REFUSED, HOLDERS, now=160.0, chance=0.5)
    with pytest.raises(DatabaseTroubleError) as caught:
        asking.refused(REFUSED, HOLDERS, now=160.1, chance=0.5)
    assert str(caught.value) == (f"nothing was changed: the contacts table could not be locked within 1 min. {WHO}. Try again")
    assert caught.value.__cause__ is REFUSED


def test_who_has_no_patience_is_told_at_the_first_refusal():
    with pytest.raises(DatabaseTroubleError, match="It was in use a moment ago"):
        patience(0.0).refused(REFUSED, [], now=100.1, chance=0.5)
