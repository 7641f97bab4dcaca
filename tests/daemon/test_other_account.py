"""Real workers with the key of another account, at each CRM that keeps records."""

import pytest

from crm_sync.sandbox.__main__ import UNLIMITED
from crm_sync.sandbox.process import settings
from crm_sync.sandbox.server import Answer, Fault, asks_for_account
from tests.commands.test_check import checked
from tests.harness import until
from tests.process import ended, environment, process
from tests.steps import insert
from tests.tiers import one_quick

CRMS = ["hubspot", "brevo", "mautic"]
HELD = "breaker_reason LIKE 'ANOTHER_ACCOUNT:%' FROM crm_sync.lanes WHERE crm = '{crm}'"
COMPLETE = "bool_and({crm}_sync_status = 'Complete') FROM contacts"


def become_another(crm, sandbox):
    """Another account with its own contacts, at the same URL, as the key decides it; Mautic's is another place."""
    if crm == "hubspot":
        sandbox.account.portal = 456
    else:
        sandbox.account.organization = "another"


def reached(crm, sandbox, *, moved):
    env = settings(crm, sandbox.url)
    return {**env, "MAUTIC_BASE_URL": sandbox.url.replace("127.0.0.1", "localhost")} if moved and crm == "mautic" else env


@pytest.mark.parametrize("crm", one_quick(CRMS))
async def test_a_key_of_another_account_changes_nothing_there_until_the_ids_are_forgotten(app, url, crm):
    async with UNLIMITED[crm](0) as sandbox:
        await insert(app)
        await app.execute(f"UPDATE contacts SET {crm}_sync_status = 'Queued'")
        env = environment(url) | reached(crm, sandbox, moved=False)
        async with process(env):
            await until(app, COMPLETE.format(crm=crm))
        if crm != "mautic":
            become_another(crm, sandbox)
        env |= reached(crm, sandbox, moved=True)
        await app.execute(f"UPDATE contacts SET first_name = 'Eve', {crm}_sync_status = 'Queued'")
        sandbox.requests.clear()
        async with process(env):
            await until(app, HELD.format(crm=crm))
            code, lines = await checked(env)
            (line,) = [line for line in lines if line.startswith(f"wrong {crm} account")]
            assert "put the former key back, or forget the ids" in line
            assert code == 1
            assert {request.method for request in sandbox.requests} <= {"GET"}
            assert await app.fetchval(f"SELECT {crm}_processing_error IS NULL FROM contacts")
            while await app.fetchval(f"SELECT count({crm}_contact_id) FROM contacts"):  # a probe may have it in flight
                await app.execute(f"UPDATE contacts SET {crm}_contact_id = NULL")
            await until(app, COMPLETE.format(crm=crm))
        assert not [line for line in (await checked(env))[1] if f"{crm} account" in line]


async def test_match_notes_the_account_and_fills_no_ids_of_another(app, url, brevo):
    await app.execute("INSERT INTO contacts (email, brevo_contact_id) VALUES ('0@example.com', '7'), ('1@example.com', NULL)")
    env = environment(url, brevo)
    assert (await matched(env))[0] == 0
    assert await app.fetchval("SELECT account FROM crm_sync.lanes WHERE crm = 'brevo'") == "organization sandbox"
    brevo.account.organization = "another"
    code, said = await matched(env)
    assert code == 1
    assert "brevo: interrupted. ANOTHER_ACCOUNT: the key is of organization another" in said


async def matched(env):
    async with process(env, "match", "brevo") as running:
        code, out, _ = await ended(running)
    return code, " ".join(out.split())


async def test_a_key_that_may_not_ask_is_told_by_check_only_where_it_cannot_be_asked_at_all(app, url, brevo):
    """A refusal of Brevo says nothing about the account; no answer might be any."""
    brevo.standing_faults.append(Fault(matches=asks_for_account, answer=Answer(403, b"<html>")))
    assert not [line for line in (await checked(environment(url, brevo)))[1] if "brevo account" in line]
    brevo.standing_faults[:] = [Fault(matches=asks_for_account, drop=True)]
    (line,) = [line for line in (await checked(environment(url, brevo)))[1] if "brevo account" in line]
    assert line.startswith("warning brevo account the CRM does not say whose account it is")
