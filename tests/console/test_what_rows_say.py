"""The content of a row never makes an answer fail: lists, pages, links and the API handle any key and any columns."""

import html
import re
from urllib.parse import quote, urlsplit

import pytest

from tests.console.keyed import add, keyed
from tests.console.test_pages import text_of
from tests.tiers import one_quick

KEYS = [
    "",
    " ",
    ".",
    "..",
    "a b ",
    "line\nbreak",
    "tab\tand\\",
    "{braces}",
    "a/b?#%2F",
    "%",
    "x" * 2_000,
    "ä" * 1_300,
    "sealed~AAAA",
    "🙂'\"",
]


def links(page: str) -> list[str]:
    """The links to contacts on the page."""
    return [html.unescape(one) for one in re.findall(r'href="/(contacts/[^"]+)"', page)]


async def every_contact(visit) -> list[str]:
    """By the API, page by page."""
    keys, after = [], None
    while True:
        rest = "" if after is None else f"&after={quote(after, safe='')}"
        status, _, page = await visit.call("GET", f"/contacts?crm=brevo&limit=5{rest}")
        assert status == 200, page
        keys += [one["key"] for one in page["contacts"]]
        if (after := page["next"]) is None:
            return keys


async def test_every_key_is_listed_looked_at_and_changed_by_the_api(owner, empty_url):
    async with keyed(owner, empty_url) as visit:
        for key in KEYS:
            await add(owner, key)
        named = await every_contact(visit)
        assert len(named) == len(KEYS)
        for name in named:
            status, _, said = await visit.call("GET", f"/contacts/{quote(name, safe='')}")
            assert (status, said["key"]) == (200, name)
            status, _, said = await visit.call("POST", f"/contacts/{quote(name, safe='')}/brevo", {"status": "Selected"})
            assert (status, said["changed"]) == (200, 1), name
        asked = {"crm": "brevo", "status": "Skipped", "keys": named, "dry_run": False}
        assert (await visit.call("POST", "/selections", asked))[2]["changed"] == len(KEYS)


async def test_every_key_has_a_link_in_the_list_that_leads_to_its_page(owner, empty_url):
    async with keyed(owner, empty_url) as visit:
        for key in KEYS:
            await add(owner, key)
        status, page = await visit.get("contacts?crm=brevo")
        assert (status, len(links(page))) == (200, len(KEYS))
        shown = set()
        for link in links(page):
            assert urlsplit(f"http://host/{link}").path.rpartition("/")[2] not in ("", ".", "..")
            async with visit.http.get(visit.where + link) as response:
                assert response.status == 200, link
                shown |= set(re.findall(r"Key <code>(.*?)</code>", await response.text(), re.DOTALL))
        assert {html.unescape(one) for one in shown} == {key or "(empty)" for key in KEYS}


@pytest.mark.parametrize("key", one_quick([" leading", "trailing ", "both\n"]))
async def test_a_key_is_found_with_the_blanks_that_it_has(owner, empty_url, key):
    async with keyed(owner, empty_url) as visit:
        await add(owner, key)
        await add(owner, "other")
        async with visit.http.get(f"{visit.where}find", params={"q": key}, allow_redirects=False) as response:
            assert response.status == 303
            where = response.headers["Location"].removeprefix("/")
        assert "Key <code>" in (await visit.get(where))[1]
        _, _, said = await visit.call("GET", f"/find?q={quote(key)}")
        [found] = said["keys"]
        assert (await visit.call("GET", f"/contacts/{quote(found, safe='')}"))[2]["key"] == found != "other"
        _, _, said = await visit.call("GET", f"/find?q={quote(' other')}")
        assert said["keys"] == ["other"], "as people paste it"


@pytest.mark.parametrize("path", ["contacts/a%00b", "crms/a%00b", "contacts?crm=a%00", "contacts?code=%00", "events?crm=%00"])
async def test_a_nul_is_named(signed_in, path):
    status, page = await signed_in.get(path)
    assert (status, "has a NUL in it" in text_of(page)) == (400, True)


