"""What the fake Brevo does: its contract with a client."""

from urllib.parse import quote

import aiohttp
import pytest

from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from tests.crm.talk import Clock, Talk

KEY = "xkeysib-test"
NO_LIMITS = {"contacts_per_second": None, "contacts_per_hour": None, "others_per_hour": None}
ANA = {"email": "ana@example.com", "attributes": {"FIRSTNAME": "Ana", "SMS": "+33639980001"}}
BEN = {"email": "ben@example.com", "attributes": {"FIRSTNAME": "Ben"}}
NOT_FOUND = {"code": "document_not_found", "message": "Contact does not exist"}


class Client(Talk):
    async def post(self, **body):
        return await self.ask("POST", "/v3/contacts", body)

    async def get(self, path, **options):
        return await self.ask("GET", path, **options)

    async def put(self, identifier, identifier_type=None, **body):
        kind = f"?identifierType={identifier_type}" if identifier_type else ""
        return await self.ask("PUT", f"/v3/contacts/{quote(str(identifier), safe='')}{kind}", body)


@pytest.fixture
async def brevo():
    async with BrevoSandbox(key=KEY, list_ids={1, 2}, **NO_LIMITS) as sandbox:
        yield sandbox


@pytest.fixture
async def client(brevo):
    async with aiohttp.ClientSession(brevo.url, headers={"api-key": KEY}) as session:
        yield Client(session)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def limited(clock):
    async with (
        BrevoSandbox(key=KEY, clock=clock) as sandbox,
        aiohttp.ClientSession(sandbox.url, headers={"api-key": KEY}) as session,
    ):
        yield sandbox, Client(session)


# The key.


@pytest.mark.parametrize("path", ["/v3/account", "/v3/contacts", "/v3/contacts/1"])
async def test_a_wrong_key_is_unauthorized(client, path):
    reply = await client.get(path, headers={"api-key": "wrong"})
    assert (reply.status, reply.body) == (401, {"code": "unauthorized", "message": "Key not found"})


async def test_a_good_key_from_an_unknown_address_is_unauthorized_too(brevo, client):
    brevo.unknown_ip = True
    reply = await client.get("/v3/contacts")
    assert (reply.status, reply.body["code"]) == (401, "unauthorized")
    assert "unrecognised IP address" in reply.body["message"]


async def test_the_account_names_itself(client):
    reply = await client.get("/v3/account")
    assert reply.status == 200
    assert {"email", "firstName", "lastName", "companyName", "plan", "relay"} <= set(reply.body)


# POST /contacts.


async def test_a_new_contact_is_a_201_with_its_id(brevo, client):
    assert [(await client.post(**person))[:2] for person in (ANA, BEN)] == [
        (201, {"id": 1}),
        (201, {"id": 2}),
    ]
    assert brevo.contacts[1].attributes == {"FIRSTNAME": "Ana", "SMS": "33639980001"}


async def test_an_existing_contact_is_updated_with_an_empty_204(brevo, client):
    await client.post(**ANA)
    reply = await client.post(email=ANA["email"], attributes={"LASTNAME": "Ruiz"}, updateEnabled=True)
    assert (reply.status, reply.body) == (204, None)
    assert brevo.contacts[1].attributes == {"FIRSTNAME": "Ana", "LASTNAME": "Ruiz", "SMS": "33639980001"}


async def test_get_id_changes_the_answer_to_an_update_only_if_the_sandbox_is_told_so(brevo, client):
    await client.post(**ANA)
    assert (await client.post(**ANA, updateEnabled=True, getId=True)).status == 204
    brevo.id_after_update = True
    assert (await client.post(**ANA, updateEnabled=True, getId=True))[:2] == (200, {"id": 1})
    assert (await client.post(**ANA, updateEnabled=True)).status == 204


