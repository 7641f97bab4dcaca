"""crm-sync match by a key of one's own: HUBSPOT_MATCH, BREVO_MATCH, BREVO_PHONE_ONLY and MAUTIC_MATCH."""

import pytest

from crm_sync.sandbox.__main__ import UNLIMITED
from crm_sync.sandbox.process import settings
from crm_sync.sandbox.server import is_about_contacts
from tests.commands.test_match import ids, matched
from tests.harness import ALL_COMPLETE, until
from tests.process import environment, process

CRMS = {"hubspot": ("HUBSPOT_MATCH", "app_id"), "brevo": ("BREVO_MATCH", "EXT_ID"), "mautic": ("MAUTIC_MATCH", "app_id")}


class Account:
    """The sandbox of a CRM, and the environment that names a key in it."""

    def __init__(self, crm, sandbox, env):
        self.crm, self.sandbox, self.env = crm, sandbox, env

    def put(self, email, key):
        """A record that the CRM has had for years. Returns its id."""
        account, name = self.sandbox.account, CRMS[self.crm][1]
        match self.crm:
            case "hubspot":
                values = {name: value for name, value in (("email", email), (name, key)) if value}
                return str(account.apply(account.plan(None, values, {})).id)
            case "brevo":
                body = {"email": email, "ext_id": key, "attributes": {"FIRSTNAME": "Ada"}}
                return str(account.save({name: value for name, value in body.items() if value})[0].id)
        return str(account.create({name: value for name, value in (("email", email), (name, key)) if value}).id)

    async def match(self):
        return await matched(self.env, self.crm)


@pytest.fixture(params=CRMS)
async def account(request, url, tmp_path):
    crm = request.param
    setting, name = CRMS[crm]
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(f'[{crm}]\n{name} = "last_name"\n')
    async with UNLIMITED[crm](0) as sandbox:
        match crm:
            case "hubspot":
                sandbox.account.define(name, "string", is_unique=True)
            case "mautic":
                sandbox.account.fields[name] = "text"
                sandbox.account.identifiers = {"email", name}
        chosen = {setting: "ext_id" if crm == "brevo" else name, "MAPPING_FILE": str(mapping)}
        yield Account(crm, sandbox, environment(url, **chosen) | settings(crm, sandbox.url))


async def people(app, *rows):
    await app.executemany("INSERT INTO contacts (email, last_name) VALUES ($1, $2)", rows)


async def found(app, crm):
    rows = await app.fetch(f"SELECT email, last_name, {crm}_contact_id AS record FROM contacts")
    return {(row["email"], row["last_name"]): row["record"] for row in rows}


async def test_a_row_without_an_address_is_found_by_its_key(app, account):
    record = account.put("ada@example.com", "a-1")
    await people(app, (None, "a-1"), ("", "a-2"), (None, None))
    code, said = await account.match()
    assert code == 0, said
    assert f"2 looked up, 1 matched, 1 unknown to {account.crm}" in said
    assert "1 more without a valid address or key." in said
    assert await found(app, account.crm) == {(None, "a-1"): record, ("", "a-2"): None, (None, None): None}


async def test_the_key_of_a_row_with_an_address_goes_first_as_in_a_delivery(app, account):
    by_key = account.put("old@example.com", "a-1")
    by_address = account.put("ben@example.com", None)
    await people(app, ("ada@example.com", "a-1"), ("ben@example.com", "a-2"), ("cy@example.com", None))
    code, said = await account.match()
    assert code == 0, said
    assert await found(app, account.crm) == {
        ("ada@example.com", "a-1"): by_key,
        ("ben@example.com", "a-2"): by_address,
        ("cy@example.com", None): None,
    }


async def test_a_delivery_after_it_changes_the_record_that_was_found(app, account):
    record = account.put("old@example.com", "a-1")
    await people(app, ("ada@example.com", "a-1"))
    await account.match()
    await app.execute(f"UPDATE contacts SET {account.crm}_sync_status = 'Queued'")
    async with process(account.env):
        await until(app, ALL_COMPLETE.replace("brevo", account.crm))
    assert [str(one.id) for one in account.sandbox.contacts.values()] == [record]
    assert await app.fetchval(f"SELECT {account.crm}_contact_id FROM contacts") == record


