"""What the fake HubSpot does: its contract with a client, and with HubSpot's own SDK."""

import asyncio
import json
import time
import warnings

import aiohttp
import pytest

from crm_sync.sandbox.hubspot.sandbox import READ_SCOPE, WRITE_SCOPE, HubSpotSandbox
from crm_sync.sandbox.server import Call
from tests.crm.talk import Clock, Talk

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK's own, while it is loaded
    from hubspot.crm import contacts as sdk
    from hubspot.crm.contacts.exceptions import ApiException

TOKEN = "pat-eu1-0123456789abcdef"
PATH = "/crm/v3/objects/contacts"
NO_LIMITS = {"requests_per_ten_seconds": None, "requests_per_day": None}
NOT_THERE = "Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid."


class Client(Talk):
    async def batch(self, operation, *inputs, **members):
        return await self.ask("POST", f"{PATH}/batch/{operation}", {"inputs": inputs, **members})

    async def upsert(self, *emails, **properties):
        return await self.batch("upsert", *[by_email(email, **properties) for email in emails])

    async def read(self, path=PATH, **query):
        return await self.ask("GET", path, params=query)


def by_email(email, trace=None, **properties):
    return traced({"id": email, "idProperty": "email", "properties": {"email": email, **properties}}, trace)


def by_id(record_id, trace=None, **properties):
    return traced({"id": record_id, "properties": properties}, trace)


def traced(item, trace):
    return item if trace is None else {**item, "objectWriteTraceId": trace}


def ids(reply):
    """By address."""
    return {result["properties"]["email"]: result["id"] for result in reply.body["results"]}


def problems(message):
    return json.loads(message.removeprefix("Property values were not valid: "))


@pytest.fixture
async def hubspot():
    async with HubSpotSandbox(token=TOKEN, **NO_LIMITS) as sandbox:
        yield sandbox


@pytest.fixture
async def client(hubspot):
    async with aiohttp.ClientSession(hubspot.url, headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        yield Client(session)


# The token and its scopes.


@pytest.mark.parametrize("path", [PATH, f"{PATH}/101", "/account-info/v3/details"])
async def test_a_wrong_token_is_not_authenticated(client, path):
    reply = await client.ask("GET", path, headers={"Authorization": "Bearer wrong"})
    assert (reply.status, reply.body["category"]) == (401, "INVALID_AUTHENTICATION")
    assert reply.body["message"].startswith("Authentication credentials not found.")
    assert reply.body["correlationId"] == reply.headers["X-HubSpot-Correlation-Id"]


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        *((READ_SCOPE, "GET", PATH), (READ_SCOPE, "POST", f"{PATH}/batch/read"), (WRITE_SCOPE, "POST", f"{PATH}/batch/upsert")),
        ("oauth", "GET", "/account-info/v3/details"),
    ],
)
async def test_a_token_without_the_scope_is_refused_with_its_name(hubspot, client, scope, method, path):
    hubspot.scopes.remove(scope)
    reply = await client.ask(method, path)
    assert (reply.status, reply.body["category"]) == (403, "MISSING_SCOPES")
    assert reply.body["context"]["requiredGranularScopes"] == [scope]


async def test_the_account_names_itself_and_what_it_used_today():
    async with (
        HubSpotSandbox(token=TOKEN) as hubspot,
        aiohttp.ClientSession(hubspot.url, headers={"Authorization": f"Bearer {TOKEN}"}) as session,
    ):
        client = Client(session)
        reply = await client.read("/account-info/v3/details")
        assert (reply.body["portalId"], reply.body["accountType"]) == (123, "STANDARD")
        [usage] = (await client.read("/account-info/v3/api-usage/daily/private-apps")).body["results"]
        assert (usage["usageLimit"], usage["currentUsage"], usage["fetchStatus"]) == (250_000, 2, "SUCCESS")


# Upserts.


async def test_an_upsert_makes_new_contacts_and_updates_known_ones(hubspot, client):
    reply = await client.upsert("Ana@Example.com", firstname="Ana")
    [result] = reply.body["results"]
    assert (reply.status, reply.body["status"], result["id"], result["new"]) == (200, "COMPLETE", "101", True)
    assert (result["properties"]["email"], result["properties"]["hs_object_id"]) == ("ana@example.com", "101")
    [result] = (await client.upsert("ANA@example.com", lastname="Ruiz")).body["results"]
    assert (result["id"], result["new"]) == ("101", False)
    assert hubspot.contacts["101"].properties == {"email": "ana@example.com", "firstname": "Ana", "lastname": "Ruiz"}


