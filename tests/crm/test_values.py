"""What each CRM takes each kind of value as. What Postgres gives is in tests/table/test_values.py."""

import json
import struct
from decimal import Decimal
from math import inf, nan

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as some

from crm_sync.core.documents import DEEPEST, document, document_text
from crm_sync.core.numbers import MOST_EXACT, exact, number_text, real
from crm_sync.core.values import PLAIN, Kind, Shape, moment, writer
from crm_sync.crm.values import BREVO, HUBSPOT, MAUTIC, N8N
from crm_sync.errors import UnsendableError

ALL = {"hubspot": HUBSPOT, "brevo": BREVO, "mautic": MAUTIC, "n8n": N8N}


def written(forms, kind, value, *, is_list=False, packed=False):
    form = writer(Shape(kind, is_list, packed), forms)
    return form(value) if form else value


def test_what_postgres_gives_exactly_costs_nothing():
    """Where nothing is done per value, nothing is called."""
    for forms in (PLAIN, BREVO):
        assert writer(Shape(Kind.BOOLEAN), forms) is writer(Shape(Kind.SMALL), forms) is None
    assert writer(Shape(Kind.TEXT), PLAIN) is None
    assert writer(Shape(Kind.NUMERIC), HUBSPOT) is not None, "NaN is looked for"


# Numbers.


@given(some.decimals(allow_nan=False, allow_infinity=False))
@example(Decimal("1.50"))
@example(Decimal("-0.00"))
@example(Decimal("1E-400"))
@example(Decimal(9007199254740993))
@example(Decimal("123456789012345.6"))
@example(Decimal("100000000000000.5"))
def test_a_number_is_read_back_as_it_is_by_who_reads_doubles(number):
    text = f"{number:f}"
    sent = json.loads(json.dumps(exact(text)), parse_int=float)  # as JavaScript and PHP read it
    assert Decimal(repr(sent) if isinstance(sent, float) else sent) == number


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("1.50", 1.5),
        ("100", 100),
        ("100.00", 100),
        ("-7", -7),
        ("0.000", 0),
        ("0.0000001", 1e-07),
        ("123456789012345", 123456789012345),
        (str(MOST_EXACT), MOST_EXACT),
        (str(MOST_EXACT + 1), str(MOST_EXACT + 1)),
        (str(-MOST_EXACT - 1), str(-MOST_EXACT - 1)),
        ("12345678901234567891", "12345678901234567891"),
        ("0.123456789012345", 0.123456789012345),
        ("0.1234567890123456", "0.1234567890123456"),
        ("1" + "0" * 5000, "1" + "0" * 5000),
        ("1e9999999999999999999", "1e9999999999999999999"),
        ("-1E-9999999999999999999", "-1E-9999999999999999999"),
    ],
)
def test_a_number_that_no_double_holds_is_sent_as_its_text(text, sent):
    assert (exact(text), type(exact(text))) == (sent, type(sent))


@given(some.floats(width=32, allow_nan=False, allow_infinity=False))
@example(struct.unpack("f", struct.pack("f", 4.7))[0])
@example(3.4028234663852886e38)
@example(1.401298464324817e-45)
def test_a_real_is_the_shortest_number_that_is_read_back_as_it(value):
    sent = real(value)
    assert struct.pack("f", sent) == struct.pack("f", value + 0.0)
    assert len(repr(sent)) <= len(repr(value))


@given(some.floats(allow_nan=False, allow_infinity=False))
@example(1e-7)
@example(1e300)
def test_a_float_as_text_is_read_back_as_it(value):
    assert float(number_text(value)) == value


@pytest.mark.parametrize("crm", ALL)
@pytest.mark.parametrize("kind", [Kind.REAL, Kind.DOUBLE])
@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_what_is_no_number_is_refused_by_all(crm, kind, value):
    for given_, is_list in ((value, False), ([1.0, value], True)):
        with pytest.raises(UnsendableError, match="NaN"):
            written(ALL[crm], kind, given_, is_list=is_list)


@pytest.mark.parametrize("crm", ALL)
def test_no_number_is_a_negative_zero(crm):
    assert str(written(ALL[crm], Kind.DOUBLE, -0.0))[0] != "-"
    assert str(written(ALL[crm], Kind.REAL, -0.0))[0] != "-"


# Moments.


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05.000Z"),
        ("2026-01-02T03:04:05.6", "2026-01-02T03:04:05.600Z"),
        ("2026-01-02T03:04:05.678901", "2026-01-02T03:04:05.678Z"),
        ("2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05.000Z"),
        ("2026-01-02T03:04:05.678-08:00", "2026-01-02T11:04:05.678Z"),
        ("1890-01-02T03:04:05+00:53:28", "1890-01-02T02:10:37.000Z"),
    ],
)
def test_a_moment_is_iso_8601_in_utc(text, sent):
    assert moment(text) == sent


