"""What became of a contact: `crm-sync history`; and that nobody can tell any more: `crm-sync forget`."""

import json
from concurrent.futures import ThreadPoolExecutor

import click.testing
import pytest

from crm_sync.cli import crm_sync
from crm_sync.core.outcome import Kind, Receipt
from tests.roles import as_worker
from tests.steps import insert, open_worker


def run(url: str, *arguments: str, code: int = 0) -> str:
    """In a thread, for a command runs a loop of its own."""
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


async def test_a_key_that_is_none_and_a_crm_that_is_not_there_are_refused(url):
    assert "not valid" in str(run_error(url, "history", "--key", "nonsense"))
    run(url, "history", "--key", "0b5d1b1c-0000-4000-8000-000000000000", "--crm", "nope", code=2)


def run_error(url, *arguments):
    with ThreadPoolExecutor(1) as thread:
        invoke = click.testing.CliRunner().invoke
        return thread.submit(invoke, crm_sync, arguments, env={"DATABASE_URL": as_worker(url)}).result().exception


async def test_who_is_forgotten_is_on_no_line_and_the_lines_are_still_there(app, contact, url):
    said = run(url, "forget", str(contact))
    assert "Forgotten: 2 of brevo" in said
    for row in await app.fetch("SELECT key, reason, request_id, remote_id, outcome FROM crm_sync.deliveries"):
        assert tuple(row)[:4] == (None, None, None, None)
        assert row["outcome"]
    assert "Nothing to forget" in run(url, "forget", str(contact))
    [deed] = await app.fetch("SELECT event, details FROM crm_sync.events")
    assert (deed["event"], json.loads(deed["details"])) == ("contact_forgotten", {"lines": 2})
