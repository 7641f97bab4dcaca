"""What the fake Mautic does, read by name: its contract with a client."""

import asyncio
import base64
import json
import time

import aiohttp
import pytest

from crm_sync.sandbox.credentials import MAUTIC_PASSWORD as PASSWORD
from crm_sync.sandbox.credentials import MAUTIC_USERNAME as USERNAME
from crm_sync.sandbox.mautic.sandbox import MauticSandbox
from crm_sync.sandbox.server import Fault, Hold
from tests.crm.talk import Clock, Talk

ANA = {"email": "ana@example.com", "firstname": "Ana", "phone": "+33639980001"}
BEN = {"email": "ben@example.com", "firstname": "Ben"}
LIMIT_TEXT = "A max of 200 entities are supported at a time."
NOT_FOUND = {"errors": [{"code": 404, "message": "Item was not found.", "details": [], "type": None}]}


class Client(Talk):
    async def new(self, **item):
        return await self.ask("POST", "/api/contacts/new", item)

    async def batch(self, *items):
        return await self.ask("POST", "/api/contacts/batch/new", list(items))

    async def batch_edit(self, *items, method="PATCH"):
        return await self.ask(method, "/api/contacts/batch/edit", list(items))

    async def search(self, column, expression, value, **query):
        where = {"where[0][col]": column, "where[0][expr]": expression, "where[0][val]": value}
        return await self.ask("GET", "/api/contacts", params=where | query)

    async def token(self, **form):
        usual = {"grant_type": "client_credentials", "client_id": "sandbox-client", "client_secret": "sandbox-client-secret"}
        return await self.ask("POST", "/oauth/v2/token", data=usual | form, headers={"Authorization": ""})


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def mautic(clock):
    async with MauticSandbox(clock=clock) as sandbox:
        yield sandbox


@pytest.fixture
async def client(mautic):
    async with session(mautic) as opened:
        yield Client(opened)


def session(mautic):
    return aiohttp.ClientSession(mautic.url, headers={"Authorization": basic(USERNAME, PASSWORD)})


def basic(name, password):
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def values(mautic, *aliases):
    return {one.id: tuple(one.values[alias] for alias in aliases) for one in mautic.contacts.values()}


def error(reply):
    [only] = reply.body["errors"]
    return reply.status, only["type"], only["message"]


# Who is let in: the bodies are those of Mautic's own tests where it has one.


async def test_an_api_that_is_off_says_so_to_everybody(mautic, client):
    mautic.logins.api_enabled = False
    disabled = (
        '{"errors": [{"message": "API disabled. You need to enable the API in the API settings of Mautic\'s Configuration.",'
        ' "code": 403, "type": "api_disabled"}]}'
    )
    assert (await client.ask("GET", "/api/contacts")).text == disabled
    assert (await client.token()).text == disabled


async def test_basic_authentication_that_is_off_is_a_403(mautic, client):
    mautic.logins.basic_enabled = False
    status, kind, message = error(await client.ask("GET", "/api/contacts"))
    assert (status, kind) == (403, "access_denied")
    assert message.startswith("Basic Auth disabled.")


@pytest.mark.parametrize("header", [basic(USERNAME, "wrong"), basic("wrong", PASSWORD), "Basic", "Basic ???", "basic /w=="])
async def test_a_wrong_password_is_a_401(client, header):
    reply = await client.ask("GET", "/api/contacts", headers={"Authorization": header})
    assert error(reply) == (401, "access_denied", "Authorization denied, invalid credentials.")


async def test_no_header_is_a_401_and_so_is_one_that_the_host_strips(mautic, client):
    denied = (401, "access_denied", "API authorization denied.")
    assert error(await client.ask("GET", "/api/contacts", headers={"Authorization": ""})) == denied
    mautic.logins.strips_header = True
    assert error(await client.ask("GET", "/api/contacts")) == denied