async def test_results_come_in_any_order_and_the_same_for_the_same_seed(client):
    emails = [f"{number}@example.com" for number in range(20)]
    order = list(ids(await client.upsert(*emails)))
    assert order != emails
    assert sorted(order) == sorted(emails)
    async with (
        HubSpotSandbox(token=TOKEN, **NO_LIMITS) as other,
        aiohttp.ClientSession(other.url, headers={"Authorization": f"Bearer {TOKEN}"}) as session,
    ):
        assert list(ids(await Client(session).upsert(*emails))) == order


async def test_a_contact_found_by_an_additional_address_answers_under_its_primary_one(hubspot, client):
    await client.upsert("ana@example.com")
    hubspot.account.add_email("101", "ana@home.example")
    reply = await client.upsert("ana@home.example", "ana@example.com", firstname="Ana")
    assert [(each["id"], each["properties"]["email"], each["new"]) for each in reply.body["results"]] == [
        ("101", "ana@example.com", False)
    ] * 2
    reply = await client.batch(
        "read", {"id": "ana@home.example"}, idProperty="email", properties=["email", "hs_additional_emails"]
    )
    assert reply.body["results"][0]["properties"] == {"email": "ana@example.com", "hs_additional_emails": "ana@home.example"}


@pytest.mark.parametrize("name", ["firstname", "hs_object_id", None])
async def test_an_upsert_by_what_is_not_unique_is_refused(client, name):
    reply = await client.batch("upsert", {"id": "Ana", "idProperty": name, "properties": {}})
    assert (reply.status, reply.body["category"]) == (400, "VALIDATION_ERROR")
    assert reply.body["message"].startswith("Unable to perform update/upsert by non-unique 0-1 property")


async def test_without_trace_ids_one_bad_contact_refuses_all_and_nothing_is_written(hubspot, client):
    reply = await client.batch("upsert", by_email("ana@example.com"), by_email("nobody@", shoesize="38"))
    assert (reply.status, reply.body["category"]) == (400, "VALIDATION_ERROR")
    assert problems(reply.body["message"]) == [
        {"isValid": False, "message": "Email address nobody@ is invalid", "error": "INVALID_EMAIL", "name": "email"},
        {"isValid": False, "message": 'Property "shoesize" does not exist', "error": "PROPERTY_DOESNT_EXIST", "name": "shoesize"},
    ]
    assert reply.body["errors"][1] == {
        "message": 'Property "shoesize" does not exist',
        "code": "PROPERTY_DOESNT_EXIST",
        "context": {"propertyName": ["shoesize"]},
    }
    assert reply.body["correlationId"] == reply.headers["X-HubSpot-Correlation-Id"]
    assert not hubspot.contacts


async def test_with_a_trace_id_each_the_good_ones_are_written_and_the_others_named(hubspot, client):
    reply = await client.batch("upsert", by_email("nobody@", "5"), by_email("ana@example.com", "6"), by_email("x", "7"))
    assert (reply.status, reply.body["numErrors"]) == (207, 2)
    assert list(ids(reply)) == ["ana@example.com"]
    assert [error["context"] for error in reply.body["errors"]] == [{"objectWriteTraceId": ["5"]}, {"objectWriteTraceId": ["7"]}]
    assert set(reply.body["errors"][0]) == {"status", "category", "message", "context"}
    assert len(hubspot.contacts) == 1


async def test_trace_ids_that_are_not_unique_are_none(hubspot, client):
    reply = await client.batch("upsert", by_email("ana@example.com", "5"), by_email("x", "5"))
    assert reply.status == 400
    assert not hubspot.contacts


@pytest.mark.parametrize("echo", [False, True])
async def test_results_name_their_trace_id_only_if_the_sandbox_is_told_so(hubspot, client, echo):
    hubspot.batches.echo_traces = echo
    [result] = (await client.batch("upsert", by_email("ana@example.com", "5"))).body["results"]
    assert result.get("objectWriteTraceId") == ("5" if echo else None)


async def test_an_address_twice_refuses_all_even_with_trace_ids(hubspot, client):
    reply = await client.batch("upsert", by_email("ana@example.com", "1"), by_email("Ana@example.com", "2"))
    assert (reply.status, reply.body["category"]) == (400, "VALIDATION_ERROR")
    assert reply.body["message"] == "Duplicate IDs found in batch input: [ana@example.com]. IDs must be unique"
    assert reply.body["context"] == {"ids": ["ana@example.com"]}
    assert not hubspot.contacts


async def test_a_hundred_contacts_are_a_batch_and_a_hundred_and_one_are_refused(hubspot, client):
    assert (await client.upsert(*[f"{number}@example.com" for number in range(100)])).status == 200
    assert (await client.upsert(*[f"{number}@example.org" for number in range(101)])).status == 400
    assert len(hubspot.contacts) == 100


