"""Everything done in the console and the API is recorded, with who did it; no address is revealed without a record."""

import hashlib
import json

import pytest

from tests.console.running import visiting
from tests.console.test_pages import text_of
from tests.steps import insert, read
from tests.table.test_failed_contacts import fails


async def written(app):
    rows = await app.fetch(
        "SELECT event, crm, actor, via, details::text FROM crm_sync.events WHERE event <> 'token_used' ORDER BY at, id"
    )
    return [(row["event"], row["crm"], row["actor"], row["via"], json.loads(row["details"])) for row in rows]


def hashed(contact):
    return hashlib.sha256(str(contact).encode()).hexdigest()[:16]


async def test_looking_writes_nothing(app, signed_in):
    contact = await insert(app, "New")
    for path in ("", "crms/brevo", "contacts", f"contacts/{contact}", "failures", "events", "find?q=a"):
        await signed_in.get(path)
    assert await written(app) == []


async def test_a_status_that_is_changed_is_an_event_that_names_nobody(app, signed_in):
    contact = await insert(app, "New")
    await signed_in.post(f"contacts/{contact}/brevo", {"status": "Queued"})
    await signed_in.post(f"contacts/{contact}/brevo", {"status": "Queued"})  # nothing to change
    assert await written(app) == [
        ("contacts_changed", "brevo", "console", "console", {"contacts": 1, "status": "Queued"}),
    ]


async def test_all_that_match_are_one_event_with_what_was_meant(app, signed_in):
    for number in range(3):
        await insert(app, "New", f"{number}@example.com")
    asked = {"crm": "brevo", "state": "New", "status": "Skipped"}
    await signed_in.post("selections", asked)
    await signed_in.post("selections", {**asked, "confirm": "yes"})
    details = {"contacts": 3, "status": "Skipped", "where": {"state": "New"}}
    assert await written(app) == [("contacts_changed", "brevo", "console", "console", details)]


async def test_a_retry_a_pause_and_its_end_are_events(app, signed_in):
    await fails(app, error="REJECTED: no")
    await signed_in.post("failures", {"crm": "brevo", "code": "REJECTED", "confirm": "yes"})
    await signed_in.post("crms/brevo", {"act": "pause", "reason": "a new key"})
    await signed_in.post("crms/brevo", {"act": "resume"})
    await signed_in.post("crms/brevo", {"act": "resume"})  # it runs already
    assert [(event, details) for event, _, _, _, details in await written(app)] == [
        ("contacts_retried", {"contacts": 1, "codes": ["REJECTED"]}),
        ("lane_held", {"reason": "a new key"}),
        ("lane_resumed", {}),
    ]


async def test_by_the_api_it_says_so_and_a_repeated_request_is_written_once(app, visit):
    contact = await insert(app, "New")
    for _ in range(2):
        await visit.call("POST", f"/contacts/{contact}/brevo", {"status": "Queued"}, **{"Idempotency-Key": "one"})
    assert [(event, via) for event, _, _, via, _ in await written(app)] == [("contacts_changed", "api")]


async def test_an_address_is_shown_to_whoever_asks_and_that_is_written_down(app, signed_in):
    contact = await insert(app, "New", "lovelace@example.com")
    status, page = await signed_in.done(f"reveal/{contact}")
    assert (status, "lovelace@example.com" in page) == (200, True)
    _, _, said = await signed_in.call("GET", f"/contacts/{contact}?reveal=true")
    assert said["email"] == "lovelace@example.com"
    revealed = {"contact": hashed(contact)}
    assert await written(app) == [
        ("contact_revealed", None, "console", "console", revealed),
        ("contact_revealed", None, "console", "api", revealed),
    ]


async def test_where_it_cannot_be_written_down_no_address_is_shown(app, signed_in):
    contact = await insert(app, "New", "lovelace@example.com")
    await app.execute("ALTER TABLE crm_sync.events ADD CHECK (event <> 'contact_revealed')")
    status, page = await signed_in.post(f"reveal/{contact}")
    assert status >= 400
    assert "lovelace" not in page


async def test_where_it_cannot_be_written_down_what_was_done_is_done_and_that_is_said(app, signed_in):
    contact = await insert(app, "New")
    await app.execute("ALTER TABLE crm_sync.events ADD CHECK (event <> 'contacts_changed')")
    _, page = await signed_in.done(f"contacts/{contact}/brevo", {"status": "Queued"})
    assert "crm_sync.events does not record who did this" in text_of(page)
    assert (await read(app, contact))["sync_status"] == "Queued"


async def test_whoever_a_proxy_lets_in_is_named_and_what_he_is_called_is_text(app, url):
    contact = await insert(app, "New")
    async with visiting(url, console_user_header="X-User", console_proxies="127.0.0.0/8", console_token=None) as visit:
        headers = {"X-User": "ada <b>", "Sec-Fetch-Site": "same-origin"}
        await visit.post(f"contacts/{contact}/brevo", {"status": "Queued"}, headers=headers)
        [(_, _, actor, _, _)] = await written(app)
        _, page = await visit.get("events", headers=headers)
    assert actor == "ada <b>"
    assert "ada &lt;b&gt;" in page


@pytest.mark.parametrize("path", ["events", "", "events?event=lane_held", "events?crm=brevo"])
async def test_events_are_shown_in_words(app, signed_in, path):
    await signed_in.post("crms/brevo", {"act": "pause", "reason": "a new key"})
    _, page = await signed_in.get(path)
    assert "paused by hand" in text_of(page).lower()
    assert "a new key" in page


async def test_what_an_event_says_is_text_and_names_nobody(app, signed_in):
    await app.execute(
        "INSERT INTO crm_sync.events (event, crm, actor, via, details) "
        "VALUES ('breaker_opened', 'brevo', 'worker 7', 'worker', $1)",
        json.dumps({"reason": "<script>alert(1)</script> ada@example.com \x1b[2J"}),
    )
    for path in ("events", "", "crms/brevo"):
        _, page = await signed_in.get(path)
        assert "<script>alert" not in page
        assert "ada@example.com" not in page
        assert "\x1b" not in page