@pytest.mark.parametrize("code", ["duplicate_parameter", "invalid_parameter"])
async def test_an_existing_contact_without_update_enabled_is_a_duplicate_under_either_code(brevo, client, code):
    brevo.account.duplicate_code = code
    await client.post(**ANA)
    assert (await client.post(email=ANA["email"]))[:2] == (
        400,
        {
            "code": code,
            "message": "Unable to create contact, email is already associated with another Contact",
            "metadata": {"duplicate_identifiers": ["email"]},
        },
    )


async def test_addresses_are_compared_without_case_and_kept_in_lower_case(brevo, client):
    await client.post(email="Ana@Example.COM")
    assert brevo.contacts[1].email == "ana@example.com"
    assert (await client.post(email="ANA@example.com")).body["metadata"] == {"duplicate_identifiers": ["email"]}


@pytest.mark.parametrize("name", ["SMS", "WHATSAPP", "LANDLINE_NUMBER", "EXT_ID"])
async def test_what_is_unique_fails_the_row_even_with_update_enabled(brevo, client, name):
    await client.post(email="ana@example.com", attributes={name: "33639980001"})
    await client.post(**BEN)
    for person in (BEN, {"email": "new@example.com"}):
        reply = await client.post(email=person["email"], attributes={name: "33639980001", "LASTNAME": "x"}, updateEnabled=True)
        assert reply.status == 400
        assert reply.body["metadata"] == {"duplicate_identifiers": [name]}
    assert [contact.attributes.get("LASTNAME") for contact in brevo.contacts.values()] == [None, None]


async def test_all_duplicates_are_named_together(client):
    await client.post(**ANA, ext_id="7")
    reply = await client.post(email="new@example.com", ext_id="7", attributes=ANA["attributes"])
    assert reply.body["metadata"] == {"duplicate_identifiers": ["EXT_ID", "SMS"]}
    assert "EXT_ID or SMS are already associated" in reply.body["message"]


async def test_one_phone_number_has_three_spellings(client):
    await client.post(**ANA)
    for spelling in ("33639980001", "+33639980001", "0033639980001"):
        reply = await client.post(email="new@example.com", attributes={"SMS": spelling})
        assert reply.body["metadata"] == {"duplicate_identifiers": ["SMS"]}


@pytest.mark.parametrize("phone", ["n/a", "12345", "1" * 20, "+33 6 39 98 00 01", "0639980001", "+", "٣٣٦٣٩٩٨٠"])
async def test_a_malformed_phone_is_refused(brevo, client, phone):
    reply = await client.post(email="ana@example.com", attributes={"SMS": phone})
    assert reply[:2] == (400, {"code": "invalid_parameter", "message": "Invalid phone number"})
    assert not brevo.contacts


@pytest.mark.parametrize("phone", ["123456", "1" * 19, "+" + "1" * 19, "00" + "1" * 19])
async def test_a_phone_has_6_to_19_digits(client, phone):
    assert (await client.post(email="ana@example.com", attributes={"SMS": phone})).status == 201


@pytest.mark.parametrize(
    "email",
    [None, "", 7, "ana", "ana@", "@example.com", "ana@example", "a b@example.com", " ana@example.com"],
)
async def test_a_malformed_address_is_refused(client, email):
    reply = await client.post(email=email)
    assert reply[:2] == (400, {"code": "invalid_parameter", "message": "Invalid email address"})


async def test_a_contact_needs_an_email_an_ext_id_or_an_sms(brevo, client):
    assert (await client.post(attributes={"FIRSTNAME": "Ana"})).body["code"] == "missing_parameter"
    assert (await client.post(ext_id="7")).status == 201
    assert (await client.post(attributes={"SMS": "+33639980001"})).status == 201
    assert [contact.email for contact in brevo.contacts.values()] == [None, None]