@pytest.mark.parametrize("value", [7, 1.5, True, {}, ["a"]])
async def test_a_value_that_is_no_text_is_bad_json(client, value):
    reply = await client.batch("upsert", by_email("ana@example.com", "1", firstname=value))
    assert reply.status == 400
    assert reply.body["message"].startswith("Invalid input JSON on line 1, column 1: Cannot deserialize value of type")
    assert "category" not in reply.body


@pytest.mark.parametrize(("value", "stored"), [(None, "Ana"), ("", "")])
async def test_an_empty_text_clears_and_null_is_passed_over(hubspot, client, value, stored):
    for firstname in ("Ana", value):
        await client.batch("upsert", by_email("ana@example.com", "1", firstname=firstname))
    assert hubspot.contacts["101"].properties["firstname"] == stored


TAKEN = {
    "number": ("7", "-1.5", "1e-07"),
    "datetime": ("1767323045678", "2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05+01:00"),
    "date": ("2026-01-02", "1767312000000", "2026-01-02T00:00:00Z"),
    "bool": ("true", "false"),
    "enumeration": ("sad", "sad;happy"),
    "string": (" padded ", "NaN"),
}
REFUSED = {
    "number": {"NaN": "INVALID_NUMBER", "1,5": "INVALID_NUMBER", " 7": "LEADING_TRAILING_WHITESPACE"},
    "datetime": {
        "2026-01-02 03:04:05.678+00": "INVALID_LONG",
        "2026-01-02": "INVALID_LONG",
        "2026-01-02T03:04:05": "INVALID_LONG",
        "infinity": "INVALID_LONG",
        "2026-01-02T03:04:05Z\n": "LEADING_TRAILING_WHITESPACE",
    },
    "date": {"2026-01-02T03:04:05Z": "INVALID_DATE", "1767323045678": "INVALID_DATE", "02.01.2026": "INVALID_LONG"},
    "bool": {"1": "INVALID_OPTION", "true\u00a0": "LEADING_TRAILING_WHITESPACE"},
    "enumeration": {
        "{sad,happy}": "INVALID_OPTION",
        "sad   ": "LEADING_TRAILING_WHITESPACE",
        "sad; happy": "LEADING_TRAILING_WHITESPACE",
        "sad\u200b": "LEADING_TRAILING_WHITESPACE",
    },
}


@pytest.mark.parametrize("kind", TAKEN)
async def test_a_property_takes_what_is_of_its_type(hubspot, client, kind):
    hubspot.account.define("own", kind, ["sad", "happy"])
    for value in (*TAKEN[kind], ""):
        assert (await client.batch("upsert", by_email("ana@example.com", "1", own=value))).status == 200
        assert hubspot.contacts["101"].properties["own"] == value


@pytest.mark.parametrize("kind", REFUSED)
async def test_a_property_refuses_what_is_not_of_its_type(hubspot, client, kind):
    hubspot.account.define("own", kind, ["sad", "happy"])
    for value, error in REFUSED[kind].items():
        reply = await client.batch("upsert", by_email("ana@example.com", "1", own=value))
        [said] = reply.body["errors"]
        [problem] = problems(said["message"])
        assert (reply.status, problem["error"], problem["name"]) == (207, error, "own")
    assert hubspot.contacts == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
async def test_what_is_no_json_is_no_body(client, value):
    reply = await client.batch("upsert", by_email("ana@example.com", "1", score=value))
    assert reply.status == 400
    assert reply.body["message"].startswith("Invalid input JSON")


@pytest.mark.parametrize("body", [None, [], {}, {"inputs": {}}, {"inputs": ["a"]}, {"inputs": [{"idProperty": "email"}]}])
async def test_a_body_of_another_shape_is_bad_json(client, body):
    reply = await client.ask("POST", f"{PATH}/batch/upsert", body)
    assert reply.status == 400
    assert reply.body["message"].startswith("Invalid input JSON")


# What properties may be set to.


@pytest.mark.parametrize("name", ["hs_object_id", "createdate", "lastmodifieddate", "hs_additional_emails"])
async def test_read_only_properties_are_refused(client, name):
    reply = await client.upsert("ana@example.com", **{name: "1"})
    assert reply.body["errors"][0]["code"] == "READ_ONLY_VALUE"


async def test_a_custom_property_can_be_set_once_the_account_has_it(hubspot, client):
    assert (await client.upsert("ana@example.com", shoesize="38")).status == 400
    hubspot.account.writable.add("shoesize")
    assert (await client.upsert("ana@example.com", shoesize="38")).status == 200


