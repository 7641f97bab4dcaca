"""Contacts without an address at Brevo, by a real worker, and what the commands make of them."""

import json

import pytest

from crm_sync.core.waits import Waits
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.process import settings
from tests.commands.printed import requests
from tests.commands.test_history import run as history
from tests.commands.test_preview import run as preview
from tests.commands.test_why import verdicts
from tests.daemon.test_clearing import turn_on
from tests.faults.real_crms import complete, delivering, sandboxes
from tests.harness import until
from tests.process import ended, environment, process
from tests.roles import as_worker, let_in
from tests.tiers import slow

PHONE, DIGITS = "+33639980001", "33639980001"
OTHER, OTHER_DIGITS = "+33639980002", "33639980002"
SOON = Waits(tick_s=0.1)
SETTLED = "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts"
PHONE_ONLY = {"BREVO_PHONE_ONLY": "true"}


@pytest.fixture
def by_ext_id(url, tmp_path):
    path = tmp_path / "mapping.toml"
    path.write_text('[brevo]\nEXT_ID = "id::text"\nFIRSTNAME = "first_name"\nSMS = "phone"\n')
    let_in(url, MAPPING_FILE=str(path))
    return {"MAPPING_FILE": str(path), "BREVO_MATCH": "ext_id"}


@pytest.fixture
async def brevo():
    async with sandboxes("brevo") as there:
        yield there["brevo"]


@pytest.fixture
def working(url, monkeypatch, brevo):
    """A worker, for as long as the context lasts."""
    return lambda **env: delivering(url, monkeypatch, {"brevo": brevo.url}, **env)


async def put(app, first_name, phone=None, email=None):
    insert = "INSERT INTO contacts (email, first_name, phone, brevo_sync_status) VALUES ($1, $2, $3, 'Queued') RETURNING id"
    return await app.fetchval(insert, email, first_name, phone)


async def flip(app, change="first_name = first_name"):
    await app.execute(f"UPDATE contacts SET {change}, brevo_sync_status = 'Queued'")
    await until(app, SETTLED)


async def ids(app):
    return {row[0]: row[1] for row in await app.fetch("SELECT first_name, brevo_contact_id FROM contacts")}


def names(brevo: BrevoSandbox):
    return {one.id: one.attributes.get("FIRSTNAME") for one in brevo.contacts.values()}


async def test_each_with_an_ext_id_is_delivered_and_knows_its_id(app, working, brevo, by_ext_id):
    for name, phone, email in (("Ana", PHONE, None), ("Ben", PHONE, ""), ("Cleo", None, " "), ("Dan", None, "dan@example.com")):
        await put(app, name, phone, email)
    async with working(**by_ext_id):
        await until(app, complete("brevo"))
        assert await ids(app) == {name: str(number) for number, name in names(brevo).items()}
        assert sorted(one.email or "" for one in brevo.contacts.values()) == ["", "", "", "dan@example.com"]
        reasons = await app.fetch("SELECT brevo_processing_error FROM contacts WHERE brevo_processing_error IS NOT NULL")
        assert [reason.partition(": it was")[0] for (reason,) in reasons] == ["FIELD_NOT_SENT: SMS"], "one of two has the number"
        await flip(app, "first_name = first_name || '!'")
        assert set(names(brevo).values()) == {"Ana!", "Ben!", "Cleo!", "Dan!"}
    assert len(brevo.contacts) == 4


async def test_those_with_one_number_share_a_delivery(app, working, brevo):
    for name, phone in (("Ana", "0033 6 39 98 00 01"), ("Ben", OTHER), ("Cleo", PHONE)):
        await put(app, name, phone)
    async with working(**PHONE_ONLY):
        await until(app, complete("brevo"))
    held = {one.attributes["SMS"]: (str(one.id), one.attributes["FIRSTNAME"]) for one in brevo.contacts.values()}
    assert {number: name for number, (_, name) in held.items()} == {DIGITS: "Cleo", OTHER_DIGITS: "Ben"}
    known = await ids(app)
    assert known == {"Ana": held[DIGITS][0], "Cleo": held[DIGITS][0], "Ben": held[OTHER_DIGITS][0]}
    assert [request.method for request in brevo.requests if request.method != "GET"] == ["POST", "POST"]