async def test_rows_with_one_address_and_keys_of_their_own_are_looked_up_apart(app, account):
    first, second = account.put("ada@example.com", "a-1"), account.put("ben@example.com", "a-2")
    await people(app, ("family@example.com", "a-1"), ("family@example.com", "a-2"))
    await account.match()
    address = "family@example.com"
    assert await found(app, account.crm) == {(address, "a-1"): first, (address, "a-2"): second}


async def test_a_row_whose_address_is_not_valid_is_left_alone_for_no_delivery_sends_it(app, account):
    account.put("ada@example.com", "a-1")
    await people(app, ("not an address", "a-1"))
    _, said = await account.match()
    assert "0 looked up" in said
    assert await ids(app, account.crm) == {}


# What is particular to one of them.


@pytest.mark.parametrize("account", ["hubspot"], indirect=True)
async def test_hubspot_is_asked_by_key_and_then_by_address_for_a_hundred_at_a_time(app, account):
    for number in range(150):
        account.put(f"{number}-before@example.com", f"a-{number}")
    await people(app, *((f"{number}@example.com", f"a-{number}") for number in range(250)))
    account.sandbox.requests.clear()
    _, said = await account.match()
    assert "250 looked up, 150 matched, 100 unknown" in said
    asked = [(one.body["idProperty"], len(one.body["inputs"])) for one in filter(is_about_contacts, account.sandbox.requests)]
    assert sum(count for by, count in asked if by == "app_id") == 250
    assert sum(count for by, count in asked if by == "email") == 100
    assert len(asked) <= 6


@pytest.mark.parametrize("account", ["hubspot"], indirect=True)
async def test_a_record_of_hubspot_with_the_address_and_another_key_is_not_taken(app, account):
    account.put("ada@example.com", "a-9")
    await people(app, ("ada@example.com", "a-1"))
    _, said = await account.match()
    assert "1 looked up, 0 matched, 0 unknown to hubspot, 1 ambiguous." in said
    assert "the record with its address has another key" in said
    assert await ids(app, "hubspot") == {}


@pytest.mark.parametrize("account", ["mautic"], indirect=True)
@pytest.mark.parametrize("email", [None, "ada@example.com"])
async def test_a_key_that_several_records_of_mautic_have_is_ambiguous(app, account, email):
    for address in ("a@example.com", "b@example.com"):
        account.put(address, None)
    for record in account.sandbox.contacts.values():
        record.values["app_id"] = "a-1"
    await people(app, (email, "a-1"))
    _, said = await account.match()
    assert "1 ambiguous." in said
    assert (await found(app, "mautic"))[email, "a-1"] is None


@pytest.mark.parametrize("account", ["brevo"], indirect=True)
@pytest.mark.parametrize("is_others", [False, True])
async def test_a_contact_of_brevo_is_found_by_its_number_alone_unless_it_may_be_another_person(app, account, tmp_path, is_others):
    body = {"attributes": {"SMS": "4930123456"}, **({"email": "ben@example.com"} if is_others else {"ext_id": "a-1"})}
    record = account.sandbox.account.save(body)[0]
    (tmp_path / "mapping.toml").write_text('[brevo]\nSMS = "phone"\n')
    env = {**account.env, "BREVO_MATCH": "email", "BREVO_PHONE_ONLY": "true"}
    await app.execute("INSERT INTO contacts (phone) VALUES ('+49 30 123456')")
    _, said = await matched(env, "brevo")
    assert ("1 ambiguous." if is_others else "1 matched") in said
    assert await app.fetchval("SELECT brevo_contact_id FROM contacts") == (None if is_others else str(record.id))


@pytest.mark.parametrize("account", ["brevo"], indirect=True)
async def test_a_row_that_the_mapping_fails_for_spoils_no_page(app, account, tmp_path):
    (tmp_path / "mapping.toml").write_text('[brevo]\nEXT_ID = "(1 / length(last_name))::text"\n')
    record = account.put("ben@example.com", "1")
    await people(app, ("ada@example.com", ""), (None, "x"))
    _, said = await account.match()
    assert "1 looked up, 1 matched" in said
    assert await found(app, "brevo") == {("ada@example.com", ""): None, (None, "x"): record}