async def test_the_lifecycle_stage_only_moves_forward_and_says_nothing_about_it(hubspot, client):
    await client.upsert("ana@example.com", lifecyclestage="customer")
    reply = await client.upsert("ana@example.com", lifecyclestage="lead", firstname="Ana")
    assert (reply.status, reply.body["results"][0]["properties"]["lifecyclestage"]) == (200, "customer")
    assert hubspot.contacts["101"].properties["firstname"] == "Ana"
    await client.upsert("ana@example.com", lifecyclestage="")
    await client.upsert("ana@example.com", lifecyclestage="lead")
    assert hubspot.contacts["101"].properties["lifecyclestage"] == "lead"
    assert (await client.upsert("ana@example.com", lifecyclestage="friend")).body["errors"][0]["code"] == "INVALID_OPTION"


# Creates.


async def test_a_create_of_a_known_address_is_a_conflict(hubspot, client):
    new = {"properties": {"email": "ana@example.com"}}
    assert (await client.batch("create", new)).status == 201
    reply = await client.batch("create", new, {"properties": {"email": "ben@example.com"}})
    assert (reply.status, reply.body["category"]) == (409, "CONFLICT")
    assert len(hubspot.contacts) == 1
    reply = await client.batch("create", traced(new, "0"), traced({"properties": {"email": "ben@example.com"}}, "1"))
    assert (reply.status, list(ids(reply))) == (207, ["ben@example.com"])
    assert reply.body["errors"] == [
        {
            "status": "error",
            "category": "CONFLICT",
            "message": "Contact already exists. Existing ID: 101",
            "context": {"objectWriteTraceId": ["0"], "existingId": ["101"]},
        }
    ]


async def test_a_single_create_needs_an_address_or_a_name_that_is_not_taken(client):
    assert (await client.ask("POST", PATH, {"properties": {"firstname": "Ana"}})).status == 201
    assert (await client.ask("POST", PATH, {"properties": {"email": "ana@example.com"}})).status == 201
    assert (await client.ask("POST", PATH, {"properties": {"city": "Leeds"}})).status == 400
    reply = await client.ask("POST", PATH, {"properties": {"email": "Ana@example.com"}})
    assert (reply.status, reply.body["message"]) == (409, "Contact already exists. Existing ID: 102")


async def test_two_new_contacts_of_one_request_do_not_get_the_same_address(hubspot, client):
    reply = await client.batch("create", *[traced({"properties": {"email": "ana@example.com"}}, trace) for trace in "01"])
    assert (reply.status, len(hubspot.contacts)) == (207, 1)


# Updates.


async def test_an_update_goes_by_record_id_and_changes_the_address(hubspot, client):
    await client.upsert("ana@example.com")
    reply = await client.batch("update", by_id("101", email="Ana@new.example", firstname="Ana"))
    assert (reply.status, ids(reply)) == (200, {"ana@new.example": "101"})
    assert (await client.upsert("ana@example.com")).body["results"][0]["new"]
    assert len(hubspot.contacts) == 2


async def test_an_update_by_address_is_refused(client):
    reply = await client.batch("update", by_email("ana@example.com"))
    assert reply.status == 400
    assert "non-unique" in reply.body["message"]


async def test_an_additional_address_can_become_the_primary_one(hubspot, client):
    await client.upsert("ana@example.com")
    hubspot.account.add_email("101", "ana@home.example")
    await client.batch("update", by_id("101", email="ana@home.example"))
    assert (hubspot.contacts["101"].properties["email"], hubspot.contacts["101"].emails) == (
        "ana@home.example",
        ["ana@example.com"],
    )
    assert not (await client.upsert("ana@example.com")).body["results"][0]["new"]


async def test_ids_that_are_not_there_are_named_and_the_others_written(hubspot, client):
    await client.upsert("ana@example.com")
    reply = await client.batch("update", by_id("7"), by_id("101", firstname="Ana"), by_id("8"))
    assert (reply.status, reply.body["numErrors"]) == (207, 1)
    assert reply.body["errors"] == [
        {"status": "error", "category": "OBJECT_NOT_FOUND", "message": NOT_THERE, "context": {"ids": ["7", "8"]}}
    ]
    assert hubspot.contacts["101"].properties["firstname"] == "Ana"
    reply = await client.batch("update", by_id("7", "1"), by_id("8", "2"))
    assert [error["context"] for error in reply.body["errors"]] == [
        {"objectWriteTraceId": ["1"], "ids": ["7"]},
        {"objectWriteTraceId": ["2"], "ids": ["8"]},
    ]


