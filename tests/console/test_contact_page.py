"""A contact's page: the verdict of each CRM, its history, what would be sent, and other contacts with its address."""

import re

import pytest

from tests.commands.test_pause import done
from tests.console.running import visiting
from tests.console.test_pages import text_of
from tests.roles import CONSOLE, granted
from tests.steps import insert
from tests.table.test_failed_contacts import fails

LINE = (
    "INSERT INTO crm_sync.history "
    "(at, key, crm, operation, outcome, code, reason, attempt, waited_ms, took_ms, status, request_id) "
    "VALUES (now() - make_interval(mins => $2), $1, 'brevo', 'upsert', $3, $4, $5, 1, 1500, 80, 400, 'req-1')"
)


@pytest.fixture
def settings():
    """Credentials of one CRM, so that the page can show what would be sent."""
    return {"brevo_api_key": "xkeysib-of-the-tests", "brevo_base_url": "http://127.0.0.1:1"}


async def test_it_has_the_sentence_of_why(app, signed_in):
    contact = await insert(app, "Queued")
    _, page = await signed_in.get(f"contacts/{contact}")
    assert "It has waited since its flip" in text_of(page)
    assert "crm-sync run" in text_of(page), "what to do"


async def test_attempts_are_a_timeline_with_what_happened_to_the_lane_between(app, signed_in):
    contact = await insert(app, "Queued")
    await app.execute(LINE, str(contact), 30, "retry", "TIMEOUT", "no answer in time")
    await app.execute(LINE, str(contact), 10, "rejected", "REJECTED", "the phone number is not valid")
    await app.execute(
        "INSERT INTO crm_sync.events (at, event, crm, actor, via) VALUES "
        "(now() - interval '20 min', 'breaker_opened', 'brevo', 'worker 1', 'worker'), "
        "(now() - interval '20 min', 'breaker_opened', 'mautic', 'worker 1', 'worker'), "
        "(now() - interval '90 min', 'breaker_closed', 'brevo', 'worker 1', 'worker')"
    )
    _, page = await signed_in.get(f"contacts/{contact}")
    said = text_of(page.partition("History</h2>")[2])
    places = [
        said.index(words) for words in ("refused for good", "it is down, or refuses every request", "failed, and is tried again")
    ]
    assert places == sorted(places), "the latest first"
    assert said.count("it is down") == 1, "a CRM that it was not sent to is left out"
    assert "it answers again" not in said, "what was before its flip is left out"
    assert "request id req-1" in said


async def test_the_same_over_http(app, visit):
    contact = await insert(app, "Queued")
    await app.execute(LINE, str(contact), 10, "rejected", "REJECTED", "not valid: ada@example.com")
    _, _, said = await visit.call("GET", f"/contacts/{contact}")
    [attempt] = said["history"]
    assert (attempt["outcome"], attempt["reason"]) == ("rejected", "not valid: ***")
    [at_brevo] = [one for one in said["crms"] if one["crm"] == "brevo"]
    assert at_brevo["verdict"] == "in line"
    assert any(fact["label"] == "line" for fact in at_brevo["proof"])


async def test_others_with_its_address_are_named_where_an_index_finds_them(app, signed_in):
    contact, other = await insert(app, "New", "Ada@example.com"), await insert(app, "New", "ada@EXAMPLE.com")
    await app.execute("DROP INDEX IF EXISTS idx_contacts_email")
    _, _, said = await signed_in.call("GET", f"/contacts/{contact}")
    if said["same_address"] is None:
        assert "the address has no index" in text_of((await signed_in.get(f"contacts/{contact}"))[1])
    await app.execute("CREATE INDEX ON contacts (lower(email))")
    _, _, said = await signed_in.call("GET", f"/contacts/{contact}")
    assert said["same_address"] == [str(other)]
    assert str(other) in (await signed_in.get(f"contacts/{contact}"))[1]


async def test_a_contact_without_an_address_shares_it_with_nobody(app, signed_in):
    contact = await insert(app, "New", " ")
    await insert(app, "New", "  ")
    await app.execute("DROP INDEX IF EXISTS idx_contacts_email")
    _, _, said = await signed_in.call("GET", f"/contacts/{contact}")
    assert said["same_address"] == []
    assert "the address has no index" not in text_of((await signed_in.get(f"contacts/{contact}"))[1])