async def test_a_client_gets_a_token_for_an_hour(mautic, client):
    reply = await client.token()
    assert (reply.status, reply.body["expires_in"], reply.body["token_type"]) == (200, 3600, "bearer")
    header = {"Authorization": f"Bearer {reply.body['access_token']}"}
    assert (await client.ask("GET", "/api/users/self", headers=header)).status == 200


async def test_a_wrong_client_is_a_400(client):
    reply = await client.token(client_secret="secretUnicorn")
    assert (reply.status, json.loads(reply.text)) == (
        400,
        {"errors": [{"message": "The client credentials are invalid", "code": 400, "type": "invalid_client"}]},
    )
    assert (await client.token(grant_type="password")).status == 400
    assert (await client.ask("POST", "/oauth/v2/token", {"grant_type": "client_credentials"})).status == 400


async def test_a_token_that_is_none_or_has_ended_is_a_401(mautic, client, clock):
    reply = await client.ask("GET", "/api/users", headers={"Authorization": "Bearer unicorn_token"})
    assert (reply.status, json.loads(reply.text)) == (
        401,
        {"errors": [{"message": "The access token provided is invalid.", "code": 401, "type": "invalid_grant"}]},
    )
    mautic.logins.token_life_s = 60
    header = {"Authorization": f"Bearer {(await client.token()).body['access_token']}"}
    clock.now_s += 59
    assert (await client.ask("GET", "/api/contacts", headers=header)).status == 200
    clock.now_s += 1
    reply = await client.ask("GET", "/api/contacts", headers=header)
    assert error(reply) == (401, "invalid_grant", "The access token provided has expired.")


# One contact.


async def test_a_new_contact_is_a_201_with_its_place_and_a_known_one_a_200(mautic, client):
    first = await client.new(**ANA)
    assert (first.status, first.headers["Location"]) == (201, f"{mautic.url}/api/contacts/1")
    second = await client.new(email=ANA["email"], lastname="Ruiz")
    assert (second.status, "Location" in second.headers) == (200, False)
    assert values(mautic, "firstname", "lastname") == {1: ("Ana", "Ruiz")}


async def test_a_contact_has_its_fields_by_group_and_flat(client):
    shown = (await client.new(**ANA)).body["contact"]
    assert shown["id"] == 1
    assert shown["fields"]["all"] | ANA == shown["fields"]["all"]
    assert shown["fields"]["all"]["lastname"] is None
    email = shown["fields"]["core"]["email"]
    assert (email["alias"], email["type"], email["value"], email["normalizedValue"]) == (
        "email",
        "email",
        ANA["email"],
        ANA["email"],
    )
    assert {"points", "owner", "tags", "doNotContact", "ipAddresses", "isPublished", "dateAdded"} <= shown.keys()


async def test_a_contact_is_read_edited_and_deleted(mautic, client):
    await client.new(**ANA)
    assert (await client.ask("PATCH", "/api/contacts/1/edit", {"lastname": "Ruiz"})).status == 200
    assert (await client.ask("GET", "/api/contacts/1")).body["contact"]["fields"]["all"]["lastname"] == "Ruiz"
    assert (await client.ask("DELETE", "/api/contacts/1/delete")).status == 200
    for method, path in (("GET", "/1"), ("PATCH", "/1/edit"), ("DELETE", "/1/delete"), ("GET", "/rubbish")):
        reply = await client.ask(method, f"/api/contacts{path}", {})
        assert (reply.status, reply.body) == (404, NOT_FOUND)
    assert (await client.new(**ANA)).body["contact"]["id"] == 2


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/api/contacts"), ("POST", "/api/contacts/1"), ("GET", "/api/contacts/1/edit"), ("GET", "/")]
)
async def test_what_is_no_route_is_a_404(client, method, path):
    assert (await client.ask(method, path, {})).status == 404


async def test_a_put_blanks_what_it_does_not_name_and_creates_what_is_not_there(mautic, client):
    await client.new(**ANA)
    assert (await client.ask("PUT", "/api/contacts/1/edit", {"email": ANA["email"], "lastname": "Ruiz"})).status == 200
    assert values(mautic, "firstname", "lastname", "phone") == {1: (None, "Ruiz", None)}
    assert (await client.ask("PUT", "/api/contacts/77/edit", ANA)).status == 201
    assert values(mautic, "email") == {1: (ANA["email"],), 2: (ANA["email"],)}