async def test_an_id_that_was_merged_away_is_left_out_without_a_word(hubspot, client):
    known = ids(await client.upsert("ana@example.com", "ben@example.com"))
    kept, gone = known["ana@example.com"], known["ben@example.com"]
    hubspot.account.merge(gone, into=kept)
    reply = await client.batch("update", by_id(gone, "1", firstname="Ben"))
    assert (reply.status, reply.body["results"]) == (200, [])
    assert ids(await client.upsert("ben@example.com")) == {"ana@example.com": kept}


async def test_an_address_that_another_contact_has_is_refused_with_its_id(hubspot, client):
    await client.upsert("ana@example.com")
    await client.upsert("ben@example.com")
    reply = await client.batch("update", by_id("102", email="ana@example.com"))
    assert (reply.status, reply.body["category"]) == (400, "VALIDATION_ERROR")
    assert reply.body["message"].startswith("Cannot set PropertyValueCoordinates{portalId=123, objectTypeId=ObjectTypeId{")
    assert reply.body["message"].endswith("propertyName=email, value=ana@example.com} on 102. 101 already has that value.")
    assert hubspot.contacts["102"].properties["email"] == "ben@example.com"


# Contacts without an address, by a property of unique values.


@pytest.fixture
def by_app_id(hubspot):
    hubspot.account.define("app_id", "string", is_unique=True)

    def item(value, trace=None, **properties):
        return traced({"id": value, "idProperty": "app_id", "properties": properties}, trace)

    return item


async def test_a_contact_without_an_address_is_made_and_found_by_a_unique_property(hubspot, client, by_app_id):
    reply = await client.batch("upsert", by_app_id("7", firstname="Ana"), by_app_id("8", email="ben@example.com"))
    assert (reply.status, sorted(result["new"] for result in reply.body["results"])) == (200, [True, True])
    assert [one.properties for one in hubspot.contacts.values()] == [
        {"app_id": "7", "firstname": "Ana"},
        {"app_id": "8", "email": "ben@example.com"},
    ]
    [result] = (await client.batch("upsert", by_app_id("7", lastname="Ruiz"))).body["results"]
    assert (result["id"], result["new"], result["properties"]["email"]) == ("101", False, None)


async def test_a_new_one_needs_an_address_or_a_name_and_the_others_are_written(hubspot, client, by_app_id):
    reply = await client.batch("upsert", by_app_id("7", "1", city="Leeds"), by_app_id("8", "2", firstname="Ben"))
    assert (reply.status, [error["context"] for error in reply.body["errors"]]) == (207, [{"objectWriteTraceId": ["1"]}])
    assert [one.properties["app_id"] for one in hubspot.contacts.values()] == ["8"]


async def test_it_is_updated_and_read_by_that_property_and_what_is_not_there_is_named(hubspot, client, by_app_id):
    await client.batch("upsert", by_app_id("7", firstname="Ana"))
    reply = await client.batch("update", by_app_id("7", city="Leeds"), by_app_id("9", city="Bath"))
    assert (reply.status, reply.body["errors"][0]["context"]) == (207, {"ids": ["9"]})
    assert hubspot.contacts["101"].properties["city"] == "Leeds"
    reply = await client.batch("read", {"id": "7"}, {"id": "9"}, idProperty="app_id", properties=["app_id", "email"])
    assert [result["properties"] for result in reply.body["results"]] == [{"app_id": "7", "email": None}]
    assert (await client.read(f"{PATH}/7", idProperty="app_id")).body["id"] == "101"


async def test_a_second_one_with_the_same_value_is_refused_with_the_id_of_the_first(hubspot, client, by_app_id):
    await client.batch("upsert", by_app_id("7", firstname="Ana"))
    reply = await client.batch("create", {"properties": {"app_id": "7", "firstname": "Ben"}})
    assert (reply.status, len(hubspot.contacts)) == (400, 1)
    assert reply.body["message"].endswith("propertyName=app_id, value=7} on 101. 101 already has that value.")


async def test_its_address_can_be_added_and_cleared(hubspot, client, by_app_id):
    for email in ("ana@example.com", ""):
        await client.batch("upsert", by_app_id("7", firstname="Ana", email=email))
        assert hubspot.contacts["101"].properties["email"] == email
    assert (await client.upsert("ana@example.com")).body["results"][0]["new"]


@pytest.mark.parametrize("operation", ["upsert", "update"])
async def test_inputs_of_one_request_are_identified_by_one_property(client, by_app_id, operation):
    reply = await client.batch(operation, by_app_id("7", "1", firstname="Ana"), by_email("ben@example.com", "2"))
    assert (reply.status, reply.body["message"]) == (400, "All inputs must have the same idProperty")


