"""Contacts without an address at HubSpot, by a real worker: delivered, deleted, previewed, compared, matched and explained."""

import asyncio

import pytest
from click.testing import CliRunner

from crm_sync.cli import crm_sync
from crm_sync.core.waits import Waits
from crm_sync.sandbox.credentials import HUBSPOT_TOKEN
from crm_sync.sandbox.server import Fault
from tests.commands.test_preview import run as preview
from tests.daemon.test_clearing import turn_on
from tests.faults.real_crms import delivering, sandboxes
from tests.harness import until
from tests.roles import as_worker, let_in

SETTLED = "bool_and(hubspot_sync_status IN ('Complete', 'Error')) FROM contacts"
MAPPING = '[hubspot]\nfirstname = "first_name"\nlastname = "last_name"\napp_id = "company"\n'
ADA = "ada@example.com"


@pytest.fixture
async def hubspot():
    async with sandboxes("hubspot") as there:
        there["hubspot"].account.define("app_id", "string", is_unique=True)
        yield there["hubspot"]


@pytest.fixture
def env(url, tmp_path):
    path = tmp_path / "mapping.toml"
    path.write_text(MAPPING)
    let_in(url, MAPPING_FILE=str(path))
    return {"MAPPING_FILE": str(path), "HUBSPOT_MATCH": "app_id"}


@pytest.fixture
def worker(url, monkeypatch, hubspot, env):
    return lambda **others: delivering(url, monkeypatch, {"hubspot": hubspot.url}, **env, **others)


async def put(app, email, app_id, first_name="Ada"):
    return await app.fetchval(
        "INSERT INTO contacts (email, company, first_name, hubspot_sync_status) VALUES ($1, $2, $3, 'Queued') RETURNING id",
        email,
        app_id,
        first_name,
    )


async def rows(app, *columns):
    names = ", ".join(f"hubspot_{column}" for column in columns)
    return [tuple(row) for row in await app.fetch(f"SELECT {names} FROM contacts ORDER BY first_name, id")]


def held(hubspot):
    return {one.id: one.properties for one in hubspot.contacts.values()}


async def run(url, *arguments, **env):
    """A command, in a thread, because it has a loop of its own, and the sandbox is in ours."""
    settings = {"DATABASE_URL": as_worker(url), "HUBSPOT_ACCESS_TOKEN": HUBSPOT_TOKEN, **env}
    answer = await asyncio.to_thread(CliRunner().invoke, crm_sync, arguments, env=settings)
    return answer.exit_code, " ".join(answer.output.split())


async def test_each_is_delivered_by_the_property_in_one_request_and_its_id_is_learned(app, hubspot, worker):
    for number, email in enumerate([None, "", " \t", ADA]):
        await put(app, email, str(number), f"P{number}")
    async with worker():
        await until(app, SETTLED)
        requests = [request.path.rpartition("/")[2] for request in hubspot.requests if "batch" in request.path]
        assert requests == ["upsert"]
    ids = {values["app_id"]: record for record, values in held(hubspot).items()}
    assert await rows(app, "sync_status", "contact_id") == [("Complete", ids[str(number)]) for number in range(4)]
    assert [values.get("email") for _, values in sorted(held(hubspot).items(), key=lambda one: one[1]["app_id"])] == [
        *(None, None, None),
        ADA,
    ]


async def test_rows_with_one_value_share_a_delivery_and_the_id(app, hubspot, worker):
    first = await put(app, None, "7", "Ada")
    await put(app, "", "7", "Bob")
    await app.execute("UPDATE contacts SET hubspot_sync_status = 'Queued' WHERE id = $1", first)
    async with worker():
        await until(app, SETTLED)
    assert held(hubspot) == {"101": {"app_id": "7", "firstname": "Ada"}}
    assert await rows(app, "sync_status", "contact_id") == [("Complete", "101")] * 2


async def test_what_has_neither_is_told_what_to_do_and_holds_up_nobody(app, hubspot, worker):
    await put(app, None, None, "Ada")
    await put(app, "not an address", "8", "Bob")
    await put(app, None, "9", "Cleo")
    async with worker():
        await until(app, SETTLED)
    remedy = "add one or a value for app_id (HUBSPOT_MATCH) to the row, and queue it again"
    assert await rows(app, "processing_error") == [
        (f"INVALID_EMAIL: the contact has no email address: {remedy}",),
        ("INVALID_EMAIL: the email address is malformed",),
        (None,),
    ]
    assert [values["app_id"] for values in held(hubspot).values()] == ["9"]


async def test_a_row_that_loses_its_address_and_its_key_is_still_known_by_its_id(app, hubspot, worker):
    await put(app, ADA, "7")
    async with worker():
        await until(app, SETTLED)
        await app.execute("UPDATE contacts SET email = NULL, company = NULL, first_name = 'Eva', hubspot_sync_status = 'Queued'")
        await until(app, SETTLED)
        assert held(hubspot) == {"101": {"app_id": "7", "email": ADA, "firstname": "Eva"}}
        hubspot.account.erase(hubspot.contacts["101"])
        await app.execute("UPDATE contacts SET first_name = 'Eve', hubspot_sync_status = 'Queued'")
        await until(app, SETTLED)
    [(status, error)] = await rows(app, "sync_status", "processing_error")
    assert (status, hubspot.contacts) == ("Error", {})
    assert error.startswith("INVALID_EMAIL: the contact has no email address, and HubSpot has no record 101 any more: add one")


