"""A contact without an address at Mautic, by a real worker: what becomes of its row, and what each command says of it."""

import json
from contextlib import asynccontextmanager

import pytest

from crm_sync.core.waits import USUAL, Waits
from crm_sync.sandbox.process import settings
from tests.commands.test_compare import told as compare
from tests.commands.test_history import run as command
from tests.commands.test_match import matched as match
from tests.commands.test_preview import run as preview
from tests.commands.test_why import why
from tests.faults.real_crms import delivering, sandboxes
from tests.harness import until
from tests.process import environment
from tests.roles import let_in
from tests.tiers import slow

SETTLED = "bool_and(mautic_sync_status IN ('Complete', 'Error')) FROM contacts"
NOBODY = (
    "the contact has no email address: add one to the row, or a value of app_id, by which Mautic knows a contact (not 0, which "
    "it takes for empty), and queue it again"
)
SETTINGS = {"MAUTIC_BASE_URL": "https://mautic.example.com", "MAUTIC_USERNAME": "ada", "MAUTIC_PASSWORD": "secret-1"}


@pytest.fixture
def mapped(url, tmp_path):
    """The key that Mautic matches by is the column city."""

    def write(*lines):
        path = tmp_path / "mapping.toml"
        path.write_text("\n".join(["[mautic]", 'app_id = "city"', 'firstname = "first_name"', *lines]))
        let_in(url, MAPPING_FILE=str(path))
        return {"MAPPING_FILE": str(path), "MAUTIC_MATCH": "app_id"}

    return write


@asynccontextmanager
async def mautic(url, monkeypatch, env, waits=USUAL):
    async with sandboxes("mautic") as there:
        there["mautic"].account.fields |= {"app_id": "text", "vip": "text"}
        there["mautic"].account.identifiers.add("app_id")
        async with delivering(url, monkeypatch, {"mautic": there["mautic"].url}, waits=waits, **env):
            yield there["mautic"]


async def put(app, *people):
    """Each with its first name, address and key."""
    for name, email, city in people:
        await app.execute(
            "INSERT INTO contacts (first_name, email, city, mautic_sync_status) VALUES ($1, $2, $3, 'Queued')", name, email, city
        )
    await until(app, SETTLED)


async def flip(app, change, name):
    await app.execute(f"UPDATE contacts SET {change}, mautic_sync_status = 'Queued' WHERE first_name = $1", name)
    await until(app, SETTLED)


async def rows(app):
    found = await app.fetch("SELECT first_name, mautic_sync_status, mautic_processing_error, mautic_contact_id FROM contacts")
    return {row[0]: tuple(row)[1:] for row in found}


def held(crm, *names):
    return {str(one.id): tuple(one.values[name] for name in ("email", "app_id", *names)) for one in crm.contacts.values()}


async def test_each_is_known_by_its_value_its_id_or_told_what_to_do(app, url, monkeypatch, mapped):
    async with mautic(url, monkeypatch, mapped()) as crm:
        await put(app, ("Ada", None, "7"), ("Bob", " ", "8"), ("Cy", "cy@example.com", None), ("Dan", "", None))
        ids = {name: row[2] for name, row in (await rows(app)).items()}
        assert {held(crm)[ids[name]] for name in ("Ada", "Bob", "Cy")} == {(None, "7"), (None, "8"), ("cy@example.com", None)}
        assert (await rows(app))["Dan"] == (
            "Error",
            f"INVALID_EMAIL: {NOBODY}",
            None,
        )
        await flip(app, "city = '9'", "Dan")
        await flip(app, "email = NULL, last_name = 'Young'", "Cy")
        assert {row[0] for row in (await rows(app)).values()} == {"Complete"}
        assert held(crm)[ids["Cy"]] == ("cy@example.com", None), "the address stays"
        assert len(crm.contacts) == 4


async def test_rows_with_one_value_share_a_delivery_and_their_opt_outs(app, url, monkeypatch, mapped):
    env = mapped("doNotContact = \"CASE WHEN last_name = 'out' THEN true END\"")
    async with mautic(url, monkeypatch, env) as crm:
        await app.execute(
            "INSERT INTO contacts (first_name, last_name, email, city, mautic_sync_status) VALUES "
            "('Ada', 'out', NULL, 'X7', 'Queued'), ('Ada', 'in', '', 'x7 ', 'Queued')"
        )
        await until(app, SETTLED)
        [record] = crm.contacts.values()
        assert record.closed == {"email": 3}
        assert [request.method for request in crm.requests if request.path.startswith("/api/contacts/")] == ["POST"]
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE mautic_contact_id = '1'") == 2