async def test_without_an_address_the_ext_id_or_else_the_phone_says_which_contact_is_updated(brevo, client):
    await client.post(ext_id="7", attributes={"SMS": "+33639980001"})
    await client.post(attributes={"SMS": "+33639980002"})
    assert (await client.post(ext_id="7", attributes={"FIRSTNAME": "Ana"}, updateEnabled=True)).status == 204
    assert (await client.post(attributes={"SMS": "0033639980002", "FIRSTNAME": "Ben"}, updateEnabled=True)).status == 204
    assert [contact.attributes["FIRSTNAME"] for contact in brevo.contacts.values()] == ["Ana", "Ben"]
    for person in ({"ext_id": "7"}, {"attributes": {"SMS": "33639980001"}}):
        taken = "EXT_ID" if "ext_id" in person else "SMS"
        assert (await client.post(**person)).body["metadata"] == {"duplicate_identifiers": [taken]}
    reply = await client.post(ext_id="8", attributes={"SMS": "33639980002"}, updateEnabled=True)
    assert reply.body["metadata"] == {"duplicate_identifiers": ["SMS"]}


async def test_a_contact_with_only_a_phone_is_shown_with_an_address_made_of_it(brevo, client):
    await client.post(attributes={"SMS": "+33639980001"})
    await client.post(ext_id="7")
    made = "33639980001@mailin-sms.com"
    assert [contact["email"] for contact in (await client.get("/v3/contacts")).body["contacts"]] == [None, made]
    assert (await client.get(f"/v3/contacts/{made}?identifierType=email_id")).body["id"] == 1
    await client.put(1, "contact_id", attributes={"EMAIL": "ana@example.com"})
    assert (await client.get("/v3/contacts/1")).body["email"] == "ana@example.com"
    brevo.account.placeholders = False
    await client.post(attributes={"SMS": "+33639980002"})
    assert (await client.get("/v3/contacts/3")).body["email"] is None
    assert (await client.get("/v3/contacts/33639980002@mailin-sms.com")).status == 404


async def test_only_a_contact_with_an_address_loses_its_phone(brevo, client):
    await client.post(ext_id="7", attributes={"SMS": "+33639980001"})
    reply = await client.put(1, attributes={"SMS": "", "FIRSTNAME": "Ana"})
    assert (reply.status, reply.body["code"]) == (400, "invalid_parameter")
    assert brevo.contacts[1].attributes == {"EXT_ID": "7", "SMS": "33639980001"}
    assert (await client.put(1, attributes={"SMS": "", "EMAIL": "ana@example.com"})).status == 204
    assert brevo.contacts[1].attributes == {"EXT_ID": "7"}


@pytest.mark.parametrize("value", [None, {"a": 1}])
async def test_null_and_object_attributes_are_refused(client, value):
    reply = await client.post(email="ana@example.com", attributes={"FIRSTNAME": value})
    assert (reply.status, reply.body["code"]) == (400, "invalid_parameter")


async def test_attributes_of_another_type_or_another_account_are_ignored(brevo, client):
    brevo.account.attributes |= {"SCORE": "float", "VIP": "boolean", "TAGS": "multiple-choice"}
    await client.post(
        email="ana@example.com",
        attributes={
            "FIRSTNAME": 7,
            "firstname": "Ana",
            "SHOE_SIZE": "38",
            "SCORE": True,
            "VIP": 1,
            "TAGS": "a",
        },
    )
    await client.post(email="ben@example.com", attributes={"SCORE": 1.5, "VIP": True, "TAGS": ["a"]})
    assert brevo.contacts[1].attributes == {}
    assert brevo.contacts[2].attributes == {"SCORE": 1.5, "VIP": True, "TAGS": ["a"]}


async def test_an_option_is_taken_by_its_number_and_a_label_only_where_the_sandbox_is_told_so(brevo, client):
    brevo.account.attributes |= {"MOOD": "category", "TAGS": "multiple-choice"}
    brevo.account.options |= {"MOOD": ["happy", "sad"], "TAGS": ["a", "b"]}
    for mood, tags in ((2, ["a"]), ("happy", ["a", "c"]), (3, "b"), ("2", []), (True, ["b"])):
        await client.post(email="ana@example.com", attributes={"MOOD": mood, "TAGS": tags}, updateEnabled=True)
        assert brevo.contacts[1].attributes == {"MOOD": 2, "TAGS": tags if tags in ([], ["b"]) else ["a"]}
    brevo.account.takes_labels = True
    await client.post(email="ana@example.com", attributes={"MOOD": "happy"}, updateEnabled=True)
    assert brevo.contacts[1].attributes["MOOD"] == "happy"


