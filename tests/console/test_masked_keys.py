"""Keys that are addresses: a reader never sees one, wherever a contact is shown, and every link still works."""

import asyncio
import hashlib
import html
import json
import re
from urllib.parse import quote

import pytest

from tests.console.keyed import add, keyed
from tests.console.test_what_rows_say import links
from tests.tiers import one_quick

ADDRESS, OTHER = "lovelace@example.com", "babbage@example.com"
NAMES = ("lovelace", "babbage", "secret")
MASKED = "l***@example.com"
EVENT = """
    INSERT INTO crm_sync.events (at, event, crm, actor, via, details)
    VALUES (now(), 'client_failed', 'brevo', 'worker 1', 'worker', $1)
"""


@pytest.fixture
def reader(tmp_path):
    """A token that may only read, and one that may flip, too."""
    file = tmp_path / "tokens.toml"
    sections = [
        f'[{name}]\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\nscopes = {json.dumps(scopes)}\n'
        for name, scopes in (("reader", ["read"]), ("flipper", ["read", "flip"]))
    ]
    file.write_text("".join(sections))
    return {"console_tokens_file": file}


async def fill(owner):
    """Failed, with addresses in texts and ids, and with the same record as another contact."""
    await add(owner, ADDRESS, "secret@example.com", sync_status="Error", processing_error="REJECTED: lovelace@example.com is no")
    await add(owner, OTHER, "secret@example.com", sync_status="Queued")
    await owner.execute("CREATE INDEX ON contacts (lower(email))")
    await owner.execute("SET session_replication_role = replica")
    await owner.execute("UPDATE contacts SET brevo_contact_id = '7', hubspot_contact_id = 'lovelace@example.com'")
    await owner.execute("RESET session_replication_role")
    await owner.execute(EVENT, json.dumps({"reason": f"no: {ADDRESS}", "contacts": [OTHER]}))


def says_no_address(text: str) -> None:
    assert not any(name in text for name in NAMES), re.findall(rf".{{40}}(?:{'|'.join(NAMES)}).{{20}}", text)


async def test_no_page_and_no_link_says_an_address_to_who_may_only_read(owner, empty_url, reader):
    async with keyed(owner, empty_url, **reader) as visit:
        await fill(owner)
        await visit.sign_in("reader")
        status, page = await visit.get("contacts?crm=brevo")
        assert (status, page.count(MASKED)) == (200, 2), "as text, and where the mouse is"
        contact, other = links(page)[1], links(page)[0]
        for path in ("", contact, other, "failures", "events", "crms/brevo", "contacts?crm=hubspot", "find?q=7"):
            status, page = await visit.get(path)
            assert status in (200, 303), path
            says_no_address(page)
        assert MASKED in (await visit.get(contact))[1]
        assert (await visit.post(contact.replace("contacts", "reveal", 1)))[0] == 403


async def test_no_redirect_says_one(owner, empty_url, reader):
    async with keyed(owner, empty_url, **reader) as visit:
        await fill(owner)
        async with visit.http.get(f"{visit.where}find", params={"q": ADDRESS}, allow_redirects=False) as response:
            assert response.status == 303
            says_no_address(response.headers["Location"])
            assert MASKED in (await visit.get(response.headers["Location"].removeprefix("/")))[1]


async def test_the_api_says_no_address_and_takes_what_it_says(owner, empty_url, reader):
    async with keyed(owner, empty_url, **reader) as visit:
        await fill(owner)

        async def call(method, path, body=None, who="reader"):
            status, _, said = await visit.call(method, path, body, token=who)
            assert status == 200, said
            says_no_address(json.dumps(said))
            return said

        page = await call("GET", "/contacts?crm=brevo&limit=1")
        [first] = page["contacts"]
        [second] = (await call("GET", f"/contacts?crm=brevo&limit=1&after={page['next']}"))["contacts"]
        assert first["key"] != second["key"]
        for path in ("/crms", "/crms/brevo", "/failures", "/events", "/find?q=7", f"/find?q={quote(ADDRESS)}"):
            await call("GET", path)
        contact = await call("GET", f"/contacts/{second['key']}")
        assert (contact["key"], contact["same_address"]) == (second["key"], [first["key"]])
        [at_brevo] = [one for one in contact["crms"] if one["crm"] == "brevo"]
        assert at_brevo["same_record"] == [first["key"]]
        changed = await call("POST", f"/contacts/{second['key']}/brevo", {"status": "Selected"}, "flipper")
        assert changed["changed"] == 1
        assert await owner.fetchval("SELECT brevo_sync_status FROM contacts WHERE id = $1", ADDRESS) == "Selected"


async def test_events_as_they_come_say_no_address(owner, empty_url, reader):
    async with keyed(owner, empty_url, **reader) as visit:
        await fill(owner)
        headers = {"Authorization": "Bearer reader", "Accept": "text/event-stream", "Last-Event-ID": "none"}
        async with visit.http.get(f"{visit.where}v1/events", headers=headers) as stream:
            assert stream.status == 200
            said = ""
            async with asyncio.timeout(10):
                while "client_failed" not in said or not said.endswith("\n\n"):
                    said += (await stream.content.readany()).decode()
            says_no_address(said)


async def test_what_is_revealed_is_the_key_too_and_no_address_stands_in_a_url(owner, empty_url, reader):
    async with keyed(owner, empty_url, **reader) as visit:
        await fill(owner)
        await visit.sign_in("flipper")
        contact = links((await visit.get("contacts?crm=brevo"))[1])[1]
        status, page = await visit.done(contact.replace("contacts", "reveal", 1))
        assert (status, f"Key <code>{ADDRESS}</code>" in page) == (200, True)
        assert f"= '{ADDRESS}'" in html.unescape(page), "the SQL"
        for url in re.findall(r'(?:href|action)="([^"]+)"', page):
            says_no_address(url)
        assert "babbage" not in page, "nobody asked for the others"
        name = contact.rpartition("/")[2]
        _, _, said = await visit.call("GET", f"/contacts/{name}?reveal=true", token="flipper")
        assert said["key"] == ADDRESS
        revealed = await owner.fetch(
            "SELECT details ->> 'contact' AS contact FROM crm_sync.events WHERE event = 'contact_revealed'"
        )
        assert {row["contact"] for row in revealed} == {hashlib.sha256(ADDRESS.encode()).hexdigest()[:16]}


@pytest.mark.parametrize("after", one_quick(["m", ADDRESS, "sealed~AAAA"]))
async def test_no_guess_at_a_key_tells_which_come_after_it(owner, empty_url, reader, after):
    """Else an address could be found out letter by letter."""
    async with keyed(owner, empty_url, **reader) as visit:
        await fill(owner)
        status, _, said = await visit.call("GET", f"/contacts?crm=brevo&after={quote(after)}", token="reader")
        assert (status in (404, 409), "contacts" in said) == (True, False)
