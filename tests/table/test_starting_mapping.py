"""The first mapping of a table: whatever its columns are called, it is valid TOML and SQL."""

import tomllib

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.crm.registry import OWN
from crm_sync.postgres.statements import quote
from crm_sync.table.starting_mapping import Known, starting_mapping

PLAIN = ("email", "first_name", "name")
FIELDS = {name: crm.default_fields for name, crm in OWN.items()}


def made(columns, crm="hubspot"):
    """Without quotes are the names of which a test says so."""
    known = {name: Known(name if name in PLAIN else quote(name), is_text=True) for name in ("email", *columns)}
    text = starting_mapping("t", "email", known, {crm: FIELDS[crm]})
    return tomllib.loads(text)[crm], text


@pytest.mark.parametrize("columns", [["first_name"], ["firstName"], ["FIRSTNAME"], ["given_name"], ["forename"]])
def test_a_column_is_known_by_what_it_is_usually_called(columns):
    assert made(columns)[0] == {"email": "email", "firstname": "first_name" if columns == ["first_name"] else quote(columns[0])}


def test_the_usual_name_outweighs_those_like_it():
    assert made(["surname", "lastName", "last_name"])[0]["lastname"] == '"last_name"'


def test_what_is_no_text_is_not_guessed_at():
    known = {name: Known(quote(name), is_text=False) for name in ("email", "zipCode", "zip")}
    text = starting_mapping("t", "email", known, {"hubspot": FIELDS["hubspot"]})
    assert tomllib.loads(text)["hubspot"] == {"email": '"email"', "zip": '"zip"'}


def test_a_name_without_quotes_is_written_as_most_people_write_it():
    assert 'email = "email"\nfirstname = "first_name"\n' in made(["first_name"])[1]


def test_a_column_whose_name_is_in_that_of_another_is_listed_as_unsent():
    assert made(["first_name", "name", "first"])[1].endswith("# Not sent:\n# first\n")


def test_one_column_with_the_whole_name_is_split(url):
    section, _ = made(["name"])
    with psycopg.connect(url) as connection:
        for name, parts in {
            "Ada Lovelace": ("Ada", "Lovelace"),
            "Ada": ("Ada", None),
            "Ada King Lovelace": ("Ada", "Lovelace"),
        }.items():
            select = f"SELECT {section['firstname']}, {section['lastname']} FROM (SELECT %s::text AS name) AS row"
            assert connection.execute(select.encode(), [name]).fetchone() == parts


def test_columns_of_crm_sync_are_not_listed_as_unsent():
    _, text = made(["first_name", "brevo_sync_status", "brevo_contact_id", "n8n_workflow_id", "retry_count", "notes"])
    assert text.endswith("# Not sent:\n# notes\n")


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20), unique=True))
def test_it_is_toml_for_every_name_of_a_column(columns):
    for crm in OWN:
        section, _ = made([*columns, "firstname'\n"], crm)
        assert section["email"] == "email"