async def test_an_empty_text_takes_an_attribute_away_and_sets_its_number_free(brevo, client):
    await client.post(**ANA)
    await client.post(email=ANA["email"], attributes={"SMS": "", "FIRSTNAME": ""}, updateEnabled=True)
    assert brevo.contacts[1].attributes == {}
    assert (await client.post(email="new@example.com", attributes=ANA["attributes"])).status == 201


async def test_lists_are_added_to(brevo, client):
    await client.post(email="ana@example.com", listIds=[1])
    await client.post(email="ana@example.com", listIds=[2], updateEnabled=True)
    assert brevo.contacts[1].list_ids == {1, 2}


@pytest.mark.parametrize("list_ids", [[9], ["1"], 1, [True]])
async def test_a_list_that_does_not_exist_is_refused(brevo, client, list_ids):
    reply = await client.post(email="ana@example.com", listIds=list_ids)
    assert (reply.status, reply.body["code"]) == (400, "invalid_parameter")
    assert not brevo.contacts


async def test_a_body_that_is_no_json_object_is_refused(client):
    assert (await client.ask("POST", "/v3/contacts", ["ana@example.com"])).status == 400
    assert (await client.ask("POST", "/v3/contacts", data=b'{"email"')).status == 400


# One contact.


async def test_a_contact_is_found_by_each_of_its_identifiers(client):
    await client.post(email="a+b@example.com", ext_id="x/7", attributes={"SMS": "+33639980001"})
    for identifier, kind in [
        *(("a+b@example.com", None), ("1", None), ("A+B@example.com", "email_id"), ("1", "contact_id")),
        *(("x/7", "ext_id"), ("0033639980001", "phone_id")),
    ]:
        assert (await client.put(identifier, kind, attributes={"FIRSTNAME": "Ana"})).status == 204
        reply = await client.get(f"/v3/contacts/{quote(identifier, safe='')}", params={"identifierType": kind} if kind else {})
        assert (reply.status, reply.body["id"], reply.body["attributes"]["FIRSTNAME"]) == (200, 1, "Ana")


async def test_without_a_type_only_addresses_and_ids_are_understood(client):
    await client.post(email="ana@example.com", ext_id="x7")
    assert (await client.put("x7")).status == 400
    assert (await client.put("x7", "unheard_of")).status == 400
    assert (await client.put("x7", "contact_id")).status == 400


@pytest.mark.parametrize("identifier", ["nobody@example.com", "77"])
async def test_an_unknown_contact_is_a_404(client, identifier):
    for method in ("GET", "PUT", "DELETE"):
        assert (await client.ask(method, f"/v3/contacts/{identifier}", {}))[:2] == (404, NOT_FOUND)


async def test_a_changed_address_is_the_contacts_from_then_on(brevo, client):
    await client.post(**ANA)
    assert (await client.put("ana@example.com", attributes={"EMAIL": "New@example.com"})).status == 204
    assert brevo.contacts[1].email == "new@example.com"
    assert (await client.get("/v3/contacts/ana@example.com")).status == 404
    assert (await client.post(email="ana@example.com")).status == 201


async def test_a_changed_address_that_is_taken_is_a_duplicate(brevo, client):
    await client.post(**ANA)
    await client.post(**BEN)
    reply = await client.put(2, attributes={"EMAIL": "ana@example.com"})
    assert (reply.status, reply.body["code"]) == (400, "duplicate_parameter")
    assert reply.body["metadata"] == {"duplicate_identifiers": ["email"]}
    assert brevo.contacts[2].email == "ben@example.com"


async def test_lists_are_left_by_unlinking(brevo, client):
    await client.post(email="ana@example.com", listIds=[1])
    await client.put(1, listIds=[2], unlinkListIds=[1])
    assert brevo.contacts[1].list_ids == {2}