async def test_values_are_cleaned_before_they_are_matched(mautic, client):
    await client.new(email="batchemail1@email.com")
    await client.new(email="test@user.email")
    assert (await client.new(email="batchemail1@email.com,")).body["contact"]["id"] == 1
    assert (await client.new(email="te,st@user..email")).body["contact"]["id"] == 2
    assert (await client.new(email="TEST@user.email")).body["contact"]["id"] == 2
    assert (await client.new(email="tést@user.email")).body["contact"]["id"] == 3
    assert mautic.contacts[3].values["email"] == "tst@user.email"


async def test_of_several_with_one_address_4_merges_two_and_leaves_the_older(mautic, client):
    mautic.account.version = "4.4.13"
    for name in ("Oldest", "Old", "New"):
        mautic.account.create({"email": ANA["email"], "firstname": name})
    assert (await client.new(email=ANA["email"], lastname="Ruiz")).body["contact"]["id"] == 2
    assert values(mautic, "firstname", "lastname") == {1: ("Oldest", None), 2: ("New", "Ruiz")}


async def test_empty_values_do_not_overwrite_unless_they_are_told_to(mautic, client):
    await client.new(**ANA)
    await client.new(email=ANA["email"], firstname="", phone=None)
    assert values(mautic, "firstname", "phone") == {1: ("Ana", ANA["phone"])}
    await client.new(email=ANA["email"], firstname="", overwriteWithBlank=True)
    assert values(mautic, "firstname", "phone") == {1: (None, ANA["phone"])}


@pytest.mark.parametrize("zero", [0, 0.0, 0.5, -0.5, "0", "00000"])
async def test_zero_is_dropped_on_post_and_patch_and_set_by_put(mautic, client, zero):
    await client.new(**ANA, points=7)
    await client.new(email=ANA["email"], points=zero)
    await client.ask("PATCH", "/api/contacts/1/edit", {"points": zero})
    assert values(mautic, "points") == {1: (7,)}
    await client.ask("PUT", "/api/contacts/1/edit", {"email": ANA["email"], "points": zero})
    assert values(mautic, "points") == {1: (float(zero),)}


async def test_false_is_dropped_on_post_and_patch_too(mautic, client):
    mautic.account.fields["vip"] = "boolean"
    await client.new(**ANA, vip=True)
    await client.new(email=ANA["email"], vip=False)
    await client.batch_edit({"id": 1, "vip": False})
    assert values(mautic, "vip") == {1: (1,)}


async def test_unknown_keys_are_ignored_without_a_word(mautic, client):
    assert (await client.new(**ANA, shoe_size=39)).status == 201
    assert "shoe_size" not in mautic.contacts[1].values


async def test_a_value_that_does_not_fit_is_a_400_that_names_its_field(mautic, client):
    reply = await client.new(**ANA, points="many")
    assert reply.status == 400
    assert reply.body["errors"] == [
        {
            "code": 400,
            "message": "points: This value is not valid.",
            "details": {"points": ["This value is not valid."]},
            "type": None,
        }
    ]
    assert (await client.new(email="nobody")).status == 400
    assert (await client.new(**ANA, lastname="x" * 192)).status == 400
    assert mautic.contacts == {}


# Other identifiers than the address.


@pytest.fixture
def with_app_id(mautic):
    mautic.account.fields |= {"app_id": "text", "number": "number"}
    mautic.account.identifiers |= {"app_id", "number"}
    return mautic


async def test_a_contact_needs_no_address_and_without_an_identifier_it_is_a_new_one_each_time(mautic, client):
    made = [await client.new(firstname="Ana") for _ in range(2)]
    assert [(reply.status, reply.body["contact"]["id"]) for reply in made] == [(201, 1), (201, 2)]
    fields = made[0].body["contact"]["fields"]
    assert (fields["all"]["email"], fields["core"]["email"]["value"]) == (None, None)
    assert (await client.search("email", "in", "")).body["total"] == "0", "NULL equals nothing"


