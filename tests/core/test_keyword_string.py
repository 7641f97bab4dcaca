"""Connection strings of keywords, read as by libpq."""

import re

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from crm_sync.core.keyword_string import is_keyword_string, pairs_of

PASSWORD = "hunter2"
NAMES = ("host", "user", "password", "dbname")
PIECES = st.sampled_from([*NAMES, "=", " ", "\t", "\n", "'", "\\", "a", "b"])


@given(st.lists(PIECES, max_size=20).map("".join))
def test_it_is_read_as_libpq_reads_it(text):
    try:
        expected = {name: value for name, value in conninfo_to_dict(text).items() if value}
    except psycopg.ProgrammingError:
        expected = None
    try:
        found = pairs_of(text)
    except ValueError:
        found = None
    if expected is None and found is not None:
        # libpq refuses a name that it does not know, also one with an empty value, which is left out here.
        assert not {*re.findall(r"([^\s=]+)\s*=", text)} <= {*NAMES}
    else:
        assert found == expected


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_password_is_read(password):
    assert pairs_of(make_conninfo(host="one", password=password)) == {"host": "one", "password": password}


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("host=one", True),
        ("password = x://y", True),
        ("postgresql://one?sslmode=require", False),
        ("mysql://one", False),
        ("shop", False),
    ],
)
def test_a_url_is_none(text, is_one):
    assert is_keyword_string(text) is is_one


@pytest.mark.parametrize("text", [f"password='{PASSWORD}", f"host=one {PASSWORD}", f"={PASSWORD}", f"password='{PASSWORD}\0'"])
def test_what_is_wrong_is_said_without_anything_of_it(text):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (its words are not libpq's)
        pairs_of(text)
    assert PASSWORD not in str(refused.value)