async def test_each_button_says_what_it_does_and_to_send_a_delivered_contact_again_is_not_the_first_choice(app, signed_in):
    contact = await fails(app, error="REJECTED: no")
    await app.execute("SET session_replication_role = replica")
    await app.execute("UPDATE contacts SET n8n_sync_status = 'Complete', n8n_synced_at = now() WHERE id = $1", contact)
    _, page = await signed_in.get(f"contacts/{contact}")
    first = {crm: re.search(rf'<button id="Queued-at-{crm}"[^>]*>', page)[0] for crm in ("brevo", "n8n")}
    assert {crm: 'class="primary"' in button for crm, button in first.items()} == {"brevo": True, "n8n": False}
    assert 'title="What the row has is sent to the CRM."' in first["n8n"]
    assert "nothing is deleted in the CRM" in re.search(r'<button id="New-at-n8n"[^>]*>', page)[0]


async def test_nobody_is_told_to_send_a_contact_that_nobody_has_asked_for(app, signed_in):
    contact = await insert(app, "New")
    said = text_of((await signed_in.get(f"contacts/{contact}"))[1])
    assert "To do" not in said
    assert f"In a terminal: crm-sync sync --key {contact} --crm brevo" in said


async def test_what_would_be_sent_is_shown_to_whoever_reveals_and_without_credentials(app, console_url, settings):
    contact = await insert(app, "New", "lovelace@example.com")
    async with visiting(console_url, environment=settings) as visit:
        await visit.sign_in()
        _, page = await visit.get(f"contacts/{contact}")
        assert "What would be sent now" not in page
        _, page = await visit.done(f"reveal/{contact}")
        said = text_of(page)
        assert "if it were flipped now, it would be this one" in said.lower()
        assert "lovelace@example.com" in said
        assert "xkeysib" not in page
        assert "the console's settings have no credentials for this CRM" in said, "of the other CRMs"
        _, _, said = await visit.call("GET", f"/contacts/{contact}?reveal=true")
        [at_brevo] = [one for one in said["crms"] if one["crm"] == "brevo"]
        assert "POST" in at_brevo["preview"]["text"]
        assert "LASTNAME" in at_brevo["preview"]["empty"]


async def test_what_a_delivery_would_empty_is_shown_apart_from_what_stays(app, url, settings):
    done(url, "clearing", "brevo", "on")
    contact = await insert(app, "New", "lovelace@example.com")
    await app.execute("INSERT INTO crm_sync.fields (crm, name, place) VALUES ('brevo', 'SMS', 0)")
    await app.execute("UPDATE contacts SET brevo_contact_id = '7', brevo_sent_fields = 1, brevo_sent_to = '7', phone = NULL")
    its_url = granted(url, f"{CONSOLE}_after", "--console")  # the columns are new
    async with visiting(its_url, environment={**settings, "brevo_empty": "clear"}) as visit:
        await visit.sign_in()
        assert "Empty here, so cleared in brevo: SMS." in text_of((await visit.done(f"reveal/{contact}"))[1])
        _, _, said = await visit.call("GET", f"/contacts/{contact}?reveal=true")
    [at_brevo] = [one for one in said["crms"] if one["crm"] == "brevo"]
    assert at_brevo["preview"]["emptied"] == ["SMS"]
    assert "SMS" not in at_brevo["preview"]["empty"]


async def test_a_deleted_contact_says_what_becomes_of_its_record_and_has_no_button(app, signed_in):
    await app.execute("UPDATE crm_sync.lanes SET on_delete = 'erase' WHERE crm = 'brevo'")
    await app.execute(
        "INSERT INTO crm_sync.tombstones (crm, contact_id, email, remote_id, policy, due_at) "
        "VALUES ('brevo', 'gone', 'a@example.com', '4711', 'erase', now())"
    )
    status, page = await signed_in.get("contacts/gone")
    assert (status, "Deleted contact" in page) == (200, True)
    assert "Its row was deleted" in text_of(page)
    assert '<button name="status"' not in page
    _, _, said = await signed_in.call("GET", "/contacts/gone")
    assert (said["exists"], said["email"]) == (False, None)


async def test_a_key_with_signs_of_urls_leads_to_its_contact(app, signed_in):
    await app.execute("ALTER TABLE contacts ALTER id DROP DEFAULT")
    status, page = await signed_in.get("contacts/a%2Fb%3F%23")
    assert status == 404
    assert "a/b?#" in text_of(page)
