"""Every command gets past a contact whose key a driver has no object for: it names it, sends it, and goes on with the others."""

import asyncio
import json

import pytest

from crm_sync.adoption.table import AdoptionRequest
from tests.process import ended, environment, process
from tests.roles import adopt, let_in
from tests.tiers import one_case_quick

KEYS = {
    "date": ("0044-03-15 BC", "2026-01-02", "infinity"),
    "timestamptz": ("0044-03-15 00:00:00+00 BC", "2026-01-02 03:04:05+00", "294276-12-31 00:00:00+00"),
    "interval": ("P178000000Y", "P1Y2M", "PT1S"),
    "numeric": ("NaN", "1.50", "10000000000"),
    "bytea": ("\\x00", "\\x5c000a27", "\\xff"),
    "daterange": ('(,"0044-03-15 BC")', "[2026-01-02,infinity)", "empty"),
}
FAIL = (
    "UPDATE contacts SET brevo_sync_status = 'Error', brevo_processing_status = 'Error', brevo_processing_error = 'REJECTED: no'"
)


@pytest.fixture
async def told(owner, empty_url, brevo, request):
    """What a command prints, on a table with three failed contacts."""
    kind, keys = request.param
    await owner.execute(f"CREATE TABLE contacts (id {kind} PRIMARY KEY, email text)")
    await asyncio.to_thread(adopt, empty_url, AdoptionRequest(crms=("brevo",)))
    await asyncio.to_thread(let_in, empty_url)
    for number, key in enumerate(keys):
        await owner.execute(f"INSERT INTO contacts (id, email) VALUES ($1::text::{kind}, $2)", key, f"{number}@example.com")
    await owner.execute(FAIL)
    env = environment(empty_url, brevo)

    async def run(*arguments, expected=0):
        async with process(env, *arguments) as command:
            code, out, err = await ended(command)
        assert (code, "Traceback" in err) == (expected, False), (arguments, out, err)
        return out

    return run


@pytest.mark.parametrize(
    ("told", "keys"), one_case_quick([(case, case[1]) for case in KEYS.items()]), indirect=["told"], ids=KEYS
)
async def test_they_are_listed_named_sent_and_retried(owner, told, keys):
    listed = json.loads(await told("failed", "--json"))["failed"]
    assert {entry["key"] for entry in listed} == set(keys)
    for key in (entry["key"] for entry in listed):
        assert json.loads(await told("failed", "--json", "--key", key))["failed"][0]["key"] == key
        [contact] = json.loads(await told("why", "--json", "--key", key))["contacts"]
        assert contact["key"] == key
        assert "@example.com" in await told("preview", "--crm", "brevo", "--key", key)
        await told("history", "--key", key)
    assert "flipped 3" in await told("retry", "--yes")
    assert await owner.fetchval("SELECT bool_and(brevo_sync_status = 'Queued') FROM contacts")
    assert "3" in await told("status", expected=1), "no worker runs"
    for entry in listed:
        assert "delivered" in await told("sync", "--crm", "brevo", "--key", entry["key"])
    assert await owner.fetchval("SELECT bool_and(brevo_sync_status = 'Complete') FROM contacts")
    assert "3" in await told("compare", "brevo")
    await owner.execute("UPDATE contacts SET brevo_contact_id = NULL")
    assert "3 matched" in await told("match", "brevo")
    assert await owner.fetchval("SELECT count(brevo_contact_id) FROM contacts") == 3
    assert "Forgotten: 1 of brevo" in await told("forget", listed[0]["key"])
