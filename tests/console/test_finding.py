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


async def grown(app, index=None):
    """A table that the planner takes for a large one."""
    await app.execute("DROP INDEX IF EXISTS idx_contacts_email")
    await app.execute(index or "SELECT 1")
    await app.execute("UPDATE pg_class SET reltuples = 2345678 WHERE relname = 'contacts'")


def reading_nothing(monkeypatch):
    async def read(*_arguments):
        raise AssertionError("the table was read unasked")

    monkeypatch.setattr(ReadOnly, "fetch_within", read)


async def test_a_large_table_is_read_for_an_address_only_if_somebody_asks_for_that(app, signed_in, monkeypatch):
    contact = await insert(app, "New", "ada@example.com")
    await grown(app)
    with monkeypatch.context() as patch:
        reading_nothing(patch)
        page = (await signed_in.get("find?q=ada@example.com"))[1]
    said = text_of(page)
    assert "No contacts for" not in said
    assert "A contact may still have this address." in said
    assert "about 2,345,678 contacts and was not read: an index finds no address." in said
    assert 'CREATE INDEX CONCURRENTLY ON public.contacts (lower("email"))' in said
    assert "Read all 2,345,678 contacts for it" in said
    assert '<input type="hidden" name="whole" value="yes">' in page
    async with signed_in.http.get(f"{signed_in.where}find?q=ada@example.com&whole=yes", allow_redirects=False) as answer:
        assert answer.headers["Location"].endswith(f"/contacts/{contact}")


@pytest.mark.parametrize("written", ["ada@example.com", " ADA@Example.com ", "Ada@Example.com"])
async def test_an_index_on_the_column_finds_an_address_in_lower_case_or_as_it_is_written(app, signed_in, monkeypatch, written):
    contact = await insert(app, "New", "Ada@Example.com" if written[0] == "A" else "ada@example.com")
    await grown(app, "CREATE INDEX ON contacts (email)")
    reading_nothing(monkeypatch)
    async with signed_in.http.get(f"{signed_in.where}find", params={"q": written}, allow_redirects=False) as answer:
        assert answer.headers["Location"].endswith(f"/contacts/{contact}")


async def test_what_an_index_on_the_column_cannot_find_is_not_said_to_be_nobodys(app, signed_in, monkeypatch):
    await insert(app, "New", "Ada@Example.com")
    await grown(app, "CREATE INDEX ON contacts (email)")
    reading_nothing(monkeypatch)
    said = text_of((await signed_in.get("find?q=ada@example.com"))[1])
    assert "Looked for: an address exactly as written, or in lower case, a deleted contact" in said
    assert "was not read: an index finds no other spelling of it." in said
    assert "A contact may still have this address." in said


@pytest.mark.parametrize("where", ["", " WHERE email IS NOT NULL"])
async def test_an_index_in_lower_case_says_for_certain_that_nobody_has_an_address(app, signed_in, monkeypatch, where):
    await insert(app, "New", "ada@example.com")
    await grown(app, f"CREATE INDEX ON contacts (lower(email)){where}")
    reading_nothing(monkeypatch)
    said = text_of((await signed_in.get("find?q=grace@example.com"))[1])
    assert "No contacts for" in said
    assert "CREATE INDEX" not in said


async def test_the_api_says_how_much_was_not_read_and_reads_it_if_asked(app, signed_in, monkeypatch):
    contact = await insert(app, "New", "ada@example.com")
    await grown(app)
    with monkeypatch.context() as patch:
        reading_nothing(patch)
        _, _, found = await signed_in.call("GET", "/find?q=ada@example.com")
    assert (found["keys"], found["not_read"]) == ([], 2_345_678)
    _, _, found = await signed_in.call("GET", "/find?q=ada@example.com&whole=true")
    assert (found["keys"], found["not_read"]) == ([str(contact)], None)
