"""Rows of one address that are in line together: whichever opts out, the CRM hears of it, and each row has its own status."""

import tomllib

import pytest

from crm_sync.crm.members import UNSUBSCRIBED
from crm_sync.sandbox.hubspot.beside import SCOPES
from crm_sync.sandbox.server import Fault
from tests import roles
from tests.commands.test_preview import run as preview
from tests.docs.blocks import blocks
from tests.faults.real_crms import complete, delivering, sandboxes
from tests.harness import until
from tests.manual import ROOT

ADA = "ada@example.com"
CONSENT = {"hubspot": "unsubscribeAll", "brevo": "emailBlacklisted", "mautic": "doNotContact"}
NAME = {"hubspot": "firstname", "brevo": "FIRSTNAME", "mautic": "firstname"}
RECORDS = [*CONSENT]
OPT_INS = ["brevo", "mautic"]  # the consent fields that can opt in too


@pytest.fixture
def consenting(app, url, tmp_path, monkeypatch):
    """Writes a mapping, and inserts two rows of one address at once, the older one first. What each says of opting out."""

    async def insert(crm, older, newer, *, subscribe=False):
        await app.execute("ALTER TABLE contacts ADD opted_out boolean")
        mapping = tmp_path / "mapping.toml"
        consent = f'{{ sql = "opted_out", subscribe = {str(subscribe and crm != "hubspot").lower()} }}'
        mapping.write_text(f'[{crm}]\n{NAME[crm]} = "first_name"\n{CONSENT[crm]} = {consent}\n')
        monkeypatch.setenv("MAPPING_FILE", str(mapping))
        roles.let_in(url, MAPPING_FILE=str(mapping))
        await app.execute(
            f"INSERT INTO contacts (email, first_name, opted_out, {crm}_sync_status) "
            "VALUES ($1, 'Older', $2, 'New'), ($1, 'Newer', $3, 'New')",
            ADA,
            older,
            newer,
        )
        for name in ("Older", "Newer"):
            await app.execute(f"UPDATE contacts SET {crm}_sync_status = 'Queued' WHERE first_name = $1", name)

    return insert


def is_out(crm, sandbox):
    match crm:
        case "hubspot":
            return ADA in sandbox.account.out_of_all
        case "brevo":
            [one] = sandbox.account.contacts.values()
            return one.is_blocklisted
        case _:
            [one] = sandbox.account.contacts.values()
            return "email" in one.closed


def scoped(there):
    if "hubspot" in there:
        there["hubspot"].scopes |= {*SCOPES.values()}


@pytest.mark.parametrize("crm", RECORDS)
@pytest.mark.parametrize(
    ("older", "newer", "out"),
    [(True, None, True), (True, False, True), (None, True, True), (None, False, False), (None, None, False)],
)
async def test_an_opt_out_of_either_row_arrives(app, url, monkeypatch, consenting, crm, older, newer, out):  # noqa: PLR0917
    await consenting(crm, older, newer, subscribe=True)
    async with sandboxes(crm) as there:
        scoped(there)
        async with delivering(url, monkeypatch, {crm: there[crm].url}) as clients:
            await until(app, complete(crm))
        assert is_out(crm, there[crm]) is out
        sent = [[one.fields[NAME[crm]] for one in request] for request in clients[crm].requests]
    assert sent == [["Newer"]]
    assert await app.fetchval(f"SELECT count({crm}_processing_error) FROM contacts") == 0


@pytest.mark.parametrize("crm", RECORDS)
async def test_where_the_newer_row_is_refused_the_older_comes_alone_with_its_opt_out(app, url, monkeypatch, consenting, crm):
    await consenting(crm, True, None)
    async with sandboxes(crm) as there:
        scoped(there)
        there[crm].refuse("Newer")
        async with delivering(url, monkeypatch, {crm: there[crm].url}):
            await until(app, f"bool_and({crm}_sync_status IN ('Complete', 'Error')) FROM contacts")
        assert is_out(crm, there[crm])
    rows = await app.fetch(f"SELECT {crm}_sync_status FROM contacts ORDER BY first_name")
    assert [row[0] for row in rows] == ["Error", "Complete"]


async def test_where_the_opt_out_did_not_arrive_neither_row_is_complete(app, url, monkeypatch, consenting):
    await consenting("hubspot", True, None)
    async with sandboxes("hubspot") as there:
        scoped(there)
        crm = there["hubspot"]
        crm.standing_faults.append(Fault(lambda call: "unsubscribe-all" in call.path, answer=crm.throttled()))
        async with delivering(url, monkeypatch, {"hubspot": crm.url}):
            await until(app, "breaker <> 'closed' FROM crm_sync.lanes WHERE crm = 'hubspot'")
            await until(app, "bool_and(hubspot_sync_status = 'Queued' AND hubspot_claimed_by IS NULL) FROM contacts")


# One row after another, where the mapping says `subscribe = true`.


def put_out(crm, sandbox):
    """The person unsubscribes in the CRM."""
    [one] = sandbox.account.contacts.values()
    if crm == "brevo":
        one.is_blocklisted = True
    else:
        one.closed["email"] = UNSUBSCRIBED


@pytest.mark.parametrize("crm", OPT_INS)
async def test_a_row_that_says_false_opts_in_at_every_delivery(app, url, monkeypatch, consenting, crm):
    await consenting(crm, False, None, subscribe=True)
    await app.execute("DELETE FROM contacts WHERE first_name = 'Newer'")
    async with sandboxes(crm) as there, delivering(url, monkeypatch, {crm: there[crm].url}):
        await until(app, complete(crm))
        put_out(crm, there[crm])
        await app.execute(f"UPDATE contacts SET last_name = 'Byron', {crm}_sync_status = 'Queued'")
        await until(app, complete(crm))
        assert not is_out(crm, there[crm])


@pytest.mark.parametrize("crm", OPT_INS)
async def test_with_the_expression_of_the_manual_only_a_new_consent_opts_in(app, url, monkeypatch, tmp_path, crm):
    [expression] = [
        tomllib.loads(block.code)["brevo"]["emailBlacklisted"]
        for block in blocks((ROOT / "docs/reference/mapping.md").read_text())
        if "opted_in_at" in block.code
    ]
    await app.execute("ALTER TABLE contacts ADD opted_out boolean, ADD opted_in_at timestamptz")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(
        f'[{crm}]\n{NAME[crm]} = "first_name"\n[{crm}.{CONSENT[crm]}]\nsql = "{expression["sql"]}"\nsubscribe = true\n'
    )
    roles.let_in(url, MAPPING_FILE=str(mapping))
    await app.execute("INSERT INTO contacts (email, first_name) VALUES ($1, 'Ada')", ADA)
    async with sandboxes(crm) as there, delivering(url, monkeypatch, {crm: there[crm].url}, MAPPING_FILE=str(mapping)):

        async def out_after(change):
            await app.execute(f"UPDATE contacts SET {change}, {crm}_sync_status = 'Queued'")
            await until(app, complete(crm))
            return is_out(crm, there[crm])

        assert not await out_after("opted_out = false, opted_in_at = now() - interval '2 days'")
        put_out(crm, there[crm])
        assert await out_after("last_name = 'Byron'")
        assert not await out_after("opted_in_at = now()")
        assert await out_after("opted_out = true")


async def test_preview_shows_what_is_sent_of_both(app, url, consenting):
    await consenting("brevo", True, None)
    said = preview(url, "--email", ADA, "--crm", "brevo", BREVO_API_KEY="xkeysib-x").output
    assert '"emailBlacklisted": true' in said
    assert "Newer" in said