@pytest.mark.parametrize("kind", [Kind.DATE, Kind.MOMENT])
@pytest.mark.parametrize("crm", ALL)
@pytest.mark.parametrize("text", ["infinity", "-infinity", "0044-03-15 BC", "0044-03-15T00:00:00 BC", "10000-01-01"])
def test_a_date_that_nobody_knows_is_refused_by_all(crm, kind, text):
    with pytest.raises(UnsendableError, match="date"):
        written(ALL[crm], kind, text)
    with pytest.raises(UnsendableError, match="date"):
        written(ALL[crm], kind, json.dumps([None, text]), is_list=True, packed=True)


def test_a_moment_before_the_year_1_by_its_offset_is_refused():
    with pytest.raises(UnsendableError, match="date"):
        moment("0001-01-01T00:00:00+14:00")


# Documents.


def test_numbers_in_a_document_stay_exact():
    said = document('{"a": 1.50, "b": [12345678901234567891, 9007199254740992], "c": {"d": 0.1234567890123456789}, "e": 1E+2}')
    assert said == {"a": 1.5, "b": ["12345678901234567891", 9007199254740992], "c": {"d": "0.1234567890123456789"}, "e": 100}


@pytest.mark.parametrize("levels", [DEEPEST + 1, 100_000])
def test_a_document_that_is_nested_too_deeply_is_refused(levels):
    assert document("[" * DEEPEST + "]" * DEEPEST) is not None
    with pytest.raises(UnsendableError, match="nested"):
        document("[" * levels + "]" * levels)


def test_half_a_character_is_refused_and_a_whole_one_is_not():
    assert document(r'"\ud83d\ude00"') == "😀"
    with pytest.raises(UnsendableError, match="half a character"):
        document(r'{"a": "\ud83d"}')


@given(some.recursive(some.none() | some.booleans() | some.integers() | some.text(), some.lists, max_leaves=9))
def test_a_document_as_text_says_what_it_said(value):
    assume(isinstance(value, list) and value)
    assert document_text(f" {json.dumps(value)} ") == json.dumps(value)


@pytest.mark.parametrize(("text", "sent"), [("null", ""), ("[ ]", ""), ("{}", "{}")])
def test_what_is_empty_in_json_is_sent_as_no_text(text, sent):
    assert document_text(text) == sent


SINGLE = {
    "true": (Kind.BOOLEAN, True),
    "false": (Kind.BOOLEAN, False),
    "7": (Kind.NUMERIC, "7"),
    "-1.50": (Kind.NUMERIC, "-1.50"),
    "1.5E+2": (Kind.NUMERIC, "150"),
    "-0": (Kind.NUMERIC, "0"),
    "1e9999": (Kind.NUMERIC, "1e9999"),
    "1e9999999999999999999": (Kind.NUMERIC, "1e9999999999999999999"),
    "12345678901234567891": (Kind.NUMERIC, "12345678901234567891"),
    '" Ada "': (Kind.TEXT, " Ada "),
    r'"\ud83d\ude00 \u00e9"': (Kind.TEXT, "😀 é"),
    '"7"': (Kind.TEXT, "7"),
    '""': (Kind.TEXT, ""),
}


@pytest.mark.parametrize("crm", ALL)
@pytest.mark.parametrize("text", SINGLE)
def test_a_single_value_in_json_is_what_the_same_value_of_sql_is(crm, text):
    sent = written(ALL[crm], Kind.JSON, f"\n{text} ")
    same = written(ALL[crm], *SINGLE[text])
    assert (sent, isinstance(sent, str)) == (same, isinstance(same, str))
    assert isinstance(sent, bool) == isinstance(same, bool)


@pytest.mark.parametrize("crm", ALL)
def test_half_a_character_in_a_single_text_is_refused_by_all(crm):
    with pytest.raises(UnsendableError, match="half a character"):
        written(ALL[crm], Kind.JSON, r'"\ud83d"')


NUL = r'"Ada\u0000"'


@pytest.mark.parametrize("crm", ["hubspot", "brevo", "mautic"])
@pytest.mark.parametrize("is_list", [False, True])
def test_a_nul_character_in_json_is_refused_where_it_would_not_be_stored(crm, is_list):
    with pytest.raises(UnsendableError, match="NUL character"):
        written(ALL[crm], Kind.JSON, [NUL] if is_list else NUL, is_list=is_list)


def test_n8n_gets_a_nul_character_as_any_other():
    assert written(N8N, Kind.JSON, NUL) == "Ada\0"
    assert written(N8N, Kind.JSON, f'{{"a": {NUL}}}') == {"a": "Ada\0"}


@pytest.mark.parametrize("text", [f'{{"a": [{NUL}]}}', f"{{{NUL}: 1}}"])
def test_in_a_document_a_nul_character_is_refused_if_it_goes_out_as_one(text):
    with pytest.raises(UnsendableError, match="NUL character"):
        written(MAUTIC, Kind.JSON, text)
    assert written(HUBSPOT, Kind.JSON, text) == written(BREVO, Kind.JSON, text) == text