@pytest.mark.parametrize("name", ["city", "hs_object_id"])
@pytest.mark.parametrize("operation", ["upsert", "update", "read"])
async def test_a_property_that_is_not_unique_identifies_nobody(client, operation, name):
    item, members = ({"id": "Leeds"}, {"idProperty": name}) if operation == "read" else ({"id": "Leeds", "idProperty": name}, {})
    reply = await client.batch(operation, {**item, "properties": {}}, **members)
    assert reply.status == 400
    assert "non-unique" in reply.body["message"]


# One contact, and pages of them.


async def test_one_contact_is_read_and_changed_by_id_or_address(client):
    await client.upsert("ana@example.com", lastname="Ruiz")
    for key, query in [("101", {}), ("Ana@example.com", {"idProperty": "email"})]:
        reply = await client.ask("PATCH", f"{PATH}/{key}", {"properties": {"firstname": key}}, params=query)
        assert (reply.status, reply.body["properties"]["firstname"]) == (200, key)
        reply = await client.read(f"{PATH}/{key}", properties="firstname,city", **query)
        assert reply.body["properties"] == {"firstname": key, "city": None}
    assert (await client.ask("PATCH", f"{PATH}/101", {"properties": {"lastname": ""}})).body["properties"]["lastname"] == ""


@pytest.mark.parametrize("query", [{}, {"idProperty": "email"}])
async def test_what_is_not_there_is_a_404_in_json(client, query):
    for method in ("GET", "PATCH"):
        reply = await client.ask(method, f"{PATH}/nobody@example.com", {"properties": {}}, params=query)
        assert (reply.status, reply.body["message"]) == (404, "resource not found")


async def test_an_archived_contact_sets_its_addresses_free_but_not_its_id(hubspot, client):
    await client.upsert("ana@example.com")
    hubspot.account.add_email("101", "ana@home.example")
    assert (await client.ask("DELETE", f"{PATH}/101")).status == 204
    assert (await client.read(f"{PATH}/101")).status == 404
    assert sorted(ids(await client.upsert("ana@example.com", "ana@home.example")).values()) == ["102", "103"]
    assert (await client.batch("archive", {"id": "102"}, {"id": "7"})).status == 204
    assert list(hubspot.contacts) == ["103"]


async def test_a_batch_read_finds_by_id_or_address_and_names_what_is_not_there(client):
    await client.upsert("ana@example.com")
    for known, unknown, members in [("101", "7", {}), ("Ana@example.com", "x@example.com", {"idProperty": "email"})]:
        reply = await client.batch("read", {"id": known}, {"id": unknown}, properties=["email"], **members)
        assert (reply.status, ids(reply)) == (207, {"ana@example.com": "101"})
        assert reply.body["errors"][0]["context"] == {"ids": [unknown]}
        assert (await client.batch("read", {"id": known}, properties=["email"], **members)).status == 200


async def test_contacts_come_in_pages(client):
    for number in range(5):
        await client.upsert(f"{number}@example.com")
    first = (await client.read(limit="2")).body
    assert [contact["id"] for contact in first["results"]] == ["101", "102"]
    second = (await client.read(limit="3", after=first["paging"]["next"]["after"])).body
    assert [contact["id"] for contact in second["results"]] == ["103", "104", "105"]
    assert "paging" not in second
    assert (await client.read(limit="101")).status == 400


async def test_other_paths_are_a_page_and_other_methods_an_error(client):
    for path in ("/crm/v4/objects/contacts", f"{PATH}/batch/unheard-of", f"{PATH}/a/b"):
        reply = await client.ask("POST", path)
        assert (reply.status, reply.headers["Content-Type"]) == (404, "text/html")
    for method, path in [("PUT", PATH), ("PUT", f"{PATH}/101"), ("GET", f"{PATH}/batch/read")]:
        assert (await client.ask(method, path)).status == 405


async def test_a_date_based_version_has_another_path_and_the_same_rules():
    path = "/crm/objects/2026-09/contacts"
    async with (
        HubSpotSandbox(token=TOKEN, path=path, **NO_LIMITS) as hubspot,
        aiohttp.ClientSession(hubspot.url, headers={"Authorization": f"Bearer {TOKEN}"}) as session,
    ):
        client = Client(session)
        assert (await client.ask("POST", f"{path}/batch/upsert", {"inputs": [by_email("ana@example.com")]})).status == 200
        assert (await client.read(f"{path}/101")).status == 200
        assert (await client.read(f"{PATH}/101")).status == 404


# Limits, and the view from another process.


