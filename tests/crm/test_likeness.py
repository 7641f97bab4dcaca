"""A value just delivered is never found to differ, whatever its kind and the type of the field; a changed value is."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some

from crm_sync.core.outcome import Contact
from crm_sync.core.remote_schema import RemoteField
from crm_sync.core.values import Kind, Shape, writer
from crm_sync.crm.brevo import likeness as brevo_likeness
from crm_sync.crm.brevo import schema as brevo_schema
from crm_sync.crm.hubspot import likeness as hubspot_likeness
from crm_sync.crm.hubspot import schema as hubspot_schema
from crm_sync.crm.mautic import likeness as mautic_likeness
from crm_sync.crm.mautic import schema as mautic_schema
from crm_sync.crm.values import BREVO, HUBSPOT, MAUTIC
from crm_sync.errors import UnsendableError
from crm_sync.sandbox.brevo.account import BrevoAccount
from crm_sync.sandbox.brevo.errors import BrevoError
from crm_sync.sandbox.hubspot.account import HubSpotAccount
from crm_sync.sandbox.hubspot.errors import HubSpotError
from crm_sync.sandbox.mautic.account import ItemError, MauticAccount
from crm_sync.sandbox.mautic.showing import details, shown_fields

EMAIL = "ada@example.com"
OPTIONS = ("sad", "happy", "so-so", "7")
FORMS = {"hubspot": HUBSPOT, "brevo": BREVO, "mautic": MAUTIC}
TYPES = {
    "hubspot": ("string", "number", "date", "datetime", "bool", "enumeration"),
    "brevo": ("text", "float", "boolean", "date", "multiple-choice", "category"),
    "mautic": ("text", "number", "boolean", "date", "datetime", "time", "tel", "url", "select", "multiselect"),
}
TAKES = {"hubspot": hubspot_schema._TAKES, "brevo": brevo_schema._TAKES, "mautic": mautic_schema._TAKES}


def kept(crm, kind, value):
    """What the sandbox of a CRM shows for a value that it was sent, through JSON; and the field from its schema."""
    sent = json.loads(json.dumps(value))
    match crm:
        case "hubspot":
            account = HubSpotAccount()
            account.define("field", kind, OPTIONS if kind == "enumeration" else ())
            held = account.apply(account.plan(None, {"email": EMAIL, "field": sent}, {})).value("field")
            field = RemoteField("field", kind)
        case "brevo":
            account = BrevoAccount()
            account.attributes["FIELD"] = kind
            account.options["FIELD"] = [*OPTIONS]
            account.takes_labels = True
            held = account.save({"email": EMAIL, "attributes": {"FIELD": sent}})[0].attributes.get("FIELD")
            [shown] = [one for one in account.shown_attributes() if one["name"] == "FIELD"]
            field = brevo_schema._field(shown)
        case _:
            account = MauticAccount()
            account.fields["field"] = kind
            contact = account.create({"email": EMAIL, "field": sent})
            held = details(contact, account.fields)["fields"]["all"]["field"]
            [shown] = [one for one in shown_fields(account) if one["alias"] == "field"]
            field = mautic_schema._field(shown)
    return field, json.loads(json.dumps(held))


def same(crm, field, sent, held):
    match crm:
        case "hubspot":
            return hubspot_likeness.same(field, "field", sent, held)
        case "brevo":
            return brevo_likeness.same(field, "FIELD", sent, held)
    return mautic_likeness.same(field, sent, held)


def is_sent(value):
    return bool(Contact(1, 1, 1, None, EMAIL, None, {"field": value}).filled)


TEXTS = (
    *(
        *OPTIONS,
        " sad ",
        "a;b",
        "sad;happy",
        "\r\n",
        "a\r\nb",
        "+49 176 1234567",
        "(030) 12 34",
        "112",
        "x.de",
        "http://x.de/?a=1",
    ),
    *(
        "true",
        "false",
        "1",
        "0",
        "2026-01-02",
        "2026-01-02T03:04:05Z",
        "2026-01-02T00:00:00Z",
        "1767322800000",
        "03:04",
        "03:04:05",
    ),
    *("1e5", "1.50", "007", "-7", "nan", "inf"),
)
# Each kind as Postgres returns it.
MOMENTS = some.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)).map(lambda at: at.isoformat())  # noqa: DTZ001
VALUES = {
    Kind.TEXT: some.sampled_from(TEXTS) | some.text(max_size=20),
    Kind.BOOLEAN: some.booleans(),
    Kind.SMALL: some.integers(-(2**31), 2**31 - 1),
    Kind.BIG: some.integers(-(2**63), 2**63 - 1),
    Kind.NUMERIC: some.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30).map("{:f}".format),
    Kind.REAL: some.floats(width=32, allow_nan=False, allow_infinity=False),
    Kind.DOUBLE: some.floats(allow_nan=False, allow_infinity=False),
    Kind.DATE: some.dates().map(lambda day: day.isoformat()),
    Kind.MOMENT: MOMENTS,
    Kind.LOCAL_MOMENT: MOMENTS,
    Kind.JSON: some.recursive(
        some.none() | some.booleans() | some.integers() | some.text(max_size=8),
        lambda part: some.lists(part, max_size=3) | some.dictionaries(some.text(max_size=3), part, max_size=3),
        max_leaves=4,
    ).map(json.dumps),
    Kind.INTERVAL: some.just("P1DT2H"),
    Kind.OTHER: some.text(max_size=8),
}
LISTED = tuple(kind for kind in VALUES if kind not in (Kind.LOCAL_MOMENT, Kind.JSON))
LISTS = {"hubspot": ("enumeration", "string"), "brevo": ("multiple-choice",), "mautic": ("multiselect",)}


@pytest.mark.parametrize(("crm", "type_"), [(crm, type_) for crm, types in TYPES.items() for type_ in types])
@given(data=some.data())
def test_what_was_just_delivered_does_not_differ(crm, type_, data):
    takes = TAKES[crm].get(type_, frozenset(Kind))
    kinds = [kind for kind in VALUES if kind in takes]
    is_list = type_ in LISTS[crm] and data.draw(some.booleans(), "list") if kinds else True
    kind = data.draw(some.sampled_from(LISTED if is_list else kinds), "kind")
    drawn = some.lists(VALUES[kind], max_size=3) if is_list else VALUES[kind]
    form = writer(Shape(kind, is_list), FORMS[crm])
    value = data.draw(drawn, "value")
    try:
        sent = form(value) if form else value
        if not is_sent(sent):
            return
        field, held = kept(crm, type_, sent)
    except (UnsendableError, HubSpotError, BrevoError, ItemError):
        return  # refused: never delivered
    if held is None:
        return  # Mautic takes 0 and false for empty, as the row says, and Brevo ignores a value that is not an option
    assert same(crm, field, sent, held) is not False


CHANGED = [
    ("hubspot", "string", "Ada", "Eve"),
    ("hubspot", "string", "Ada", None),
    ("hubspot", "string", "7", "7.0"),
    ("hubspot", "number", "1.50", "1.51"),
    ("hubspot", "date", "2026-01-02", "2026-01-03"),
    ("hubspot", "datetime", "2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.679Z"),
    ("hubspot", "datetime", "2026-01-02T03:04:05.678Z", None),
    ("hubspot", "bool", "true", "false"),
    ("hubspot", "enumeration", "sad;happy", "sad"),
    ("brevo", "text", "Ada", "Eve"),
    ("brevo", "float", 1.5, 1.25),
    ("brevo", "boolean", False, True),
    ("brevo", "boolean", False, None),
    ("brevo", "date", "2026-01-02", "2026-02-01"),
    ("brevo", "multiple-choice", ["sad"], ["sad", "happy"]),
    ("brevo", "category", "sad", 2),
    ("mautic", "text", "Ada", "Eve"),
    ("mautic", "text", "Ada", None),
    ("mautic", "number", 7, 8.0),
    ("mautic", "boolean", 1, 0),
    ("mautic", "boolean", 1, None),
    ("mautic", "date", "2026-01-02", "2026-01-03"),
    ("mautic", "datetime", "2026-01-02 03:04:05", "2026-01-02T03:04:06+00:00"),
    ("mautic", "time", "03:04:05", "03:04"),
    ("mautic", "tel", "+49 176 1234567", "+49 176 1234568"),
    ("mautic", "url", "https://a.example", "https://b.example"),
    ("mautic", "multiselect", ["sad", "happy"], "sad"),
]
IN_ANOTHER_FORM = [
    ("hubspot", "number", "1e-07", "0.0000001"),
    ("hubspot", "number", "1.50", "1.5"),
    ("hubspot", "date", "2026-01-02", str(int(datetime(2026, 1, 2, tzinfo=UTC).timestamp() * 1000))),
    (
        "hubspot",
        "datetime",
        "2026-01-02T03:04:05.678Z",
        str(int(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp() * 1000) + 678),
    ),
    ("hubspot", "datetime", "2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05Z"),
    ("hubspot", "enumeration", "sad;happy", "happy;sad"),
    ("hubspot", "string", "a\r\nb ", "a\nb"),
    ("brevo", "category", "happy", 2),
    ("brevo", "category", 2, "happy"),
    ("brevo", "multiple-choice", ["sad", "happy"], ["happy", "sad"]),
    ("brevo", "date", "2026-01-02", "2026-01-02T00:00:00.000Z"),
    ("mautic", "number", 7, "7"),
    ("mautic", "boolean", 1, True),
    ("mautic", "boolean", 0, "0"),
    ("mautic", "datetime", "2026-01-02 03:04:05", "2026-01-02T03:04:05+00:00"),
    ("mautic", "time", "03:04:00", "03:04"),
    ("mautic", "tel", "(030) 123 45 67", "+49301234567"),
    ("mautic", "url", "a.example", "http://a.example"),
    ("mautic", "multiselect", ["sad", "happy"], "happy|sad"),
    ("mautic", "text", 1.5, "1.5"),
]


def field_of(crm, type_):
    shown = (
        {"enumeration": [{"value": number, "label": label} for number, label in enumerate(OPTIONS, 1)]} if crm == "brevo" else {}
    )
    return RemoteField("field", type_, shown=shown)


@pytest.mark.parametrize(("crm", "type_", "sent", "held"), CHANGED)
def test_what_was_changed_differs(crm, type_, sent, held):
    assert same(crm, field_of(crm, type_), sent, held) is False


@pytest.mark.parametrize(("crm", "type_", "sent", "held"), IN_ANOTHER_FORM)
def test_what_is_kept_in_another_form_does_not(crm, type_, sent, held):
    assert same(crm, field_of(crm, type_), sent, held) is True


@pytest.mark.parametrize(
    ("sent", "held", "alike"),
    [
        ("+49 176 1234567", "+491761234567", True),
        ("0049 176 1234567", "491761234567", True),
        ("0176 1234567", "+491761234567", True),
        ("0176 1234567", "+491761234568", False),
        ("0176 1234567", "+4930 1234567", False),
        ("112", "+49112", False),
        ("call me", "call me", True),
        ("call me", None, False),
    ],
)
def test_a_phone_number_is_its_digits_with_or_without_the_country(sent, held, alike):
    assert hubspot_likeness.same(None, "phone", sent, held) is alike
    assert hubspot_likeness.same(RemoteField("tel", "string", shown={"fieldType": "phonenumber"}), "tel", sent, held) is alike
    assert brevo_likeness.same(None, "SMS", sent, held) is alike


def test_a_number_that_mautic_rounds_is_the_same_to_its_decimals():
    def rounded(scale):
        return RemoteField("field", "number", shown={"properties": {"scale": scale}})

    assert (
        mautic_likeness.same(
            rounded(0),
            1.5,
            2,
        )
        is True
    )
    assert mautic_likeness.same(rounded("0"), 1.5, 1) is True
    assert mautic_likeness.same(rounded(2), 1.5, 1) is False
    assert mautic_likeness.same(rounded(0), 1.5, None) is False


def test_what_a_crm_does_not_keep_as_it_is_sent_is_not_compared():
    assert brevo_likeness.same(RemoteField("FIELD", "float"), "FIELD", "9007199254740993", None) is None
    assert mautic_likeness.same(RemoteField("field", "text"), {"a": 1}, None) is None
    assert mautic_likeness.same(RemoteField("field", "multiselect"), [{"a": 1}], None) is None