@pytest.mark.parametrize("crm", ALL)
def test_a_backslash_before_the_letters_of_a_nul_character_is_none(crm):
    assert written(ALL[crm], Kind.JSON, r'"\\u0000"') == r"\u0000"
    assert written(ALL[crm], Kind.JSON, r'{"a": "\\u0000"}')


@pytest.mark.parametrize("crm", ALL)
def test_a_byte_order_mark_is_no_part_of_a_text(crm):
    assert written(ALL[crm], Kind.TEXT, "\ufeffAda") == "Ada"
    assert written(ALL[crm], Kind.JSON, '"\ufeffAda"') == "Ada"
    assert written(ALL[crm], Kind.TEXT, ["\ufeff", "\ufeffAda"], is_list=True) in ("Ada", ["Ada"])


@pytest.mark.parametrize("crm", ALL)
@pytest.mark.parametrize("text", ["infinity", "-infinity"])
def test_an_interval_without_end_is_refused_by_all(crm, text):
    with pytest.raises(UnsendableError, match="infinite interval"):
        written(ALL[crm], Kind.INTERVAL, text)
    with pytest.raises(UnsendableError, match="infinite interval"):
        written(ALL[crm], Kind.INTERVAL, json.dumps(["P1D", text]), is_list=True, packed=True)
    assert written(ALL[crm], Kind.INTERVAL, "P1D") == "P1D"


# Lists.


@pytest.mark.parametrize(
    ("crm", "sent"),
    [("hubspot", "a;b"), ("brevo", ["a", "b"]), ("mautic", ["a", "b"]), ("n8n", [" a", "b"])],
)
def test_a_list_has_neither_null_nor_blanks_in_it(crm, sent):
    assert written(ALL[crm], Kind.TEXT, [" a", None, "", "b", " "], is_list=True) == sent


@pytest.mark.parametrize(
    ("crm", "sent"),
    [("hubspot", "1;2;3"), ("brevo", ["1", "2", "3"]), ("mautic", [1, 2, 3]), ("n8n", [[1, 2], [3]])],
)
def test_a_list_of_lists_is_flat_where_it_is_of_options(crm, sent):
    assert written(ALL[crm], Kind.SMALL, [[1, 2], [3, None]], is_list=True) == sent


@pytest.mark.parametrize("crm", ALL)
@pytest.mark.parametrize("value", [[], [None], [[None], []], ["", " "]])
def test_a_list_of_nothing_is_empty(crm, value):
    assert written(ALL[crm], Kind.TEXT, value, is_list=True) == []


def test_an_option_with_a_semicolon_is_refused_by_hubspot_alone():
    with pytest.raises(UnsendableError, match="semicolon"):
        written(HUBSPOT, Kind.TEXT, ["a", "b;c"], is_list=True)
    with pytest.raises(UnsendableError, match="semicolon"):
        written(HUBSPOT, Kind.JSON, ['{"a": ";"}'], is_list=True)
    for crm in ("brevo", "mautic", "n8n"):
        assert written(ALL[crm], Kind.TEXT, ["b;c"], is_list=True) == ["b;c"]


@pytest.mark.parametrize(
    ("kind", "value", "is_list"),
    [
        (Kind.TEXT, ["a", "b|c"], True),
        (Kind.TEXT, ["|"], True),
        (Kind.TEXT, [["a"], ["b|"]], True),
        (Kind.JSON, '["a", "b|c"]', False),
        (Kind.JSON, ['"b|c"'], True),
    ],
)
def test_an_option_with_a_vertical_bar_is_refused_by_mautic_alone(kind, value, is_list):
    with pytest.raises(UnsendableError, match="an element of the list has a vertical bar, which Mautic takes for the end"):
        written(MAUTIC, kind, value, is_list=is_list)
    for crm in ("hubspot", "brevo", "n8n"):
        assert written(ALL[crm], kind, value, is_list=is_list)
    assert written(MAUTIC, Kind.TEXT, "b|c") == "b|c"


@pytest.mark.parametrize("kind", Kind)
def test_to_hubspot_all_is_text(kind):
    values = {
        Kind.BOOLEAN: True,
        Kind.SMALL: 7,
        Kind.BIG: 7,
        Kind.NUMERIC: "7",
        Kind.REAL: 7.0,
        Kind.DOUBLE: 7.5,
        Kind.DATE: "2026-01-02",
        Kind.MOMENT: "2026-01-02T03:04:05",
        Kind.LOCAL_MOMENT: "2026-01-02T03:04:05",
    }
    value = values.get(kind, "[7]")
    assert isinstance(written(HUBSPOT, kind, value), str)
    assert isinstance(written(HUBSPOT, kind, [value], is_list=True), str)