async def test_a_changed_address_subscribes_again_unless_the_request_says_otherwise(brevo, client):
    await client.post(email="ana@example.com", emailBlacklisted=True)
    await client.put(1, attributes={"FIRSTNAME": "Ana"})
    assert (await client.get("/v3/contacts/1")).body["emailBlacklisted"] is True
    await client.put(1, attributes={"EMAIL": "new@example.com"}, emailBlacklisted=True)
    assert (await client.get("/v3/contacts/1")).body["emailBlacklisted"] is True
    await client.put(1, attributes={"EMAIL": "new@example.com"})
    assert (await client.get("/v3/contacts/1")).body["emailBlacklisted"] is False


async def test_a_blocklisting_is_true_or_false(brevo, client):
    reply = await client.post(email="ana@example.com", emailBlacklisted="no")
    assert (reply.status, reply.body["code"]) == (400, "invalid_parameter")
    assert not brevo.contacts


async def test_a_list_says_how_many_are_on_it(client):
    await client.post(email="ana@example.com", listIds=[2])
    await client.post(email="ben@example.com", listIds=[1, 2], emailBlacklisted=True)
    reply = await client.get("/v3/contacts/lists/2")
    assert reply.status == 200
    assert {name: reply.body[name] for name in ("id", "name", "totalSubscribers", "totalBlacklisted")} == {
        "id": 2,
        "name": "List 2",
        "totalSubscribers": 2,
        "totalBlacklisted": 1,
    }


@pytest.mark.parametrize("list_id", ["9", "first", "-1", "1/contacts"])
async def test_a_list_that_is_not_there_is_a_404(client, list_id):
    reply = await client.get(f"/v3/contacts/lists/{list_id}")
    assert (reply.status, reply.body["code"]) == (404, "document_not_found")


async def test_contacts_come_in_pages_newest_first(client):
    for number in range(5):
        await client.post(email=f"{number}@example.com")
    reply = await client.get("/v3/contacts?limit=2&offset=1")
    assert ([contact["id"] for contact in reply.body["contacts"]], reply.body["count"]) == ([4, 3], 5)
    assert (await client.get("/v3/contacts?limit=1001")).body["code"] == "out_of_range"
    assert (await client.get("/v3/contacts?limit=-1")).body["code"] == "invalid_parameter"


async def test_a_deleted_contact_sets_its_identifiers_free_but_not_its_id(client):
    await client.post(**ANA)
    assert (await client.ask("DELETE", "/v3/contacts/1")).status == 204
    assert (await client.post(**ANA)).body == {"id": 2}


async def test_other_routes_and_methods_are_errors_in_json(client):
    assert (await client.get("/v3/unheard-of")).status == 404
    for method, path in [
        *(("PATCH", "/v3/contacts"), ("POST", "/v3/account"), ("PATCH", "/v3/contacts/1"), ("DELETE", "/v3/contacts/lists/1")),
    ]:
        reply = await client.ask(method, path)
        assert (reply.status, reply.body["code"]) == (405, "method_not_allowed")


# Limits.


def limit_headers(reply):
    return tuple(int(reply.headers[f"x-sib-ratelimit-{name}"]) for name in ("limit", "remaining", "reset"))


async def test_the_eleventh_contact_request_in_a_second_is_too_many(limited, clock):
    sandbox, client = limited
    replies = [await client.post(email=f"{number}@example.com") for number in range(11)]
    assert [reply.status for reply in replies] == [201] * 10 + [429]
    assert [limit_headers(reply) for reply in replies] == [(10, left, 1) for left in [*range(9, -1, -1), 0]]
    assert "Retry-After" not in replies[-1].headers
    assert (sandbox.limit_breaches, len(sandbox.contacts)) == (1, 10)
    clock.now_s += 1
    assert (await client.get("/v3/contacts")).status == 200