async def test_one_without_anything_that_says_who_it_is_costs_no_request(app, working, brevo):
    await put(app, "Ana", "06 39 98 00 01")
    async with working(**PHONE_ONLY):
        await until(app, SETTLED)
    assert await app.fetchval("SELECT brevo_processing_error FROM contacts") == (
        "INVALID_EMAIL: the contact has no email address: add one or a phone number with its country code (SMS) to the row, and "
        "queue it again"
    )
    assert not brevo.contacts


async def test_an_address_is_kept_when_the_row_loses_it_and_set_when_the_row_gets_one(app, working, brevo):
    await put(app, "Ana", PHONE, "ana@example.com")
    async with working():
        await until(app, complete("brevo"))
        await flip(app, "email = NULL, first_name = 'Eva'")
        [there] = brevo.contacts.values()
        assert (there.email, there.attributes["FIRSTNAME"]) == ("ana@example.com", "Eva")
        await flip(app, "email = 'eva@example.com'")
    assert [one.email for one in brevo.contacts.values()] == ["eva@example.com"]
    assert await app.fetchval(f"SELECT {complete('brevo')}")


async def test_its_fields_are_cleared(app, working, brevo, by_ext_id):
    await turn_on(app, "brevo")
    await put(app, "Ana", PHONE)
    async with working(BREVO_EMPTY="clear", **by_ext_id):
        await until(app, complete("brevo"))
        await flip(app, "first_name = NULL")
        [there] = brevo.contacts.values()
        assert there.attributes.keys() == {"EXT_ID", "SMS"}
        await flip(app, "phone = NULL")
        assert there.attributes["SMS"] == DIGITS
        said = await app.fetchval("SELECT brevo_processing_error FROM contacts")
        assert said == "FIELD_NOT_SENT: SMS: Brevo keeps it for a contact that has no address"
        await flip(app, "email = 'ana@example.com'")
    assert (there.email, there.attributes.keys()) == ("ana@example.com", {"EXT_ID"})


@pytest.mark.parametrize("policy", ["delete", "erase"])
async def test_it_is_deleted_with_its_row(app, working, brevo, policy):
    await app.execute("SELECT crm_sync.set_on_delete('brevo', $1)", policy)
    await put(app, "Ana", PHONE)
    await put(app, "Ben", OTHER)
    async with working(waits=SOON, **PHONE_ONLY):
        await until(app, complete("brevo"))
        await app.execute("DELETE FROM contacts WHERE first_name = 'Ana'")
        await until(app, "NOT EXISTS (SELECT FROM crm_sync.tombstones)")
    assert [*names(brevo).values()] == ["Ben"]


@pytest.mark.parametrize("case", ["a contact with this {}, 4711 say", "no contact with this {}"])
@pytest.mark.parametrize("known_by", ["ext_id", "phone number"])
async def test_a_preview_shows_what_is_sent(request, app, working, *, url, brevo, known_by, case):
    env = request.getfixturevalue("by_ext_id") if known_by == "ext_id" else PHONE_ONLY
    is_known = case.startswith("a ")
    key = str(await put(app, "Ana", PHONE))
    said = preview(url, "--key", key, "--crm", "brevo", **settings("brevo", brevo.url), **env)
    assert said.exit_code == 0, said.output
    shown = requests(said.output)
    if is_known:
        brevo.account.save({"attributes": {"EXT_ID": key} if known_by == "ext_id" else {"SMS": PHONE}})
    async with working(**env):
        await until(app, complete("brevo"))
    what = known_by + " and no address" * (is_known and known_by != "ext_id")
    expected = [(one.method, one.body) for one in (*shown[""], *shown[f"If Brevo has {case.format(what)}"])]
    sent = [(one.method, one.body) for one in brevo.requests if not one.path.endswith("/attributes")]
    assert [method for method, _ in sent] == ["GET", "PUT" if is_known else "POST"]
    assert expected == sent


