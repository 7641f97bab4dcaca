"""What is looked for is in no address: not in a proxy's access log, nor in the history of the browser."""

import hashlib
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from crm_sync.api.references import LONGEST_TAKEN, References
from tests.console.running import OURS, visiting
from tests.console.test_pages import text_of
from tests.steps import insert

ADDRESS = "ada.lovelace@example.com"


async def led_to(visit, path, **form):
    """Where a form leads, and each address on the way."""
    asked = []
    async with visit.http.post(f"{visit.where}{path}", data=form, headers=OURS) as answer:
        asked += [str(one.url) for one in (*answer.history, answer)]
        return asked, await answer.text()


def without_base(visit, where):
    return where.removeprefix(visit.where)


@pytest.mark.parametrize("given", [ADDRESS, "nobody@example.com", " ", "+49 30 901820", "Ada Lovelace", "zoë@example.com"])
async def test_what_is_looked_for_is_in_no_address_of_a_search(app, signed_in, given):
    await insert(app, "New", ADDRESS)
    await insert(app, "New", ADDRESS)  # found twice, so both are listed
    asked, page = await led_to(signed_in, "find", q=given)
    assert len(asked) == 2
    # Long parts: what is encrypted may have any two or three letters in it.
    for address in asked:
        assert not any(part in address for part in ("example", "nobody", "901820", "Lovelace", "?q=", "&q=")), address
    assert given.strip() in page


async def test_a_page_of_results_can_be_loaded_again(app, signed_in):
    contacts = [await insert(app, "New", ADDRESS) for _ in range(2)]
    asked, page = await led_to(signed_in, "find", q=ADDRESS)
    status, again = await signed_in.get(without_base(signed_in, asked[-1]))
    assert status == 200
    for contact in contacts:
        assert f"/contacts/{contact}" in page
        assert f"/contacts/{contact}" in again


async def test_a_search_that_finds_one_leads_to_it(app, signed_in):
    contact = await insert(app, "New", ADDRESS)
    asked, _ = await led_to(signed_in, "find", q=ADDRESS)
    assert asked[-1].endswith(f"/contacts/{contact}")


async def test_no_form_of_a_page_puts_what_is_looked_for_into_an_address(app, signed_in):
    await app.execute("DROP INDEX IF EXISTS idx_contacts_email")
    await app.execute("UPDATE pg_class SET reltuples = 2345678 WHERE relname = 'contacts'")
    _, page = await led_to(signed_in, "find", q=ADDRESS)
    forms = page.split("<form")[1:]
    assert len([form for form in forms if 'name="q"' in form]) == 2  # the search field, and the button that reads the whole table
    assert all('method="post"' in form.partition(">")[0] for form in forms if 'name="q"' in form)


async def test_somebody_who_may_only_read_may_search(app, signed_in, console_url, tmp_path):
    contact = await insert(app, "New", ADDRESS)
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[reader]\nsha256 = "{hashlib.sha256(b"reads-only").hexdigest()}"\nscopes = ["read"]\n')
    async with visiting(console_url, console_tokens_file=str(tokens)) as visit:
        assert await visit.sign_in("reads-only") == 303
        asked, _ = await led_to(visit, "find", q=ADDRESS)
    assert asked[-1].endswith(f"/contacts/{contact}")


async def test_a_page_elsewhere_cannot_search(signed_in):
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}, {}):
        status, _ = await signed_in.post("find", {"q": ADDRESS}, headers=headers)
        assert status == 403


async def test_a_search_of_another_start_says_what_to_do(app, signed_in):
    elsewhere = References().sealed(ADDRESS)
    status, page = await signed_in.get(f"find?search={elsewhere}")
    assert status == 404
    assert "search again" in text_of(page)


async def test_a_search_is_no_reference_to_a_contact(app, signed_in):
    """Otherwise a reader could make one for any guess, and page through keys that are addresses with it."""
    asked, _ = await led_to(signed_in, "find", q=ADDRESS)
    search = parse_qs(urlsplit(asked[-1]).query)["search"][0]
    status, page = await signed_in.get(f"contacts/{quote(search)}")
    assert (status, "made before the last start" in text_of(page)) == (404, True)


async def test_what_is_too_long_to_be_looked_for_is_refused(signed_in):
    status, page = await signed_in.post("find", {"q": "x" * (LONGEST_TAKEN + 1)})
    assert status == 409
    assert "4,000 characters" in text_of(page)


async def test_the_api_takes_what_is_looked_for_in_the_body(app, signed_in):
    contact = await insert(app, "New", ADDRESS)
    status, _, found = await signed_in.call("POST", "/find", {"q": ADDRESS})
    assert (status, found["keys"]) == (200, [str(contact)])
    assert found == (await signed_in.call("GET", f"/find?q={ADDRESS}"))[2]
    status, _, refused = await signed_in.call("POST", "/find", {"q": " "})
    assert (status, refused["detail"][:14]) == (422, "q: it is empty")


async def test_a_search_by_the_api_is_never_answered_as_the_last_one_was(app, signed_in):
    found = []
    for _ in range(2):
        await insert(app, "New", ADDRESS)
        _, headers, said = await signed_in.call("POST", "/find", {"q": ADDRESS}, **{"Idempotency-Key": "1"})
        found.append((len(said["keys"]), "Idempotent-Replayed" in headers))
    assert found == [(1, False), (2, False)]
