"""What the search says of what it does not find."""

import pytest

from crm_sync.errors import TooSlowError
from crm_sync.postgres.visiting import ReadOnly
from tests.console.test_pages import text_of
from tests.steps import insert

NOT_SEARCHED = "Names and phone numbers are not searched."
COMPLETE = "An address has to be complete"


@pytest.mark.parametrize("query", ["Ada%20Lovelace", "%2B49%2030%20901820", "030/901820"])
async def test_what_is_no_address_is_not_told_what_an_address_is(app, signed_in, query):
    await insert(app, "New")
    said = text_of((await signed_in.get(f"find?q={query}"))[1])
    assert (NOT_SEARCHED in said, COMPLETE in said) == (True, False)


async def test_what_may_be_one_is(app, signed_in):
    said = text_of((await signed_in.get("find?q=ada@"))[1])
    assert (NOT_SEARCHED in said, COMPLETE in said) == (False, True)


@pytest.mark.parametrize("query", ["", "%20", "%C2%A0"])
async def test_nothing_is_nothing(app, signed_in, query):
    status, page = await signed_in.get(f"find?q={query}")
    assert (status, "Nothing to look for" in text_of(page), "for “" in page) == (200, True, False)


async def test_no_page_of_the_search_names_an_option_of_a_command(app, signed_in):
    await app.execute("DROP INDEX IF EXISTS idx_contacts_email")
    for query in ("nobody@example.com", "nobody", "47110815"):
        assert "--" not in text_of((await signed_in.get(f"find?q={query}"))[1].partition("<main")[2])


async def test_an_address_of_blanks_is_none(app, signed_in):
    contact = await insert(app, "New", " ")
    assert "No address" in text_of((await signed_in.get(f"contacts/{contact}"))[1])


async def test_addresses_that_were_not_searched_are_not_said_to_be_nobodys(app, signed_in, monkeypatch):
    async def slow(*_arguments):
        raise TooSlowError("canceling statement due to statement timeout")

    await app.execute("DROP INDEX IF EXISTS idx_contacts_email")
    monkeypatch.setattr(ReadOnly, "fetch_within", slow)
    await insert(app, "New", "ada@example.com")
    said = text_of((await signed_in.get("find?q=ada@example.com"))[1])
    assert "No contacts for" not in said
    assert "A contact may still have this address." in said
    assert "CREATE INDEX CONCURRENTLY" in said


async def test_addresses_that_were_searched_are_said_to_be_nobodys(app, signed_in):
    await insert(app, "New", "ada@example.com")
    said = text_of((await signed_in.get("find?q=grace@example.com"))[1])
    assert "No contacts for" in said
