"""Unusual addresses, names, and texts from a CRM."""

import json
import re

import pytest

from crm_sync.sandbox.process import CRMS
from crm_sync.sandbox.server import Answer, Fault
from tests.faults.real_crms import PEOPLE, assert_delivered, complete, delivering, records, sandboxes
from tests.harness import until

EMAILS = [
    *("ada@example.com", "Ada@Example.com", " ada@example.com ", "bob@example.com", "josefa@example.com"),
    *(None, "", "   ", "no address", "a@b", "two@@example.com", "😀@example.com", "x" * 10_000, "x" * 10_000 + "@example.com"),
]


@pytest.mark.parametrize("crm", CRMS)
async def test_odd_addresses_are_never_sent_and_one_address_is_never_twice_in_a_request(app, url, monkeypatch, crm):
    for email in EMAILS:
        await app.execute(f"INSERT INTO contacts (email, first_name, {crm}_sync_status) VALUES ($1, 'Ada 😀', 'Queued')", email)
    async with sandboxes(crm) as there:
        async with delivering(url, monkeypatch, {crm: there[crm].url}, N8N_BATCH_SIZE="100") as clients:
            await until(app, f"bool_and({crm}_sync_status IN ('Complete', 'Error')) FROM contacts")
        for request in clients[crm].requests:
            addresses = [contact.email.strip().lower() for contact in request if (contact.email or "").strip()]
            assert len(addresses) == len(set(addresses))
            assert len(addresses) == len(request) or crm == "n8n", "only n8n takes contacts without an address"
            assert set(addresses) <= {"ada@example.com", "bob@example.com", "josefa@example.com"}
        held = records(crm, there[crm])
    without = 3 if crm == "n8n" else 0
    assert sorted(one.email for one in held if one.email) == ["ada@example.com", "bob@example.com", "josefa@example.com"]
    assert len([one for one in held if not one.email]) == without
    assert {one.first_name for one in held} == {"Ada 😀"}
    rows = await app.fetch(f"SELECT email, {crm}_processing_error AS error FROM contacts WHERE {crm}_sync_status = 'Error'")
    assert len(rows) == 9 - without
    assert all(row["error"].startswith("INVALID_EMAIL: ") for row in rows)
    odd = [(row["email"].strip(), row["error"]) for row in rows if (row["email"] or "").strip()]
    assert odd
    assert [email for email, error in odd if email in error] == [], "it does not quote them"
    assert all(len(row["error"]) < 200 for row in rows)


ODD_TEXT = "a\\u0000b\\ud800c \\u001b[31mred\\u202e " + "long " * 1000


@pytest.mark.parametrize("crm", CRMS)
async def test_what_a_crm_says_is_cleaned_before_it_is_written(app, url, monkeypatch, crm):
    """NUL, which Postgres refuses, and lone surrogates, which are not text: neither keeps a failure from being recorded."""
    body = {
        "hubspot": '{"status": "error", "message": "%s", "category": "VALIDATION_ERROR"}',
        "brevo": '{"code": "invalid_parameter", "message": "%s"}',
        "mautic": '{"errors": [{"message": "%s", "code": 400}]}',
        "n8n": '{"message": "%s", "code": "%s"}',
    }[crm].replace("%s", ODD_TEXT)
    assert json.loads(body)
    await app.execute(PEOPLE.format(crm=crm), 1)
    async with sandboxes(crm) as there:
        refusal = Answer(422 if crm == "n8n" else 400, body.encode(), {"Content-Type": "application/json"})
        there[crm].standing_faults.append(Fault(lambda call: call.method != "GET", answer=refusal))
        async with delivering(url, monkeypatch, {crm: there[crm].url}):
            await until(app, f"bool_and({crm}_sync_status = 'Error') FROM contacts")
            reason = await app.fetchval(f"SELECT {crm}_processing_error FROM contacts")
            assert reason.partition(":")[2].strip()
            assert not re.search(r"[\x00-\x1f\ud800-\udfff]", reason)
            assert len(reason) < 600
            there[crm].standing_faults.clear()
            await app.execute(f"UPDATE contacts SET {crm}_sync_status = 'Queued'")
            await until(app, complete(crm))
        await assert_delivered(app, crm, there[crm])
