"""The history of a contact: `crm-sync history`; and its removal: `crm-sync forget`."""

import json
from concurrent.futures import ThreadPoolExecutor

import click.testing
import pytest

from crm_sync.cli import crm_sync
from crm_sync.core.outcome import Kind, Receipt
from tests.roles import as_worker
from tests.steps import insert, open_worker


def run(url: str, *arguments: str, code: int = 0) -> str:
    """In a thread, because a command runs its own event loop."""
    with ThreadPoolExecutor(1) as thread:
        env = {"DATABASE_URL": as_worker(url), "COLUMNS": "200", "TZ": "UTC"}
        answer = thread.submit(click.testing.CliRunner().invoke, crm_sync, arguments, env=env).result()
    assert answer.exit_code == code, (answer.output, answer.exception)
    return answer.output


@pytest.fixture
async def contact(app, url):
    """One that was refused once, and then delivered."""
    async with open_worker(url, 1) as worker:
        contact = await insert(app, "Queued")
        (claimed,) = await worker.claim()
        await worker.finish(claimed, Kind.RETRY, error="TIMEOUT: slow", sent=True, receipt=Receipt(2000, None))
        (claimed,) = await worker.claim()
        await worker.finish(claimed, Kind.DELIVERED, remote_id="7", sent=True, receipt=Receipt(12, 201, "req-1"))
    return contact


async def test_each_outcome_is_told_the_latest_first(contact, url):
    for named in (("--key", str(contact)), ("--email", " ADA@example.com")):
        lines = run(url, "history", *named).splitlines()
        assert "brevo  delivered, attempt 2" in lines[0]
        assert "its request took 12 ms" in lines[0]
        assert lines[1].strip() == "HTTP 201, request req-1, record 7, worker 1"
        assert "brevo  retry" in lines[2]
        assert lines[3].strip() == "TIMEOUT: slow"


async def test_for_scripts_it_is_one_object(contact, url):
    found = json.loads(run(url, "history", "--key", str(contact), "--json"))["history"]
    assert [(one["outcome"], one["key"], one["status"]) for one in found] == [
        ("delivered", str(contact), 201),
        ("retry", str(contact), None),
    ]
    assert json.loads(run(url, "history", "--key", str(contact), "--json", "--limit", "1"))["history"] == found[:1]
    assert json.loads(run(url, "history", "--key", str(contact), "--json", "--crm", "n8n"))["history"] == []


async def test_a_contact_that_is_deleted_is_found_by_its_key(app, contact, url):
    await app.execute("DELETE FROM contacts")
    assert "delivered" in run(url, "history", "--key", str(contact))
    assert "No contact has the address" in run(url, "history", "--email", "ada@example.com", code=1)


async def test_one_without_lines_is_told_as_such(app, url):
    assert "nothing on this contact" in run(url, "history", "--key", str(await insert(app)))


@pytest.mark.parametrize("key", ["0b5d1b1c-0000-4000-8000-000000000000", "nonsense", "4711"])
async def test_a_key_that_no_row_and_no_line_has_is_told_as_such(app, contact, url, key):
    said = " ".join(run(url, "history", "--key", key, code=1).split())
    assert f"No contact has the key {key}." in said
    assert "an id in brevo" in said
    assert "a line of history" in said


async def test_an_id_in_a_crm_names_its_contact(contact, url):
    assert "brevo  delivered, attempt 2" in run(url, "history", "--key", "7")


async def test_a_deletion_that_is_to_be_delivered_names_its_contact_by_the_address_too(app, contact, url):
    await app.execute("SELECT crm_sync.set_on_delete('brevo', 'delete')")
    await app.execute("DELETE FROM contacts")
    assert "brevo  delivered, attempt 2" in run(url, "history", "--email", "ada@example.com")


async def test_a_delivered_deletion_is_pointed_to_by_why(app, contact, url):
    await app.execute("DELETE FROM contacts")
    await app.execute(
        "INSERT INTO crm_sync.history (at, slot, key, crm, operation, outcome) "
        "VALUES (now(), crm_sync.history_slot(now()), $1, 'brevo', 'delete', 'delivered')",
        str(contact),
    )
    said = " ".join(run(url, "why", "--key", str(contact), code=1).split())
    assert "Its record was deleted in brevo at " in said
    assert f"crm-sync history --key {contact}" in said
    assert "brevo  delivered (deletion)" in run(url, "history", "--key", str(contact))
    # One CRM has not been told yet.
    await app.execute("INSERT INTO crm_sync.tombstones (crm, contact_id, policy) VALUES ('hubspot', $1, 'delete')", str(contact))
    said = " ".join(run(url, "why", "--key", str(contact)).split())
    assert f"crm-sync history --key {contact}" in said
    # Nothing leads to a forgotten contact.
    run(url, "forget", str(contact))
    await app.execute("DELETE FROM crm_sync.tombstones")
    assert "crm-sync history" not in run(url, "why", "--key", str(contact), code=1)
    run(url, "history", "--key", str(contact), code=1)


async def test_a_deletion_without_a_line_of_the_named_crm_is_a_contact_all_the_same(app, contact, url):
    await app.execute("DELETE FROM contacts")
    assert "nothing on this contact" in run(url, "history", "--key", str(contact), "--crm", "n8n")


async def test_a_crm_that_is_not_there_is_refused(url):
    run(url, "history", "--key", "0b5d1b1c-0000-4000-8000-000000000000", "--crm", "nope", code=2)


async def test_who_is_forgotten_is_on_no_line_and_the_lines_are_still_there(app, contact, url):
    said = run(url, "forget", str(contact))
    assert "Forgotten: 2 of brevo" in said
    for row in await app.fetch("SELECT key, reason, request_id, remote_id, outcome FROM crm_sync.deliveries"):
        assert tuple(row)[:4] == (None, None, None, None)
        assert row["outcome"]
    assert "Nothing to forget" in run(url, "forget", str(contact))
    [deed] = await app.fetch("SELECT event, details FROM crm_sync.events")
    assert (deed["event"], json.loads(deed["details"])) == ("contact_forgotten", {"lines": 2})
