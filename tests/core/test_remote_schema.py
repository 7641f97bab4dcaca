"""The fields of a CRM compared with the mapping: what can never arrive is reported by name, type, and what the CRM has."""

import pytest

from crm_sync.core.remote_schema import MOST_SHOWN, RemoteField, RemoteSchema, SentField, told
from crm_sync.core.values import Kind, Shape

FIELDS = (
    RemoteField("score", "number", frozenset({Kind.SMALL, Kind.TEXT})),
    RemoteField("since", "date", frozenset({Kind.DATE})),
    RemoteField("seen", "datetime", frozenset({Kind.MOMENT})),
    RemoteField("mood", "enumeration", frozenset({Kind.TEXT, Kind.BOOLEAN}), frozenset({Kind.TEXT}), ("happy", "sad")),
    RemoteField("owner", "string", obstacle="is read-only"),
)
SCHEMA = RemoteSchema("HubSpot", "property", {field.name: field for field in FIELDS}, beside=frozenset({"email"}))


def sent(name, kind=Kind.TEXT, type_="text", labels=None, *, is_list=False):
    return SentField(name, type_, Shape(kind, is_list), labels)


def misfits(*all_sent, schema=SCHEMA):
    return told(schema.misfits(all_sent))


def test_what_fits_is_not_told():
    fitting = [
        sent("score", Kind.SMALL),
        sent("since", Kind.DATE),
        sent("seen", Kind.MOMENT),
        sent("mood", labels=("happy",)),
        sent("mood", labels=("sad", " "), is_list=True),
        sent("email"),
    ]
    assert SCHEMA.misfits(fitting) == []


def test_a_crm_that_takes_fields_of_all_names_has_each():
    schema = RemoteSchema("listmonk", "attribute", {"name": FIELDS[0]}, others=RemoteField("", "JSON value"))
    assert schema.misfits([sent("plan", Kind.JSON, "jsonb"), sent("Name")]) == []
    assert [misfit.name for misfit in schema.misfits([sent("name", Kind.DATE, "date")])] == ["name"]


def test_a_field_that_is_not_there_is_missing_and_one_in_other_letters_is_shown():
    [gone, other] = SCHEMA.misfits([sent("plan"), sent("Score")])
    assert gone.missing
    assert other.missing
    assert gone.words == "HubSpot has no property plan: create it there, or remove it from the mapping"
    assert other.words == "HubSpot has no property Score, but score: use that name in the mapping"


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (sent("owner"), "HubSpot's property owner is read-only: remove it from the mapping"),
        (sent("score", Kind.DATE, "date"), "score is a date in the mapping, and a number in HubSpot, which does not accept it"),
        (sent("score", Kind.DATE, "date"), r"cast it in the mapping, (...)::text, or change the property in HubSpot"),
        (sent("score", Kind.SMALL, "integer[]", is_list=True), "score is an integer[] in the mapping, and a number in HubSpot"),
        (sent("since", Kind.MOMENT, "timestamp with time zone"), "say which day is meant, ((...) AT TIME ZONE 'Europe/Berlin')"),
        (sent("seen", Kind.DATE, "date"), "say which moment is meant"),
        (
            sent("mood", type_="mood", labels=("happy", "angry")),
            "mood (mood) can be angry, which is not an option of the property",
        ),
        (sent("mood", type_="mood[]", labels=("angry",), is_list=True), "It has happy, sad: add what is missing there"),
        (sent("mood", Kind.BOOLEAN, "boolean"), "can be true, false, which is not an option"),
    ],
)
def test_what_can_never_arrive_is_told_with_its_type_what_the_crm_has_and_what_to_do(one, words):
    [misfit] = SCHEMA.misfits([one])
    assert words in misfit.words
    assert not misfit.missing


def test_a_name_is_compared_as_the_client_spells_it():
    brevo = RemoteSchema("Brevo", "attribute", {"FNAME": RemoteField("FNAME", "text")}, frozenset({"EXT_ID"}), str.upper)
    assert misfits(sent("fname"), sent("ext_id"), schema=brevo) == ""


def test_what_the_crm_says_is_cut_and_cleaned():
    options = tuple(f"\x1b[31moption {number}" for number in range(MOST_SHOWN + 3))
    field = RemoteField("mood", "enumeration", options=options)
    words = misfits(sent("mood", labels=("x",)), schema=RemoteSchema("HubSpot", "property", {"mood": field}))
    assert "and 3 others" in words
    assert "\x1b" not in words
