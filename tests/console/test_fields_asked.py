"""What a CRM says about the fields that are sent to it: asked with a button, within its limits, and recorded."""

import hashlib
import json

import pytest

from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from tests.console.running import visiting
from tests.console.test_followed import asks
from tests.console.test_pages import text_of
from tests.process import KEY
from tests.steps import insert


@pytest.fixture
async def sandbox():
    async with BrevoSandbox(key=KEY, contacts_per_second=None, contacts_per_hour=None) as running:
        yield running


@pytest.fixture
def environment(sandbox, tmp_path):
    file = tmp_path / "mapping.toml"
    file.write_text('[brevo]\nFIRSTNAME = "first_name"\nSHOE_SIZE = "last_name"\n')
    return {"brevo_api_key": KEY, "brevo_base_url": f"{sandbox.url}/v3", "mapping_file": str(file)}


@pytest.fixture
async def visit(console_url, environment):
    async with visiting(console_url, environment=environment) as visit:
        await visit.sign_in()
        yield visit


async def test_a_contact_page_says_it_of_each_mapped_field_and_asks_only_then(app, visit, sandbox):
    contact = await insert(app, "New")
    for path in (f"contacts/{contact}", "crms/brevo"):
        status, page = await visit.get(path)
        assert (status, "Ask brevo about its fields" in page) == (200, True)
    assert sandbox.requests == []
    status, page = await visit.done("fields/brevo", {"key": str(contact)})
    said = text_of(page)
    assert status == 200
    assert "FIRSTNAME first_name takes it" in said
    assert "SHOE_SIZE last_name Brevo has no attribute SHOE_SIZE: create it there" in said
    assert str(contact) in page, "it is the contact's page"
    assert len(sandbox.requests) == 1


@pytest.mark.usefixtures("always")
async def test_what_it_has_said_is_still_there_when_the_page_is_drawn_again_and_refreshed(app, visit, sandbox):
    contact = await insert(app, "Queued")
    _, page = await visit.done("fields/brevo", {"key": str(contact)})
    for attempts in (1, 2):
        where, refresh = asks(page), f'href="/contacts/{contact}?said=brevo">Refresh</a>'
        assert (where is not None, refresh in page) == (True, True)
        await app.execute("SET session_replication_role = replica")
        await app.execute("UPDATE contacts SET brevo_attempts = $2 WHERE id = $1", contact, attempts)
        await app.execute("RESET session_replication_role")
        status, page = await visit.get(where)
        assert (status, "Brevo has no attribute SHOE_SIZE" in text_of(page)) == (200, True)
    assert len(sandbox.requests) == 1


async def test_the_page_of_the_crm_says_it_too(visit):
    status, page = await visit.done("fields/brevo")
    assert (status, "Brevo has no attribute SHOE_SIZE" in text_of(page)) == (200, True)


async def test_the_api_says_it_and_that_it_was_asked_is_an_event(app, visit):
    status, _, said = await visit.call("POST", "/crms/brevo/fields")
    assert (status, said["unknown"]) == (200, None)
    assert {one["name"]: one["fits"] for one in said["fields"]} == {"FIRSTNAME": True, "SHOE_SIZE": False}
    [event] = await app.fetch("SELECT event, crm, actor, via FROM crm_sync.events WHERE event <> 'token_used'")
    assert tuple(event) == ("fields_asked", "brevo", "console", "api")


async def test_what_is_asked_counts_for_the_limits_of_the_account(app, visit):
    await visit.call("POST", "/crms/brevo/fields")
    budget = json.loads(await app.fetchval("SELECT budget::text FROM crm_sync.budgets WHERE crm = 'brevo'"))
    assert budget


async def test_a_crm_that_may_not_be_called_is_not_asked(app, visit, sandbox):
    await app.execute("UPDATE crm_sync.lanes SET held_since = now(), held_reason = 'a new key' WHERE crm = 'brevo'")
    status, page = await visit.post("fields/brevo")
    assert (status, "brevo is not asked now: paused by hand" in text_of(page).lower()) == (409, True)
    assert sandbox.requests == []


async def test_a_crm_without_credentials_is_not_asked(visit):
    status, _, said = await visit.call("POST", "/crms/mautic/fields")
    assert (status, "no credentials" in said["detail"]) == (409, True)
    assert (await visit.call("POST", "/crms/nothing/fields"))[0] == 404


async def test_who_may_only_read_asks_no_crm(app, console_url, environment, sandbox, tmp_path):
    file = tmp_path / "tokens.toml"
    file.write_text(f'[reader]\nsha256 = "{hashlib.sha256(b"reader").hexdigest()}"\nscopes = ["read"]\n')
    async with visiting(console_url, environment=environment, console_tokens_file=file) as visit:
        await visit.sign_in("reader")
        assert (await visit.post("fields/brevo"))[0] == 403
        assert (await visit.call("POST", "/crms/brevo/fields", token="reader"))[0] == 403
        assert "Ask brevo" not in (await visit.get("crms/brevo"))[1]
    assert sandbox.requests == []