@pytest.mark.parametrize(("first", "again"), [("X-7", "x-7"), ("José", "jose"), ("7", "7 ")])
async def test_an_identifier_matches_as_the_database_compares(with_app_id, client, first, again):
    assert (await client.new(app_id=first, firstname="Ana")).status == 201
    reply = await client.new(app_id=again, firstname="Anna")
    assert (reply.status, reply.body["contact"]["id"]) == (200, 1)
    assert (await client.search("app_id", "in", again)).body["total"] == "1"


async def test_a_number_matches_as_a_number(with_app_id, client):
    await client.new(number="007")
    assert (await client.new(number=7)).status == 200
    assert (await client.search("number", "in", "7")).body["total"] == "1"


@pytest.mark.parametrize("nothing", [0, "0", "", None])
async def test_what_php_takes_for_empty_matches_nobody(with_app_id, client, nothing):
    assert [(await client.new(app_id=nothing)).status for _ in range(2)] == [201, 201]


async def test_one_that_is_not_published_matches_nobody(with_app_id, client):
    with_app_id.account.unpublished.add("app_id")
    assert [(await client.new(app_id="7")).status for _ in range(2)] == [201, 201]


async def test_any_identifier_is_enough_and_one_of_each_of_two_records_is_refused_or_merges_them(with_app_id, client):
    await client.batch({**ANA, "app_id": "7"}, {**BEN, "app_id": "8"})
    assert (await client.new(app_id="8", lastname="Ohm")).body["contact"]["id"] == 2
    assert (await client.new(email=ANA["email"], app_id="8")).status == 422
    with_app_id.account.version = "4.4.13"
    assert (await client.new(email=ANA["email"], app_id="8")).body["contact"]["id"] == 1
    assert list(with_app_id.contacts) == [1]


async def test_a_mautic_that_wants_all_of_them_matches_a_record_with_each_that_is_sent(with_app_id, client):
    with_app_id.account.matches_all = True
    await client.batch({**ANA, "app_id": "7"}, {**BEN, "app_id": "8"})
    assert (await client.new(email=ANA["email"], app_id="8")).status == 201
    assert (await client.new(email=ANA["email"], app_id="7")).body["contact"]["id"] == 1
    assert (await client.new(app_id="7")).body["contact"]["id"] == 1


async def test_an_edit_with_the_identifier_of_another_merges_the_two(with_app_id, client):
    with_app_id.account.version = "4.4.13"
    await client.batch({**ANA, "app_id": "7"}, {"app_id": "8", "firstname": "Ben"})
    await client.batch_edit({"id": 1, "app_id": "8"})
    assert values(with_app_id, "email", "firstname", "app_id") == {1: (ANA["email"], "Ana", "8")}


async def test_a_newer_mautic_refuses_it_and_names_each_identifier(with_app_id, client):
    await client.batch({**ANA, "app_id": "7"}, {**BEN, "app_id": "8"}, {"app_id": "9"})
    reply = await client.batch_edit({"id": 3, "app_id": "7", "email": BEN["email"]}, {"id": 1, "app_id": "7"})
    assert (reply.body["statusCodes"], set(reply.body["errors"][0]["details"])) == ([422, 200], {"app_id", "email"})
    with_app_id.account.matches_all = True
    assert (await client.batch_edit({"id": 3, "app_id": "7", "email": BEN["email"]})).body["statusCodes"] == [200]


async def test_a_channel_that_the_person_has_closed_stays_so_until_it_is_opened(mautic, client):
    await client.new(**ANA, doNotContact=[{"channel": "email", "reason": 1}])
    await client.batch_edit({"id": 1, "doNotContact": [{"channel": "email"}, {"channel": "sms"}]})
    assert mautic.contacts[1].closed == {"email": 1, "sms": 3}
    await client.batch_edit({"id": 1, "doNotContact": [{"channel": "email", "reason": 0}]})
    assert mautic.contacts[1].closed == {"sms": 3}


