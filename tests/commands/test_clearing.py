"""`crm-sync clearing`, run by the owner of the table, and what check says afterwards."""

import pytest

from crm_sync.sandbox.__main__ import UNLIMITED
from crm_sync.sandbox.process import settings
from tests.commands.test_pause import done, run
from tests.faults.real_crms import complete, delivering
from tests.harness import until
from tests.process import ended, environment, process
from tests.roles import WORKER, printed
from tests.steps import insert

HAS_COLUMN = "SELECT crm_sync.has_column('brevo_sent_fields')"


async def test_it_is_turned_on_and_off_and_says_what_is_set(app, url):
    assert done(url, "clearing", "brevo") == "off\n"
    said = " ".join(done(url, "clearing", "brevo", "on").split())
    assert "record in brevo_sent_fields of public.contacts which fields they sent, and to which record in brevo_sent_to." in said
    assert "BREVO_EMPTY=clear" in said
    assert "crm-sync grants ROLE --console" in said
    assert done(url, "clearing", "brevo") == "on\n"
    assert done(url, "clearing", "hubspot") == "off\n"
    assert await app.fetchval(HAS_COLUMN)
    assert done(url, "clearing", "brevo", "off") == "Clearing is off for brevo.\n"
    assert not await app.fetchval(HAS_COLUMN)
    assert done(url, "clearing", "brevo", "off") == "Clearing is already off for brevo.\n"
    assert run(url, "clearing", "brevo", "sometimes").exit_code == 2


async def test_a_worker_may_not_set_it(url):
    async with process(environment(url), "clearing", "brevo", "on") as running:
        code, _, err = await ended(running)
    assert code == 78
    assert "only the owner of the contacts table" in err


@pytest.mark.parametrize("arguments", [("clearing", "brevo", "on"), ("trace", "on"), ("on-delete", "brevo", "delete")])
async def test_on_a_database_that_is_read_only_it_says_what_writing_needs(app, url, arguments):
    await app.execute(f'ALTER DATABASE "{url.rpartition("/")[2]}" SET default_transaction_read_only = on')
    answer = run(url, *arguments)
    assert (answer.exit_code, "in a read-only transaction (SQLSTATE 25006): what writes needs the" in str(answer.exception)) == (
        1,
        True,
    )


async def test_grants_prints_what_a_worker_needs_for_it(app, url):
    assert "sent_fields" not in printed(url, WORKER)[0]
    done(url, "clearing", "brevo", "on")
    statements = printed(url, WORKER)[0]
    assert (statements.count('"brevo_sent_fields"'), statements.count('"brevo_sent_to"')) == (2, 2)
    assert "ON TABLE crm_sync.fields" in statements


async def test_check_says_what_is_missing_and_then_how_many_contacts_it_concerns(app, url, monkeypatch):
    async with UNLIMITED["brevo"](0) as brevo:
        env = {**environment(url), **settings("brevo", brevo.url), "BREVO_EMPTY": "clear"}
        assert "run `crm-sync clearing brevo on`" in await checked(env, 1)
        done(url, "clearing", "brevo", "on")
        assert "None of them was sent since clearing is on" in await checked(env, 0)
        for email, phone in (("ada@example.com", "33639980001"), ("bob@example.com", None)):
            await insert(app, "New", email)
            await app.execute("UPDATE contacts SET phone = $1 WHERE email = $2", phone, email)
        async with delivering(url, monkeypatch, {"brevo": brevo.url}, BREVO_EMPTY="clear"):
            await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
            await until(app, complete("brevo"))
        assert "the next flip clears: 0" in await checked(env, 0)
        await app.execute("UPDATE contacts SET phone = ' '")
        said = await checked(env, 0)
    assert "cleared in the CRM when the row becomes empty: " in said
    assert "the next flip clears: 1" in said


async def checked(env, code):
    async with process(env, "check") as running:
        found, out, err = await ended(running)
    assert (found, err) == (code, ""), (out, err)
    return " ".join(out.split())