async def test_of_many_refused_together_the_one_to_blame_is_found(app, hubspot, worker):
    """As a firewall does it that minds the words of one contact."""
    for number in range(10):
        await put(app, None, str(number), "UNION SELECT" if number == 3 else f"P{number}")
    hubspot.standing_faults.append(Fault(lambda call: "UNION SELECT" in str(call.body), answer=hubspot.refused()))
    async with worker():
        await until(app, SETTLED)
    assert await app.fetchval("SELECT company FROM contacts WHERE hubspot_sync_status = 'Error'") == "3"
    assert len(hubspot.contacts) == 9


async def test_it_is_emptied_in_hubspot_with_its_row(app, url, hubspot, worker):
    await turn_on(app, "hubspot")
    await put(app, None, "7")
    await app.execute("UPDATE contacts SET last_name = 'Byron'")
    async with worker(HUBSPOT_EMPTY="clear"):
        await until(app, SETTLED)
        await app.execute("UPDATE contacts SET last_name = NULL, hubspot_sync_status = 'Queued'")
        await until(app, SETTLED)
    assert held(hubspot) == {"101": {"app_id": "7", "firstname": "Ada", "lastname": ""}}


async def test_its_record_is_deleted_with_its_row_by_its_id(app, hubspot, worker):
    await app.execute("SELECT crm_sync.set_on_delete('hubspot', 'delete')")
    await put(app, None, "7", "Ada")
    await put(app, None, "8", "Bob")
    async with worker(waits=Waits(tick_s=0.1)):
        await until(app, SETTLED)
        await app.execute("DELETE FROM contacts WHERE company = '7'")
        await until(app, "NOT EXISTS (SELECT FROM crm_sync.tombstones)")
    assert [values["app_id"] for values in held(hubspot).values()] == ["8"]
    assert [one.properties["app_id"] for one in hubspot.account.archived.values()] == ["7"]


async def test_a_record_that_another_row_has_by_the_same_value_is_kept(app, hubspot, worker):
    await app.execute("SELECT crm_sync.set_on_delete('hubspot', 'delete')")
    first = await put(app, None, "7")
    async with worker(waits=Waits(tick_s=0.1)):
        await until(app, SETTLED)
        await put(app, None, "7")
        await until(app, SETTLED)
        await app.execute("DELETE FROM contacts WHERE id = $1", first)
        await until(app, "NOT EXISTS (SELECT FROM crm_sync.tombstones)")
    assert list(hubspot.contacts) == ["101"]


async def test_preview_shows_the_request_of_each_case(app, url, hubspot, env):
    key = str(await put(app, None, "7"))
    access = {**env, "HUBSPOT_ACCESS_TOKEN": HUBSPOT_TOKEN, "HUBSPOT_BASE_URL": hubspot.url}

    def shown(**others):
        answer = preview(url, "--key", key, "--crm", "hubspot", **access, **others)
        assert answer.exit_code == 0, answer.output
        return " ".join(answer.output.split())

    new = shown()
    assert '"id": "7", "idProperty": "app_id"' in new
    assert "email" not in new.partition("POST")[2]
    update = shown(HUBSPOT_MODE="update")
    assert "If HubSpot has a contact with this app_id, nothing more is sent: it is delivered." in update
    assert "If HubSpot has no contact with this app_id, nothing more is sent: it would be rejected. NOT_THERE" in update
    await app.execute("UPDATE contacts SET hubspot_contact_id = '101', company = NULL")
    known = shown()
    assert (
        "If HubSpot has no record 101 any more, nothing more is sent: it would be rejected. INVALID_EMAIL: the contact" in known
    )
    await app.execute("UPDATE contacts SET hubspot_contact_id = NULL")
    assert "INVALID_EMAIL: the contact has no email address: add one or a value for app_id" in shown()
    assert hubspot.request_count == 0


async def test_compare_reads_it_by_its_id_or_the_property(app, url, hubspot, worker, env):
    for number in range(3):
        await put(app, None, str(number), f"P{number}")
    async with worker():
        await until(app, SETTLED)
    access = {**env, "HUBSPOT_BASE_URL": hubspot.url}
    assert await run(url, "compare", "hubspot", **access) == (0, "hubspot: 3 compared, 0 different, 0 unknown to hubspot.")
    moved = next(one for one in hubspot.contacts.values() if one.properties["app_id"] == "1")
    hubspot.account.erase(moved)
    hubspot.account.apply(hubspot.account.plan(None, {**moved.properties, "email": ADA, "firstname": "Eva"}, {}))
    code, said = await run(url, "compare", "hubspot", **access)
    assert code == 1
    assert said.startswith("hubspot: 3 compared, 1 different, 0 unknown to hubspot.")


async def test_match_finds_it_by_its_key(app, url, hubspot, env):
    hubspot.account.apply(hubspot.account.plan(None, {"app_id": "7", "firstname": "Ada"}, {}))
    [record] = hubspot.contacts
    await put(app, None, "7")
    await app.execute("UPDATE contacts SET hubspot_sync_status = 'New'")
    code, said = await run(url, "match", "hubspot", **env, HUBSPOT_BASE_URL=hubspot.url)
    assert code == 0, said
    assert await rows(app, "contact_id") == [(str(record),)]


async def test_it_is_explained_and_can_be_forgotten(app, url, hubspot, worker):
    key = str(await put(app, None, "7"))
    async with worker():
        await until(app, SETTLED)
        await until(app, "count(*) > 0 FROM crm_sync.deliveries")
    code, why = await run(url, "why", "--key", key)
    assert code == 0, why
    assert "101" in why
    code, history = await run(url, "history", "--key", key)
    assert (code, "delivered" in history) == (0, True), history
    assert await run(url, "forget", key) == (0, "Forgotten: 1 of hubspot. These lines no longer name anyone.")
    assert await app.fetchval("SELECT count(*) FROM crm_sync.history WHERE key IS NOT NULL OR remote_id IS NOT NULL") == 0