@pytest.fixture
async def limited():
    clock = Clock()
    async with (
        HubSpotSandbox(token=TOKEN, requests_per_day=150, clock=clock) as sandbox,
        aiohttp.ClientSession(sandbox.url, headers={"Authorization": f"Bearer {TOKEN}"}) as session,
    ):
        yield sandbox, Client(session), clock


def limit_headers(reply, *names):
    return [int(reply.headers[f"X-HubSpot-RateLimit-{name}"]) for name in names]


async def test_the_hundred_and_first_request_in_ten_seconds_is_too_many(limited):
    hubspot, client, clock = limited
    replies = []
    for _ in range(101):
        replies.append(await client.read())
        clock.now_s += 0.0625
    assert [reply.status for reply in replies] == [200] * 100 + [429]
    assert limit_headers(replies[0], "Max", "Remaining", "Interval-Milliseconds") == [100, 99, 10_000]
    refused = replies[-1]
    assert refused.body == {
        "status": "error",
        "message": "You have reached your ten_secondly_rolling limit.",
        "errorType": "RATE_LIMIT",
        "correlationId": refused.headers["X-HubSpot-Correlation-Id"],
        "policyName": "TEN_SECONDLY_ROLLING",
        "groupName": "publicapi:private-apps:sandbox",
    }
    assert "Retry-After" not in refused.headers
    assert hubspot.limit_breaches == 1
    clock.now_s = 1010.0
    assert [(await client.read()).status for _ in range(2)] == [200, 429], "the first of them is ten seconds ago, the second not"


async def test_a_request_too_many_changes_nothing(limited):
    hubspot, client, _ = limited
    for _ in range(100):
        await client.read()
    assert (await client.upsert("ana@example.com")).status == 429
    assert not hubspot.contacts


async def test_the_day_has_a_limit_of_its_own(limited):
    _, client, clock = limited
    for number in range(151):
        reply = await client.read()
        if number == 99:
            clock.now_s += 10
    assert (reply.status, reply.body["policyName"]) == (429, "DAILY")
    assert reply.body["message"] == "You have reached your daily limit."
    assert limit_headers(reply, "Daily", "Daily-Remaining") == [150, 0]
    clock.now_s += 86_400
    assert (await client.read()).status == 200


async def test_a_wrong_token_takes_no_place(limited):
    _, client, _ = limited
    reply = await client.ask("GET", PATH, headers={"Authorization": "Bearer wrong"})
    assert (reply.status, limit_headers(reply, "Remaining")) == (401, [100])


async def test_without_limits_there_are_no_headers_of_them(client):
    assert not [name for name in (await client.read()).headers if "RateLimit" in name]


async def test_the_control_pages_show_contacts_as_hubspot_does_and_when_their_addresses_came(hubspot, client):
    await client.batch(
        "upsert", by_email("Ana@example.com", firstname="Ana"), {"id": "Ben@example.com", "idProperty": "email", "properties": {}}
    )
    await client.batch("update", by_id("101", email="ana@example.com"))
    await client.ask("PATCH", f"{PATH}/101", {"properties": {"email": "cleo@example.com"}})
    await client.ask("POST", f"{PATH}/batch/upsert", data=b"\xff")
    async with aiohttp.ClientSession(hubspot.url) as session:
        control = Client(session)
        assert [contact["id"] for contact in (await control.read("/_sandbox/contacts")).body] == ["101", "102"]
        assert (await control.read("/_sandbox/arrivals")).body == [
            *(["ana@example.com", hubspot.requests[0].wall_s], ["ben@example.com", hubspot.requests[0].wall_s]),
            ["cleo@example.com", hubspot.requests[2].wall_s],
        ]
        assert (await control.read("/_sandbox/stats")).body == {"requests": 4, "contacts": 2, "limit_breaches": 0}


def test_a_batch_of_a_hundred_costs_a_few_milliseconds():
    hubspot = HubSpotSandbox(token=TOKEN, keep_log=False)
    fields = {"firstname": "Ana", "lastname": "Ruiz", "phone": "+33639980001", "company": "Northwind", "city": "Paris"}
    durations = []
    for start in range(0, 1000, 100):
        inputs = [by_email(f"{start + number}@example.com", str(number), **fields) for number in range(100)]
        call = Call("POST", f"{PATH}/batch/upsert", {}, {"Authorization": f"Bearer {TOKEN}"}, {"inputs": inputs})
        began = time.thread_time()
        assert hubspot.respond(call).status == 200
        durations.append(time.thread_time() - began)
    assert min(durations) < 0.01


# HubSpot's own SDK.