@pytest.mark.parametrize("form", [{"status": "Queued\0"}, {"crm": "brevo", "state": "New", "status": "Queued", "code": "\0"}])
async def test_a_nul_in_a_form_is_named(signed_in, form):
    status, page = await signed_in.post("selections", form)
    assert (status, "has a NUL in it" in text_of(page)) == (400, True)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/contacts/a%00b", None),
        ("GET", "/contacts?crm=%00", None),
        ("POST", "/selections", {"crm": "brevo", "status": "Queued", "where": {"code": "\0"}}),
        ("POST", "/selections", {"crm": "brevo", "status": "Queued", "keys": ["a\0"]}),
        ("POST", "/retries", {"codes": ["\0"]}),
        ("PUT", "/crms/brevo/pause", {"reason": "a\0"}),
    ],
)
async def test_a_nul_is_named_by_the_api(signed_in, method, path, body):
    status, _, said = await signed_in.call(method, path, body)
    assert (status in (404, 422), "NUL" in said["detail"]) == (True, True), said


@pytest.mark.parametrize("moment", one_quick(["infinity", "-infinity", "0044-03-15 BC", "9999-12-31"]))
async def test_a_time_that_no_clock_has_fails_no_answer(owner, empty_url, moment):
    async with keyed(owner, empty_url) as visit:
        await add(owner, "1")
        await owner.execute("SET session_replication_role = replica")
        times = ", ".join(f"brevo_{name} = '{moment}'" for name in ("due_at", "synced_at", "flipped_at"))
        for status in ("Complete", "Queued", "Error"):
            await owner.execute(f"UPDATE contacts SET brevo_sync_status = '{status}', {times}")
            for path in ("contacts/1", "contacts?crm=brevo", ""):
                assert (await visit.get(path))[0] == 200, (status, path)
            for path in ("/contacts/1", "/contacts?crm=brevo", "/crms"):
                assert (await visit.call("GET", path))[0] == 200, (status, path)


async def test_a_status_and_attempts_that_are_missing_or_of_the_tables_own_fail_no_answer(owner, empty_url):
    async with keyed(owner, empty_url) as visit:
        await owner.execute("ALTER TYPE crm_sync_status ADD VALUE 'On hold'")
        await owner.execute("ALTER TABLE contacts ALTER brevo_sync_status DROP NOT NULL, ALTER brevo_attempts DROP NOT NULL")
        await add(owner, "1", sync_status=None, attempts=None)
        await add(owner, "2", sync_status="On hold")
        for path in ("contacts/1", "contacts/2", "contacts?crm=brevo"):
            assert (await visit.get(path))[0] == 200, path
        _, _, said = await visit.call("GET", "/contacts?crm=brevo")
        assert [(one["status"], one["attempts"]) for one in said["contacts"]] == [(None, 0), ("On hold", 0)]


@pytest.mark.parametrize(("kind", "text"), [("bytea", "\\x0127"), ("bit(3)", "101"), ("interval", "P1D")])
async def test_a_key_is_as_the_database_writes_it(owner, empty_url, kind, text):
    async with keyed(owner, empty_url, key=kind) as visit:
        await owner.execute(f"INSERT INTO contacts (id, email) VALUES ('{text}', 'ada@example.com')")
        _, _, said = await visit.call("GET", "/contacts?crm=brevo")
        assert [one["key"] for one in said["contacts"]] == [text]
        assert (await visit.call("GET", f"/contacts/{quote(text, safe='')}"))[0] == 200
        _, _, said = await visit.call("GET", "/find?q=ada@example.com")
        assert said["keys"] == [text]


async def test_pages_of_failures_go_on_after_a_key_that_a_driver_has_no_object_for(owner, empty_url):
    async with keyed(owner, empty_url, key="date") as visit:
        for key in ("0044-03-15 BC", "2026-01-02"):
            await owner.execute(
                f"INSERT INTO contacts (id, email, brevo_sync_status, brevo_processing_error) "
                f"VALUES ('{key}', 'ada@example.com', 'Error', 'REJECTED: no')"
            )
        _, _, first = await visit.call("GET", "/contacts?crm=brevo&code=REJECTED&limit=1")
        assert [one["key"] for one in first["contacts"]] == ["0044-03-15 BC"]
        _, _, second = await visit.call("GET", f"/contacts?crm=brevo&code=REJECTED&limit=1&after={quote(first['next'], safe='')}")
        assert [one["key"] for one in second["contacts"]] == ["2026-01-02"]