async def test_what_was_sent_is_cleared_with_the_row_and_the_address_is_not(app, url, monkeypatch, mapped):
    await app.execute("SELECT crm_sync.set_clearing('mautic', true)")
    async with mautic(url, monkeypatch, mapped('vip = { sql = "company", empty = "clear" }')) as crm:
        await put(app, ("Ada", "ada@example.com", "7"))
        await flip(app, "email = NULL, company = 'gold'", "Ada")
        assert held(crm, "vip") == {"1": ("ada@example.com", "7", "gold")}
        await flip(app, "company = NULL", "Ada")
        assert held(crm, "vip") == {"1": ("ada@example.com", "7", None)}


async def test_its_record_is_deleted_by_its_id(app, url, monkeypatch, mapped):
    await app.execute("SELECT crm_sync.set_on_delete('mautic', 'delete')")
    async with mautic(url, monkeypatch, mapped(), Waits(tick_s=0.1)) as crm:
        await put(app, ("Ada", None, "7"), ("Bob", None, "8"), ("Cy", "cy@example.com", None), ("Dan", None, None))
        await flip(app, "email = NULL", "Cy")
        await app.execute("DELETE FROM contacts WHERE first_name <> 'Bob'")
        await until(app, "NOT EXISTS (SELECT FROM crm_sync.tombstones)")
        assert [*held(crm).values()] == [(None, "8")]


@slow
async def test_compare_finds_it_by_its_id_and_else_by_its_value(app, url, monkeypatch, mapped):
    env = mapped()
    async with mautic(url, monkeypatch, env) as crm:
        await put(app, ("Ada", None, "7"), ("Bob", None, "8"), ("Cy", "cy@example.com", None))
        await flip(app, "email = NULL", "Cy")
        env = environment(url, **settings("mautic", crm.url), **env)
        assert "3 compared, 0 different, 0 unknown" in (said := (await compare(env, "mautic"))[1]), said
        ids = {row["first_name"]: row["mautic_contact_id"] for row in await app.fetch("SELECT * FROM contacts")}
        crm.account.edit(crm.contacts[int(ids["Bob"])], {"firstname": "Eve"})
        await app.execute("UPDATE contacts SET mautic_contact_id = '4711' WHERE first_name = 'Bob'")
        assert "3 compared, 1 different, 0 unknown to mautic, 1 queued" in (
            said := (await compare(env, "mautic", "--flip"))[1]
        ), said
        await until(app, SETTLED)
        assert (await rows(app))["Bob"][2] == ids["Bob"]
        assert crm.contacts[int(ids["Bob"])].values["firstname"] == "Bob"


@slow
async def test_match_finds_it_by_its_key(app, url, monkeypatch, mapped):
    env = mapped()
    async with mautic(url, monkeypatch, env) as crm:
        made = crm.account.create({"app_id": "7"})
        await app.execute("INSERT INTO contacts (first_name, city) VALUES ('Ada', '7'), ('Bob', '8')")
        code, said = await match(environment(url, **settings("mautic", crm.url), **env), "mautic")
        assert code == 0, said
        found = await rows(app)
        assert (found["Ada"][2], found["Bob"][2]) == (str(made.id), None)


async def test_commands_name_it_by_its_key(app, url, monkeypatch, mapped):
    env = mapped()
    await put_one(app, "Ada", None, "7")
    key = str(await app.fetchval("SELECT id FROM contacts"))
    said = preview(url, "--key", key, "--crm", "mautic", **SETTINGS, **env).output
    there, missing = said.partition("If a record")[2].split("If no record of Mautic has its app_id")
    assert "app_id" in said.partition("If a record")[0], said
    assert ("PATCH" in there, "POST" in missing, '"email"' in said) == (True, True, False), said
    async with mautic(url, monkeypatch, env):
        await app.execute("UPDATE contacts SET mautic_sync_status = 'Queued'")
        await until(app, SETTLED)
        [told] = json.loads(why(url, "--key", key, "--crm", "mautic", "--json", **env))["contacts"][0]["verdicts"]
        assert told["verdict"] == "delivered", told
        assert "record 1" in command(url, "history", "--key", key)
        assert "1 of mautic" in command(url, "forget", key)
    said = preview(url, "--key", key, "--crm", "mautic", **SETTINGS, **env).output
    assert ('"id": 1' in said, '"app_id": "7"' in said, "POST" in said) == (True, True, False), said
    said = " ".join(preview(url, "--key", key, "--crm", "mautic", **SETTINGS, MAUTIC_MATCH="email").output.split())
    assert "PATCH" in said, "by its id"
    await app.execute("UPDATE contacts SET mautic_contact_id = NULL")
    said = " ".join(preview(url, "--key", key, "--crm", "mautic", **SETTINGS, MAUTIC_MATCH="email").output.split())
    assert (
        "INVALID_EMAIL: the contact has no email address: add one to the row, or set MAUTIC_MATCH to a unique identifier" in said
    )


async def put_one(app, name, email, city):
    await app.execute("INSERT INTO contacts (first_name, email, city) VALUES ($1, $2, $3)", name, email, city)