@pytest.fixture
def official(hubspot):
    """Calls a method of the SDK, which is synchronous, next to the sandbox's loop."""
    configuration = sdk.Configuration()
    configuration.host = hubspot.url
    configuration.access_token = TOKEN
    api_client = sdk.ApiClient(configuration)
    apis = {"batch": sdk.BatchApi(api_client), "basic": sdk.BasicApi(api_client)}

    async def call(api, method, *args, validated=True, **options):
        """validated: the SDK holds the answer against HubSpot's OpenAPI, which it does not unless told to."""
        configuration.client_side_validation = validated
        with warnings.catch_warnings():
            # It asks urllib3 for headers in a deprecated way.
            warnings.simplefilter("ignore", DeprecationWarning)
            return await asyncio.to_thread(getattr(apis[api], method), *args, **options)

    yield call
    api_client.rest_client.pool_manager.clear()


def upserts(*items):
    inputs = [
        sdk.SimplePublicObjectBatchInputUpsert(id=email, id_property="email", properties=properties, object_write_trace_id=trace)
        for email, properties, trace in items
    ]
    return sdk.BatchInputSimplePublicObjectBatchInputUpsert(inputs=inputs)


async def test_the_sdk_upserts_and_understands_the_answer(hubspot, official):
    answer = await official("batch", "upsert", upserts(("ana@example.com", {"firstname": "Ana"}, None)))
    assert isinstance(answer, sdk.BatchResponseSimplePublicUpsertObject)
    [result] = answer.results
    assert (answer.status, result.id, result.new, result.properties["firstname"]) == ("COMPLETE", "101", True, "Ana")
    assert result.created_at.tzinfo is not None
    assert hubspot.contacts["101"].properties["email"] == "ana@example.com"


async def test_the_sdk_understands_a_partial_success_as_it_comes_but_its_validation_does_not(hubspot, official):
    """HubSpot's OpenAPI demands `errors` and `links` of every error in a 207, and captured ones have neither."""
    batch = upserts(("ana@example.com", {}, "1"), ("nobody@", {}, "2"))
    with pytest.raises(ValueError, match="Invalid value for `links`"):
        await official("batch", "upsert", batch)
    answer = await official("batch", "upsert", batch, validated=False)
    assert isinstance(answer, sdk.BatchResponseSimplePublicUpsertObjectWithErrors)
    assert (answer.num_errors, [result.id for result in answer.results]) == (1, ["101"])
    [error] = answer.errors
    assert (error.category, error.context) == ("VALIDATION_ERROR", {"objectWriteTraceId": ["2"]})
    assert (error.errors, error.links) == (None, None)


async def test_the_sdk_creates_updates_reads_and_archives(hubspot, official):
    new = sdk.SimplePublicObjectBatchInputForCreate(properties={"email": "ana@example.com"}, associations=[])
    created = await official("batch", "create", sdk.BatchInputSimplePublicObjectBatchInputForCreate(inputs=[new]))
    assert created.results[0].id == "101"
    changes = [sdk.SimplePublicObjectBatchInput(id=each, properties={"city": "Leeds"}) for each in ("101", "7")]
    updated = await official("batch", "update", sdk.BatchInputSimplePublicObjectBatchInput(inputs=changes), validated=False)
    assert isinstance(updated, sdk.BatchResponseSimplePublicObjectWithErrors)
    assert (updated.results[0].properties["city"], updated.errors[0].context) == ("Leeds", {"ids": ["7"]})
    wanted = sdk.BatchReadInputSimplePublicObjectId(
        id_property="email",
        inputs=[sdk.SimplePublicObjectId(id="ana@example.com")],
        properties=["city"],
        properties_with_history=[],
    )
    assert (await official("batch", "read", wanted)).results[0].properties == {"city": "Leeds"}
    page = await official("basic", "get_page", limit=1)
    assert ([each.id for each in page.results], page.paging) == (["101"], None)
    one = await official(
        "basic", "update", "ana@example.com", sdk.SimplePublicObjectInput({"city": "Paris"}), id_property="email"
    )
    assert one.properties["city"] == "Paris"
    await official("basic", "archive", "101")
    assert not hubspot.contacts


async def test_the_sdk_raises_the_errors_as_what_they_are(hubspot, official):
    new = sdk.SimplePublicObjectInputForCreate(properties={"email": "ana@example.com"}, associations=[])
    assert (await official("basic", "create", new)).id == "101"
    with pytest.raises(ApiException) as caught:
        await official("basic", "create", new)
    assert (caught.value.status, json.loads(caught.value.body)["category"]) == (409, "CONFLICT")
    hubspot.token = "another"
    with pytest.raises(ApiException) as caught:
        await official("basic", "get_page")
    assert caught.value.status == 401