async def test_a_preview_says_where_the_number_is_another_persons(app, url, brevo):
    key = str(await put(app, "Ana", PHONE))
    said = " ".join(preview(url, "--key", key, "--crm", "brevo", **settings("brevo", brevo.url), **PHONE_ONLY).output.split())
    assert "If Brevo has a contact with this phone number and an address" in said
    assert "DUPLICATE: contact 4711 in Brevo has the same phone number" in said


async def test_a_preview_by_the_id_alone_says_that_none_can_be_created(app, url, brevo):
    key = str(await put(app, "Ana"))
    await app.execute("UPDATE contacts SET brevo_contact_id = '41'")
    said = preview(url, "--key", key, "--crm", "brevo", **settings("brevo", brevo.url))
    shown = requests(said.output)
    assert [one.method for one in (*shown[""], *shown["If Brevo has contact 41"])] == ["GET", "PUT"], said.output
    assert "If Brevo has no contact 41 any more" in said.output
    assert "INVALID_EMAIL: the contact has no email address, and Brevo has no contact 41" in " ".join(said.output.split())


async def compared(url, brevo, env, *arguments):
    env = environment(url) | settings("brevo", brevo.url) | env
    async with process(env, "compare", "brevo", "--json", *arguments) as command:
        code, out, err = await ended(command)
    assert code in (0, 1), err
    return json.loads(out)


@slow
@pytest.mark.parametrize("placeholders", [True, False])
async def test_compare_finds_what_was_changed_and_nothing_else(app, working, url, brevo, placeholders):
    brevo.account.placeholders = placeholders
    for name, phone, email in (("Ana", PHONE, None), ("Ben", OTHER, None), ("Dan", None, "dan@example.com")):
        await put(app, name, phone, email)
    async with working(**PHONE_ONLY):
        await until(app, complete("brevo"))
        said = await compared(url, brevo, PHONE_ONLY)
        assert (said["compared"], said["differing"], said["unknown"]) == (3, 0, 0), said
        next(one for one in brevo.contacts.values() if one.attributes.get("SMS") == DIGITS).attributes["FIRSTNAME"] = "Eva"
        said = await compared(url, brevo, PHONE_ONLY, "--flip")
        assert (said["compared"], said["differing"], said["flipped"]) == (3, 1, 1), said
        await until(app, complete("brevo"))
    assert set(names(brevo).values()) == {"Ana", "Ben", "Dan"}


async def test_match_finds_it_by_its_number(app, url, brevo):
    await app.execute("INSERT INTO contacts (first_name, phone) VALUES ('Ana', $1)", PHONE)
    brevo.account.save({"attributes": {"SMS": PHONE}})
    [record] = brevo.contacts
    env = environment(url) | settings("brevo", brevo.url) | PHONE_ONLY
    async with process(env, "match", "brevo") as command:
        code, out, err = await ended(command)
    assert (code, err) == (0, ""), (out, err)
    assert await ids(app) == {"Ana": str(record)}


async def test_why_history_and_forget_know_it_by_its_key(app, working, url):
    key = str(await put(app, "Ana", PHONE))
    async with working(**PHONE_ONLY):
        await until(app, complete("brevo"))
    [told] = verdicts(as_worker(url), "--key", key, **PHONE_ONLY)
    assert told["verdict"] == "delivered", told
    assert "record 1" in history(url, "history", "--key", key)
    assert "Forgotten: 1 of brevo" in history(url, "forget", key)
    assert DIGITS not in json.dumps([dict(row) for row in await app.fetch("SELECT * FROM crm_sync.history")], default=str)


async def test_a_mapping_without_the_phone_holds_the_lane(app, url, tmp_path, brevo):
    path = tmp_path / "mapping.toml"
    path.write_text('[brevo]\nFIRSTNAME = "first_name"\n')
    env = environment(url) | settings("brevo", brevo.url) | PHONE_ONLY | {"MAPPING_FILE": str(path)}
    async with process(env, "check") as command:
        code, out, err = await ended(command)
    assert "BREVO_PHONE_ONLY: the mapping of brevo does not send SMS" in " ".join((out + err).split())
    assert code != 0