# An address that another has.


async def test_an_edit_with_the_address_of_another_merges_the_two(mautic, client):
    mautic.account.version = "4.4.13"
    await client.new(**ANA)
    await client.new(**BEN, lastname="Ohm")
    reply = await client.ask("PATCH", "/api/contacts/1/edit", {"email": BEN["email"], "city": "Paris"})
    assert (reply.status, reply.body["contact"]["id"]) == (200, 1)
    assert values(mautic, "email", "firstname", "lastname", "phone", "city") == {
        1: (BEN["email"], "Ana", "Ohm", ANA["phone"], "Paris")
    }


async def test_any_edit_of_a_record_whose_address_another_has_merges_the_two_and_leaves_the_older(mautic, client):
    mautic.account.version = "4.4.13"
    await client.new(**ANA)
    await client.batch_edit({"id": 1, "email": ANA["email"]})
    mautic.account.create(ANA)
    assert len(mautic.contacts) == 2
    reply = await client.batch_edit({"id": 2, "city": "Paris"})
    assert (reply.body["statusCodes"], reply.body["contacts"][0]["id"]) == ([200], 1)
    assert values(mautic, "email", "city") == {1: (ANA["email"], "Paris")}


async def test_a_newer_mautic_refuses_such_an_edit_with_422(mautic, client):
    await client.batch(ANA, BEN)
    reply = await client.batch_edit({"id": 1, "email": BEN["email"]}, {"id": 2, "email": BEN["email"], "lastname": "Ohm"})
    problem = "This field must be unique."
    refusal = {"code": 422, "message": f"email: {problem}", "details": {"email": [problem]}, "type": None}
    assert (reply.body["statusCodes"], reply.body["errors"]) == ([422, 200], [refusal])
    assert values(mautic, "email", "lastname") == {1: (ANA["email"], None), 2: (BEN["email"], "Ohm")}


async def test_a_newer_mautic_refuses_any_write_to_records_with_one_address(mautic, client):
    for _ in range(2):
        mautic.account.create(ANA)
    assert (await client.batch_edit({"id": 1, "lastname": "Ruiz"})).body["statusCodes"] == [422]
    assert (await client.batch(ANA)).body["statusCodes"] == [422]


async def test_two_overlapping_requests_with_one_new_address_make_two_records(mautic, client):
    mautic.work_s = 0.001
    hold = Hold()
    mautic.next_faults.append(Fault(hold=hold))
    first = asyncio.create_task(client.new(**ANA))
    await hold.reached.wait()
    second = await client.batch(ANA, ANA)
    hold.release()
    assert ((await first).status, second.body["statusCodes"]) == (201, [201, 200])
    assert values(mautic, "email") == {1: (ANA["email"],), 2: (ANA["email"],)}
    assert (await client.new(**ANA)).status == 422


async def test_one_after_the_other_makes_one_record(mautic, client):
    mautic.work_s = 0.01
    assert [(await client.new(**ANA)).status for _ in range(2)] == [201, 200]
    assert len(mautic.contacts) == 1


# Batches.


async def test_a_batch_is_a_201_with_lists_where_all_is_well(client):
    await client.new(**ANA)
    reply = await client.batch(ANA, BEN)
    assert (reply.status, reply.body["statusCodes"]) == (201, [200, 201])
    assert [one["id"] for one in reply.body["contacts"]] == [1, 2]
    assert "errors" not in reply.body


async def test_one_address_twice_in_a_batch_is_one_record(client):
    assert (await client.batch(ANA, ANA)).body["statusCodes"] == [201, 200]


