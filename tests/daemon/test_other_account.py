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


@pytest.mark.parametrize("answer", [Answer(404, b"<html>"), Answer(200, b"<html>"), Answer(200, {"organization_id": 7})])
async def test_an_answer_that_names_no_account_is_no_fault(url, brevo, answer):
    brevo.standing_faults.append(Fault(matches=asks_for_account, answer=answer))
    assert not [line for line in (await checked(environment(url, brevo)))[1] if "brevo account" in line]


@pytest.mark.parametrize("answer", [Answer(403, b"<html>"), Answer(429, {}), Answer(500, {})])
async def test_where_it_cannot_be_asked_check_warns(url, brevo, answer):
    brevo.standing_faults[:] = [Fault(matches=asks_for_account, answer=answer)]
    code, lines = await checked(environment(url, brevo))
    (line,) = [line for line in lines if "brevo account" in line]
    assert line.startswith("warning brevo account the CRM does not say whose account it is")
    assert code == 0


@pytest.mark.parametrize(("crm", "status"), [("hubspot", 503), ("brevo", 500)])
async def test_an_outage_while_it_is_asked_is_an_outage(app, url, crm, status):
    """The next answer may say that it is another account."""
    async with UNLIMITED[crm](0) as sandbox:
        await app.execute(f"UPDATE crm_sync.lanes SET account = 'former' WHERE crm = '{crm}'")
        await insert(app)
        await app.execute(f"UPDATE contacts SET {crm}_contact_id = '1', {crm}_sync_status = 'Queued'")
        sandbox.next_faults += [Fault(matches=asks_for_account, answer=Answer(status, {"message": "x"}))] * 2
        async with process(environment(url) | settings(crm, sandbox.url)):
            await until(app, HELD.format(crm=crm))
        assert {request.method for request in sandbox.requests} == {"GET"}


async def test_nothing_is_compared_with_another_account(app, url, brevo):
    await app.execute("UPDATE crm_sync.lanes SET account = 'former' WHERE crm = 'brevo'")
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status, brevo_contact_id) VALUES ($1, 'Complete', '1')", "ada@x.org"
    )
    async with process(environment(url, brevo), "compare", "brevo", "--flip") as running:
        code, _, err = await ended(running)
    assert code == 69
    assert "ANOTHER_ACCOUNT: the key is of organization sandbox" in " ".join(err.split())
    assert await app.fetchval("SELECT brevo_sync_status FROM contacts") == "Complete"


async def test_two_mautics_of_one_host_are_two_accounts(app, url):
    async with UNLIMITED["mautic"](0) as one, UNLIMITED["mautic"](0) as two:
        await insert(app)
        await app.execute("UPDATE contacts SET mautic_sync_status = 'Queued'")
        async with process(environment(url) | settings("mautic", one.url)):
            await until(app, COMPLETE.format(crm="mautic"))
        await app.execute("UPDATE contacts SET mautic_sync_status = 'Queued'")
        async with process(environment(url) | settings("mautic", two.url)):
            await until(app, HELD.format(crm="mautic"))
        assert {request.method for request in two.requests} <= {"GET"}