async def test_the_hundred_and_first_request_of_another_kind_in_an_hour_is_too_many(limited, clock):
    sandbox, client = limited
    assert {(await client.get("/v3/account")).status for _ in range(100)} == {200}
    clock.now_s += 3599.5
    reply = await client.get("/v3/account")
    assert (reply.status, limit_headers(reply)) == (429, (100, 0, 1))
    assert (await client.get("/v3/contacts")).status == 200, "contacts have a limit of their own"
    clock.now_s += 0.5
    assert (await client.get("/v3/account")).status == 200
    assert sandbox.limit_breaches == 1


async def test_contacts_have_a_limit_by_the_hour_too(clock):
    async with (
        BrevoSandbox(key=KEY, contacts_per_hour=12, clock=clock) as sandbox,
        aiohttp.ClientSession(sandbox.url, headers={"api-key": KEY}) as session,
    ):
        replies = []
        for _ in range(13):
            replies.append(await Client(session).get("/v3/contacts"))
            clock.now_s += 1
    assert [reply.status for reply in replies] == [200] * 12 + [429]
    assert limit_headers(replies[-1]) == (12, 0, 3600 - 12)


async def test_a_wrong_key_takes_no_place_but_shows_the_limit(limited):
    _, client = limited
    reply = await client.get("/v3/contacts", headers={"api-key": "wrong"})
    assert (reply.status, limit_headers(reply)) == (401, (10, 10, 1))


async def test_a_429_for_faults_is_what_a_limit_answers(limited):
    sandbox, client = limited
    for number in range(10):
        await client.post(email=f"{number}@example.com")
    scripted, own = sandbox.throttled(), await client.get("/v3/contacts")
    names = [f"x-sib-ratelimit-{name}" for name in ("limit", "remaining", "reset")]
    assert (scripted.status, scripted.body) == own[:2]
    assert dict(scripted.headers) == {name: own.headers[name] for name in names}


async def test_without_limits_there_are_no_headers_of_them(client):
    assert not [name for name in (await client.get("/v3/contacts")).headers if name.lower().startswith("x-sib")]


# The view from another process, and the process.


async def test_the_control_pages_show_the_state_without_a_key_and_leave_no_trace(brevo, client):
    async with aiohttp.ClientSession(brevo.url) as session:
        control = Client(session)
        assert (await control.get("/_sandbox/contacts")).body == []
        await client.post(**ANA)
        await client.post(email="ANA@example.com")
        await client.ask("POST", "/v3/contacts", data=b"\xff")
        contacts = (await control.get("/_sandbox/contacts")).body
        assert [(contact["id"], contact["email"]) for contact in contacts] == [(1, "ana@example.com")]
        requests = (await control.get("/_sandbox/requests?since=1")).body
        assert [(request["status"], request["body"]) for request in requests] == [
            *((400, {"email": "ANA@example.com"}), (400, "\ufffd")),
        ]
        assert (await control.get("/_sandbox/arrivals")).body == [["ana@example.com", brevo.requests[0].wall_s]]
        assert (await control.get("/_sandbox/stats")).body == {
            "requests": 3,
            "contacts": 1,
            "limit_breaches": 0,
        }
        assert (await control.get("/_sandbox/unheard-of")).status == 404
    assert len(brevo.requests) == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
async def test_what_is_no_json_is_no_body(brevo, client, value):
    reply = await client.ask("POST", "/v3/contacts", {"email": "ana@example.com", "attributes": {"SCORE": value}})
    assert (reply.status, reply.body["code"]) == (400, "bad_request")
    assert brevo.contacts == {}


async def test_a_date_is_taken_as_a_day_and_ignored_in_other_forms(brevo, client):
    brevo.account.attributes["SINCE"] = "date"
    for value in ("2026-01-02", "02.01.2026", "2026-01-02 03:04:05+00"):
        body = {"email": "ana@example.com", "updateEnabled": True, "attributes": {"SINCE": value}}
        assert (await client.ask("POST", "/v3/contacts", body)).status in (201, 204)
    assert brevo.contacts[1].attributes == {"SINCE": "2026-01-02"}