async def test_a_gap_makes_an_object_of_a_list(client):
    bad = {"email": "x@example.com", "points": "many"}
    reply = await client.batch(ANA, bad, BEN)
    assert (reply.status, reply.body["statusCodes"]) == (201, [201, 400, 201])
    assert [(key, one["id"]) for key, one in reply.body["contacts"].items()] == [("0", 1), ("2", 2)]
    assert list(reply.body["errors"]) == ["1"]
    assert reply.body["errors"]["1"]["details"] == {"points": ["This value is not valid."]}


async def test_no_gap_before_the_last_leaves_lists(client):
    bad = {"email": "x@example.com", "points": "many"}
    first = (await client.batch(bad, ANA)).body
    assert (list(first["contacts"]), type(first["errors"])) == (["1"], list)
    last = (await client.batch(ANA, bad)).body
    assert (type(last["contacts"]), list(last["errors"])) == (list, ["1"])


async def test_nothing_is_an_empty_list_in_a_batch_and_an_empty_object_in_a_search(client):
    assert (await client.batch({"email": "x@example.com", "points": "many"})).body["contacts"] == []
    assert (await client.batch()).body == {"contacts": [], "statusCodes": []}
    assert (await client.search("email", "eq", "unicorn")).text == '{"total": "0", "contacts": {}}'


async def test_more_than_the_limit_is_a_500_for_all(mautic, client):
    people = [{"email": f"p{number}@example.com"} for number in range(201)]
    refusal = {"errors": [{"code": 500, "message": LIMIT_TEXT, "details": [], "type": None}]}
    for reply in (await client.batch(*people), await client.batch_edit(*people)):
        assert (reply.status, reply.body) == (500, refusal)
    assert mautic.contacts == {}
    assert (await client.batch(*people[:200])).status == 201


async def test_a_batch_edit_patches_what_is_there_and_says_404_of_the_rest(mautic, client):
    await client.batch(ANA, BEN)
    reply = await client.batch_edit({"id": 77, "lastname": "X"}, {"id": "2", "lastname": "Ohm"}, {"lastname": "Y"})
    assert (reply.status, reply.body["statusCodes"]) == (200, [404, 200, 404])
    assert list(reply.body["contacts"]) == ["1"]
    assert reply.body["errors"]["0"] == {"code": 404, "message": "Item was not found.", "type": "api"}
    assert values(mautic, "firstname", "lastname") == {1: ("Ana", None), 2: ("Ben", "Ohm")}


async def test_a_failed_edit_leaves_its_record_among_the_contacts(client):
    await client.new(**ANA)
    body = (await client.batch_edit({"id": 1, "points": "many"})).body
    assert ([one["id"] for one in body["contacts"]], body["statusCodes"]) == ([1], [400])


async def test_a_put_batch_creates_what_is_not_there_and_duplicates_what_has_no_id(mautic, client):
    await client.new(**ANA)
    reply = await client.batch_edit({"id": "rubbish", "email": "batchemail1@email.com"}, ANA, method="PUT")
    assert (reply.status, reply.body["statusCodes"]) == (200, [201, 201])
    assert [email for (email,) in values(mautic, "email").values()].count(ANA["email"]) == 2


async def test_an_id_twice_in_one_edit_is_a_500(client):
    await client.new(**ANA)
    assert (await client.batch_edit({"id": 1, "lastname": "A"}, {"id": "1", "lastname": "B"})).status == 500


async def test_a_user_who_may_not_create_is_refused_as_a_whole_and_one_who_may_not_edit_by_item(mautic, client):
    await client.batch(ANA, BEN)
    mautic.account.denied_ids = {1}
    body = (await client.batch(ANA, BEN)).body
    assert body["statusCodes"] == [403, 200]
    assert body["errors"] == [{"code": 403, "message": "You do not have access to the requested area/action.", "type": "api"}]
    mautic.may_create = False
    for reply in (await client.batch(BEN), await client.new(**BEN)):
        assert error(reply) == (403, None, "You do not have access to the requested area/action.")


# Searches.


