"""What Mautic did not store: clear cases are reported, and nothing else is."""

from decimal import Decimal

import pytest

from crm_sync.crm.mautic.storage import not_stored

FIELDS = {
    "id": 7,
    "email": "ada@example.com",
    "firstname": None,
    "score": None,
    "zipcode": None,
    "newsletter": None,
    "company": None,
}


def record(**stored):
    return {"id": 7, "fields": {"core": {}, "all": {**FIELDS, **stored}}}


@pytest.mark.parametrize("zero", [0, 0.0, False, "0", "0.00", 0.4, -0.9, Decimal("0.0"), Decimal(0)])
@pytest.mark.parametrize("kept", [7, "7", "7.00", 7.0, None, "", "-3"])
def test_a_zero_that_is_dropped_is_told(zero, kept):
    said = not_stored({"id": 7, "score": zero}, record(score=kept))
    assert said == "Mautic did not store score: it takes 0 and false for empty"


@pytest.mark.parametrize("zero", [0, 0.0, False, "0", 0.4, Decimal(0)])
@pytest.mark.parametrize("kept", [0, "0", "0.00", 0.0, False, "off"])
def test_a_zero_that_is_stored_is_not(zero, kept):
    assert not_stored({"score": zero}, record(score=kept)) is None


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("Ada ", "Ada"),
        ("Ada", "ADA"),
        ("Tom & Jerry", "Tom &amp; Jerry"),
        (7, "7"),
        (7, "7.00"),
        (7.4, 7),
        (7.6, "8"),
        (True, 1),
        (True, "1"),
        (True, "yes"),
        (1, True),
        (["a", "b"], "a|b"),
        ("2026-01-02T03:04:05.678Z", "2026-01-02 03:04:05"),
        ("2026-01-02", "2026-01-02"),
        ("DE", "Germany"),
        ("01701234567", "+491701234567"),
        ("https://a.example", "a.example"),
        (Decimal(12345678901234567891), "12345678901234567000"),
        (None, "Ada"),
        ("", "Ada"),
        ([], "a|b"),
        (None, None),
        ({"a": 1}, '{"a": 1}'),
    ],
)
def test_what_mautic_writes_in_its_own_way_is_no_alarm(sent, stored):
    assert not_stored({"firstname": sent}, record(firstname=stored)) is None


@pytest.mark.parametrize("value", ["Ada", 7, True, ["a"]])
def test_what_is_empty_after_all_is_told(value):
    assert not_stored({"firstname": value}, record()) == "Mautic did not store firstname"


def test_a_name_that_mautic_does_not_have_is_told_with_the_one_that_is_meant():
    said = not_stored({"Firstname": "Ada", "nonesuch": 1, "zipcode": 0, "score": 7}, record(score=7))
    assert said == (
        "Mautic has no field Firstname (but firstname), nonesuch: create it there, or correct the mapping; "
        "Mautic did not store zipcode: it takes 0 and false for empty"
    )


def test_what_is_no_field_is_not_looked_for():
    members = {"id": 7, "email": "ada@example.com", "tags": ["a"], "doNotContact": [1], "owner": 1, "points": 0, "company": "A"}
    assert not_stored({**members, "overwriteWithBlank": True}, record()) is None


@pytest.mark.parametrize(
    "answer",
    [{}, {"fields": None}, {"fields": []}, {"fields": {"core": {}}}, {"fields": {"all": []}}, {"fields": {"all": {"id": 7}}}],
)
def test_an_answer_that_does_not_show_the_fields_says_nothing_of_them(answer):
    assert not_stored({"firstname": "Ada", "nonesuch": 1}, answer) is None
