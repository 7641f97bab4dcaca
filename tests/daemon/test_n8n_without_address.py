"""A contact without an address in n8n: the workflow gets the row's key, so it is delivered and its deletion is told."""

from crm_sync.core.waits import Waits
from crm_sync.sandbox.credentials import BREVO_KEY
from tests.commands.test_preview import run as preview
from tests.faults.real_crms import delivering, sandboxes
from tests.harness import until

SETTLED = "bool_and({0}_sync_status IN ('Complete', 'Error')) FROM contacts"


async def put(app, *emails, crm="n8n"):
    for place, email in enumerate(emails):
        await app.execute(
            f"INSERT INTO contacts (email, first_name, {crm}_sync_status) VALUES ($1, $2, 'Queued')", email, f"P{place}"
        )


def bodies(n8n):
    return [request.body for request in n8n.requests if request.method == "POST"]


async def test_each_is_delivered_by_itself(app, url, monkeypatch):
    await put(app, None, "", "  ", "ada@example.com")
    async with sandboxes("n8n") as there, delivering(url, monkeypatch, {"n8n": there["n8n"].url}):
        await until(app, SETTLED.format("n8n"))
        said = {body["fields"]["first_name"]: (body["email"], body["contact_id"]) for body in bodies(there["n8n"])}
    assert {name: email for name, (email, _) in said.items()} == {"P0": "", "P1": "", "P2": "", "P3": "ada@example.com"}
    assert len({key for _, key in said.values()}) == 4
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE n8n_sync_status = 'Complete'") == 4


async def test_in_one_call_too(app, url, monkeypatch):
    await put(app, None, None, None)
    async with sandboxes("n8n") as there, delivering(url, monkeypatch, {"n8n": there["n8n"].url}, N8N_BATCH_SIZE="10"):
        await until(app, SETTLED.format("n8n"))
        sent = [one for body in bodies(there["n8n"]) for one in body["contacts"]]
    assert len({one["contact_id"] for one in sent}) == len({one["idempotency_key"] for one in sent}) == 3
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE n8n_sync_status = 'Complete'") == 3


async def test_a_malformed_address_is_still_refused(app, url, monkeypatch):
    await put(app, "not an address")
    async with sandboxes("n8n") as there, delivering(url, monkeypatch, {"n8n": there["n8n"].url}):
        await until(app, SETTLED.format("n8n"))
        assert bodies(there["n8n"]) == []
    assert await app.fetchval("SELECT n8n_processing_error FROM contacts") == "INVALID_EMAIL: the email address is malformed"


async def test_a_flip_in_flight_is_delivered_after_it_as_for_any_contact(app, url, monkeypatch):
    await put(app, None)
    async with sandboxes("n8n") as there, delivering(url, monkeypatch, {"n8n": there["n8n"].url}):
        await until(app, SETTLED.format("n8n"))
        await app.execute("UPDATE contacts SET first_name = 'Eva', n8n_sync_status = 'Queued'")
        await until(app, SETTLED.format("n8n"))
        assert [body["fields"]["first_name"] for body in bodies(there["n8n"])] == ["P0", "Eva"]


async def test_its_deletion_is_told(app, url, monkeypatch):
    await app.execute("SELECT crm_sync.set_on_delete('n8n', 'delete')")
    await put(app, None, None)
    settings = {"N8N_BATCH_SIZE": "10", "waits": Waits(tick_s=0.1)}
    async with sandboxes("n8n") as there, delivering(url, monkeypatch, {"n8n": there["n8n"].url}, **settings):
        await until(app, SETTLED.format("n8n"))
        keys = {str(row[0]) for row in await app.fetch("DELETE FROM contacts RETURNING id")}
        await until(app, "NOT EXISTS (SELECT FROM crm_sync.tombstones)")
        told = [one for body in bodies(there["n8n"]) for one in body["contacts"] if one.get("event") == "deleted"]
    assert {one["contact_id"] for one in told} == keys
    assert {one["email"] for one in told} == {""}


async def test_preview_shows_the_request(app, url):
    await put(app, None)
    key = str(await app.fetchval("SELECT id FROM contacts"))
    n8n = {
        "N8N_WEBHOOK_URL": "https://n8n.example.com/webhook/crm-sync",
        "N8N_HEADER_NAME": "X-Key",
        "N8N_HEADER_VALUE": "secret-0123",
    }
    said = preview(url, "--key", key, "--crm", "n8n", **n8n)
    assert '"email": ""' in said.output, said.output
    assert "POST https://n8n.example.com" in said.output
    said = " ".join(preview(url, "--key", key, "--crm", "brevo", BREVO_API_KEY=BREVO_KEY).output.split())
    assert "INVALID_EMAIL: the contact has no email address: add one to the row, and queue it again" in said