async def test_a_search_gives_records_by_id_and_their_number_as_text(client):
    await client.batch(ANA, BEN, {"email": "cy@example.com"})
    body = (await client.search("email", "in", "BEN@example.com,nobody@example.com,cy@example.com")).body
    assert (body["total"], list(body["contacts"])) == ("2", ["2", "3"])
    assert body["contacts"]["2"]["fields"]["all"]["email"] == BEN["email"]
    assert list((await client.search("id", "in", "1,77")).body["contacts"]) == ["1"]
    assert list((await client.search("firstname", "eq", "ben")).body["contacts"]) == ["2"]


async def test_a_search_is_paged_and_its_conditions_all_hold(client):
    await client.batch(*({"email": f"p{number}@example.com", "city": "Oslo"} for number in range(40)))
    body = (await client.ask("GET", "/api/contacts")).body
    assert (body["total"], len(body["contacts"])) == ("40", 30)
    body = (await client.search("city", "eq", "Oslo", start="38", limit="50")).body
    assert (body["total"], list(body["contacts"])) == ("40", ["39", "40"])
    also = {"where[1][col]": "id", "where[1][expr]": "in", "where[1][val]": "3,4"}
    assert list((await client.search("city", "eq", "Oslo", **also)).body["contacts"]) == ["3", "4"]


# Limits and faults.


async def test_an_hours_limit_is_off_until_it_is_set_and_then_enforced(mautic, client, clock):
    reply = await client.ask("GET", "/api/contacts")
    assert "X-RateLimit-Limit" not in reply.headers
    async with MauticSandbox(requests_per_hour=2, clock=clock) as limited, session(limited) as opened:
        strict = Client(opened)
        assert [(await strict.new(**ANA)).headers["X-RateLimit-Remaining"] for _ in range(2)] == ["1", "0"]
        clock.now_s += 3000
        reply = await strict.new(**BEN)
        message = "You exceeded the rate limit of 2 API calls per hour."
        assert (reply.status, reply.body) == (429, {"errors": [{"code": 429, "message": message, "details": []}]})
        assert int(reply.headers["X-RateLimit-Reset"]) == pytest.approx(time.time() + 600, abs=5)
        assert (limited.limit_breaches, len(limited.contacts)) == (1, 1)
        clock.now_s += 600
        assert (await strict.new(**BEN)).status == 201


async def test_answers_of_the_api_say_mautics_version(client):
    assert (await client.ask("GET", "/api/contacts")).headers["Mautic-Version"] == "5.1.1"
    assert "Mautic-Version" not in (await client.token()).headers


async def test_its_faults_speak_as_mautic_does(mautic, client):
    mautic.next_faults += [Fault(answer=answer) for answer in (mautic.crashed(), mautic.throttled(), mautic.refused())]
    crash, throttled, refused = [await client.new(**ANA) for _ in range(3)]
    assert error(crash)[0::2] == (
        500,
        "Looks like I encountered an error (error #500). If I do it again, please report me to the system administrator!",
    )
    assert (throttled.status, throttled.headers["X-RateLimit-Remaining"]) == (429, "0")
    assert refused.status == 400
    assert mautic.contacts == {}


async def test_those_who_watch_see_contacts_arrivals_and_numbers(mautic, client):
    before = time.time()
    await client.batch(ANA, BEN, {"firstname": "Nobody"})
    await client.new(**ANA)
    assert [one["fields"]["all"]["email"] for one in mautic.table("contacts")] == [ANA["email"], BEN["email"], None]
    assert [email for email, _ in mautic.table("arrivals")] == [ANA["email"], BEN["email"]]
    assert all(before <= came <= time.time() for _, came in mautic.table("arrivals"))
    assert (await client.ask("GET", "/_sandbox/stats")).body == {"requests": 2, "contacts": 3, "limit_breaches": 0}
    assert mautic.table("nothing") is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
async def test_what_is_no_json_is_no_body(mautic, client, value):
    for reply in (await client.batch({**ANA, "points": value}), await client.new(**ANA, points=value)):
        assert (reply.status, reply.body["errors"][0]["message"]) == (400, "Invalid json message received")
    assert mautic.contacts == {}
