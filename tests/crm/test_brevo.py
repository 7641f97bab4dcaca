"""Our Brevo client against the fake Brevo, and against prepared answers: the outcomes of a contact."""

import asyncio
import os
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from crm_sync.core.identity import check_email
from crm_sync.core.outcome import Contact, Outcome, Verdict
from crm_sync.crm.brevo.client import Brevo, account
from crm_sync.crm.http import REQUEST_TIMEOUT_S, Http
from crm_sync.crm.limiter import UNLIMITED
from crm_sync.errors import (
    ConfigurationError,
    HeldBackError,
    OutageError,
    RefusedError,
    StatusRefusedError,
    ThrottledError,
)
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.people import SHARES, people
from crm_sync.sandbox.server import Answer, Fault, Hold

KEY = "xkeysib-0123456789abcdef"
NO_LIMITS = {"contacts_per_second": None, "contacts_per_hour": None, "others_per_hour": None}
PHONE, OTHER_PHONE = "+33639980001", "+33639980002"
LIST = 7
NEW, UPDATE = ("POST", "/v3/contacts"), ("PUT", "/v3/contacts/1?identifierType=contact_id")
LOOK, LOOK_AT_LIST = ("GET", "/v3/contacts/1?identifierType=contact_id"), ("GET", f"/v3/contacts/lists/{LIST}")
LOOK_BY_EMAIL = ("GET", "/v3/contacts/ada@example.com?identifierType=email_id")
FIRST_PAGE = ("GET", "/v3/contacts?limit=1")  # what the check asks for


@pytest.fixture
async def crm():
    async with BrevoSandbox(key=KEY, list_ids={LIST}, **NO_LIMITS) as sandbox:
        yield sandbox


@pytest.fixture
async def brevo(crm):
    async with client(f"{crm.url}/v3") as opened:
        yield opened


@pytest.fixture
async def alone(prepared):
    """Only the client: it is answered as the test says."""
    async with client(f"{prepared.base_url}/v3") as opened:
        yield opened


@asynccontextmanager
async def client(base_url, key=KEY, limiter=UNLIMITED, timeout_s=REQUEST_TIMEOUT_S, **options):
    async with Http(base_url, {"api-key": key}, limiter=limiter, timeout_s=timeout_s) as http:
        yield Brevo(http, **options)


def contact(email="ada@example.com", remote_id=None, **fields):
    flipped_at = datetime(2026, 11, 3, 9, 30, tzinfo=UTC)
    return Contact(id=1, token=1, attempts=1, remote_id=remote_id, email=email, flipped_at=flipped_at, fields=fields)


async def deliver(brevo, *args, **fields):
    [outcome] = await brevo.deliver([contact(*args, **fields)])
    return outcome


def answers(crm, status, body=None, method=None, **headers):
    """The next request, or the next with this method, gets this answer, and takes no effect."""
    crm.next_faults.append(Fault(lambda call: method in (None, call.method), answer=Answer(status, body, headers)))


def asked(crm):
    return [(request.method, request.path, request.status) for request in crm.requests]


def bodies(crm):
    return [request.body for request in crm.requests]


# New and known contacts.


async def test_a_new_contact_is_delivered_with_the_id_it_was_given(crm, brevo):
    assert await deliver(brevo, FIRSTNAME="Ada") == Outcome.delivered("1")
    assert asked(crm) == [("POST", "/v3/contacts", 201)]
    assert (crm.contacts[1].email, crm.contacts[1].attributes) == ("ada@example.com", {"FIRSTNAME": "Ada"})


async def test_a_contact_that_is_there_already_is_updated_and_its_id_looked_up(crm, brevo):
    await deliver(brevo, FIRSTNAME="Ada", LASTNAME="Byron")
    crm.requests.clear()
    assert await deliver(brevo, LASTNAME="Lovelace") == Outcome.delivered("1")
    assert asked(crm) == [("POST", "/v3/contacts", 204), ("GET", "/v3/contacts/ada@example.com", 200)]
    assert crm.contacts[1].attributes == {"FIRSTNAME": "Ada", "LASTNAME": "Lovelace"}
    assert len(crm.contacts) == 1


@pytest.mark.parametrize("email", ["o'brien+crm@example.com", "a/b@example.com", "50%25@example.com", "?q#f&g=h@example.com"])
async def test_an_address_with_letters_that_mean_something_in_a_url_is_looked_up_as_it_is(crm, brevo, email):
    await deliver(brevo, "someone@example.com")
    assert await deliver(brevo, email) == Outcome.delivered("2")
    assert await deliver(brevo, email) == Outcome.delivered("2")
    assert asked(crm)[-1] == ("GET", f"/v3/contacts/{email}", 200)


async def test_a_slash_in_an_address_is_none_of_the_path(prepared, alone):
    prepared.answer(NEW, 204)
    prepared.answer(("GET", "/v3/contacts/a%2Fb%2Bc@example.com?identifierType=email_id"), 200)
    await deliver(alone, "a/b+c@example.com")


async def test_the_spelling_of_an_address_makes_no_second_contact(crm, brevo):
    assert await deliver(brevo, "ada@example.com") == Outcome.delivered("1")
    assert await deliver(brevo, "  ADA@Example.com\t") == Outcome.delivered("1")
    assert len(crm.contacts) == 1


async def test_a_contact_known_by_its_id_keeps_it_when_its_address_changes(crm, brevo):
    await deliver(brevo, "ada@example.com", FIRSTNAME="Ada")
    assert await deliver(brevo, "lovelace@example.com", "1", LASTNAME="Lovelace") == Outcome.delivered("1")
    assert asked(crm)[1:] == [("GET", "/v3/contacts/1", 200), ("PUT", "/v3/contacts/1", 204)]
    assert len(crm.contacts) == 1
    assert crm.contacts[1].email == "lovelace@example.com"
    assert crm.contacts[1].attributes == {"FIRSTNAME": "Ada", "LASTNAME": "Lovelace"}


async def test_a_contact_deleted_in_brevo_is_made_anew(crm, brevo):
    assert await deliver(brevo, "ada@example.com", "41", FIRSTNAME="Ada") == Outcome.delivered("1")
    assert asked(crm) == [("GET", "/v3/contacts/41", 404), ("POST", "/v3/contacts", 201)]
    assert crm.contacts[1].attributes == {"FIRSTNAME": "Ada"}


async def test_a_contact_deleted_between_the_look_and_the_update_is_made_anew(crm, brevo):
    await deliver(brevo)
    del crm.requests[:]
    crm.next_faults.append(Fault(lambda call: call.method == "PUT" and not crm.account.delete(crm.contacts[1])))
    assert await deliver(brevo, "ada@example.com", "1", FIRSTNAME="Ada") == Outcome.delivered("2")
    assert [(method, status) for method, _, status in asked(crm)] == [("GET", 200), ("PUT", 404), ("POST", 201)]
    assert crm.contacts[2].attributes == {"FIRSTNAME": "Ada"}


async def test_a_contact_that_brevo_has_merged_into_another_gets_the_id_of_that_one(crm, brevo):
    await deliver(brevo, "ada@example.com")
    there = {"id": 1, "email": "ada@example.com", "emailBlacklisted": False}
    answers(crm, 200, there, method="GET")
    assert await deliver(brevo, "ada@example.com", "41", FIRSTNAME="Ada") == Outcome.delivered("1")
    assert crm.contacts[1].attributes == {"FIRSTNAME": "Ada"}


async def test_a_contact_deleted_in_brevo_and_made_anew_there_is_found_by_its_address(crm, brevo):
    await deliver(brevo, "ada@example.com")
    assert await deliver(brevo, "ada@example.com", "41", FIRSTNAME="Ada") == Outcome.delivered("1")
    assert len(crm.contacts) == 1
    assert crm.contacts[1].attributes == {"FIRSTNAME": "Ada"}


async def test_who_does_not_want_mail_is_not_subscribed_again_by_a_new_address(crm, brevo):
    await deliver(brevo, "ada@example.com")
    crm.contacts[1].is_blocklisted = True
    assert await deliver(brevo, "lovelace@example.com", "1") == Outcome.delivered("1")
    assert (crm.contacts[1].email, crm.contacts[1].is_blocklisted) == ("lovelace@example.com", True)


@pytest.mark.parametrize("email", ["ada@example.com", " ADA@Example.com"])
async def test_an_address_that_did_not_change_is_not_sent_lest_it_subscribes_again(crm, brevo, email):
    await deliver(brevo, "ada@example.com")
    crm.contacts[1].is_blocklisted = True
    assert await deliver(brevo, email, "1", FIRSTNAME="Ada") == Outcome.delivered("1")
    assert bodies(crm)[-1] == {"attributes": {"FIRSTNAME": "Ada"}}
    assert crm.contacts[1].is_blocklisted


@pytest.mark.parametrize("name", ["EMAIL", "Email"])
async def test_an_address_among_the_fields_does_not_subscribe_again_either(crm, brevo, name):
    await deliver(brevo, "ada@example.com", **{name: "ada@example.com"})
    crm.contacts[1].is_blocklisted = True
    for remote_id in (None, "1"):
        await deliver(brevo, "ada@example.com", remote_id, **{name: "ada@example.com", "FIRSTNAME": "Ada"})
    assert crm.contacts[1].is_blocklisted


async def test_a_changed_address_blocklists_nobody(crm, brevo):
    await deliver(brevo, "ada@example.com")
    await deliver(brevo, "lovelace@example.com", "1")
    assert bodies(crm)[-1] == {"attributes": {"EMAIL": "lovelace@example.com"}}
    assert not crm.contacts[1].is_blocklisted


@pytest.mark.parametrize("email", [None, 7, "", ["ada@example.com"]])
async def test_an_address_that_brevo_does_not_tell_is_sent(prepared, alone, email):
    prepared.answer(LOOK, 200, {"id": 1, "email": email})
    prepared.answer(UPDATE, 204)
    assert await deliver(alone, "ada@example.com", "1") == Outcome.delivered("1")
    assert prepared.sent[-1].body == {"attributes": {"EMAIL": "ada@example.com"}}


async def test_of_whom_nothing_but_his_address_is_known_is_only_looked_at(crm, brevo):
    await deliver(brevo, "ada@example.com")
    assert await deliver(brevo, "ada@example.com", "1", FIRSTNAME=" ") == Outcome.delivered("1")
    assert asked(crm)[1:] == [("GET", "/v3/contacts/1", 200)]


async def test_an_empty_id_is_none(crm, brevo):
    assert await deliver(brevo, "ada@example.com", "") == Outcome.delivered("1")
    assert asked(crm) == [("POST", "/v3/contacts", 201)]


async def test_an_update_that_is_answered_with_the_id_is_not_followed_by_a_look(crm, brevo):
    crm.id_after_update = True
    await deliver(brevo)
    assert await deliver(brevo, FIRSTNAME="Ada") == Outcome.delivered("1")
    assert asked(crm) == [("POST", "/v3/contacts", 201), ("POST", "/v3/contacts", 200)]


async def test_names_are_sent_in_capitals_for_brevo_ignores_others_without_a_word(crm, brevo):
    await deliver(brevo, Firstname="Ada", lastname="Lovelace")
    assert crm.contacts[1].attributes == {"FIRSTNAME": "Ada", "LASTNAME": "Lovelace"}


@pytest.mark.parametrize("odd", [".", "..", "../lists", "5?x=1", "%2e%2e", "x/7?", "0"])
async def test_what_is_no_id_of_brevo_is_none_and_leads_nowhere_else(crm, brevo, odd):
    assert await deliver(brevo, "ada@example.com", odd, FIRSTNAME="Ada") == Outcome.delivered("1")
    assert {request.path for request in crm.requests} == {"/v3/contacts"}


@pytest.mark.parametrize("remote_id", [None, "1"])
async def test_the_id_of_ones_own_is_sent_where_brevo_documents_it_and_as_text(crm, brevo, remote_id):
    await deliver(brevo)
    assert await deliver(brevo, "ada@example.com", remote_id, EXT_ID=7) == Outcome.delivered("1")
    [body] = [body for body in bodies(crm)[1:] if body]
    assert body["ext_id"] == "7"
    assert "attributes" not in body
    assert crm.contacts[1].attributes == {"EXT_ID": "7"}


async def test_whoever_is_delivered_is_put_on_the_list_and_taken_off_no_other(crm):
    crm.account.list_ids.add(8)
    async with client(f"{crm.url}/v3", list_id=LIST) as brevo:
        await deliver(brevo, "ada@example.com")
        await deliver(brevo, "bob@example.com")
        crm.contacts[2].list_ids = {8}
        await deliver(brevo, "bob@example.com", "2")
    assert [person.list_ids for person in crm.contacts.values()] == [{LIST}, {LIST, 8}]


LISTLESS = [
    (400, {"code": "invalid_parameter", "message": "listIds/0 is invalid"}),
    (400, {"code": "document_not_found", "message": "The following lists are not there: 9"}),
    (404, {"code": "document_not_found", "message": "List ID does not exist"}),
]


@pytest.mark.parametrize("remote_id", [None, "1"])
@pytest.mark.parametrize("answer", [None, *LISTLESS], ids=str)
async def test_a_list_that_is_not_there_holds_up_the_lane_by_the_name_of_its_setting(crm, brevo, answer, remote_id):
    await deliver(brevo)
    if answer is not None:
        crm.standing_faults.append(Fault(lambda call: call.method in ("POST", "PUT"), answer=Answer(*answer)))
    async with client(f"{crm.url}/v3", list_id=9) as misled:
        with pytest.raises(RefusedError, match=r"^MISCONFIGURED: Brevo has no list 9: check BREVO_LIST_ID \(404: "):
            await deliver(misled, "ada@example.com", remote_id, FIRSTNAME="Ada")
    assert crm.contacts[1].attributes == {}


async def test_a_refusal_that_only_speaks_of_lists_is_the_contacts_own(prepared):
    prepared.answer(NEW, 400, {"code": "invalid_parameter", "message": "LASTNAME is on the list of forbidden words"})
    prepared.answer(LOOK_AT_LIST, 200, {"id": LIST})
    async with client(f"{prepared.base_url}/v3", list_id=LIST) as listing:
        outcome = await deliver(listing)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "REJECTED")


@pytest.mark.parametrize("message", ["Invalid email address", "PRICE_LIST is too long", "Listen to reason", None])
async def test_a_refusal_that_speaks_of_no_list_asks_for_none(prepared, message):
    prepared.answer(NEW, 400, {"code": "invalid_parameter", "message": message})
    async with client(f"{prepared.base_url}/v3", list_id=LIST) as listing:
        assert (await deliver(listing)).code == "REJECTED"


async def test_without_a_list_a_refusal_that_speaks_of_lists_is_the_contacts_own(prepared, alone):
    prepared.answer(NEW, 400, LISTLESS[0][1])
    assert (await deliver(alone)).code == "REJECTED"


async def test_without_a_list_none_is_named(crm, brevo):
    await deliver(brevo, "ada@example.com")
    await deliver(brevo, "ada@example.com", "1", FIRSTNAME="Ada")
    assert [body for body in bodies(crm) if body and "listIds" in body] == []


@pytest.mark.parametrize("remote_id", [None, "1"])
async def test_what_is_empty_is_not_sent_and_stays_as_it_is_there(crm, brevo, remote_id):
    await deliver(brevo, "ada@example.com", FIRSTNAME="Ada", LASTNAME="Lovelace", SMS=PHONE)
    crm.account.attributes |= {"SCORE": "float", "VIP": "boolean"}
    fields = {"FIRSTNAME": None, "LASTNAME": "", "SMS": " \t", "SCORE": 0, "VIP": False}
    assert await deliver(brevo, "ada@example.com", remote_id, **fields) == Outcome.delivered("1")
    assert [body["attributes"] for body in bodies(crm)[1:] if body] == [{"SCORE": 0, "VIP": False}]
    kept = {"FIRSTNAME": "Ada", "LASTNAME": "Lovelace", "SMS": PHONE.lstrip("+")}
    assert crm.contacts[1].attributes == {**kept, "SCORE": 0, "VIP": False}


async def test_the_key_is_in_no_url_and_in_no_body(crm, brevo):
    await brevo.check()
    await deliver(brevo, "ada@example.com")
    await deliver(brevo, "ada@example.com")
    await deliver(brevo, "ada@example.com", "1", FIRSTNAME="Ada")
    assert len(crm.requests) == 6
    assert KEY not in str(crm.requests)


# What another contact has, or what is no phone number.


@pytest.mark.parametrize("code", ["duplicate_parameter", "invalid_parameter"])
@pytest.mark.parametrize("name", ["SMS", "WHATSAPP", "LANDLINE_NUMBER"])
@pytest.mark.parametrize("remote_id", [None, "2"])
async def test_a_phone_number_that_another_contact_has_is_left_out_under_either_code(crm, brevo, code, name, remote_id):
    crm.account.duplicate_code = code
    await deliver(brevo, "ada@example.com", **{name: PHONE})
    await deliver(brevo, "bob@example.com")
    outcome = await deliver(brevo, "bob@example.com", remote_id, FIRSTNAME="Bob", **{name: PHONE})
    assert (outcome.verdict, outcome.code, outcome.remote_id) == (Verdict.DELIVERED, "FIELD_NOT_SENT", "2")
    assert outcome.reason.startswith(
        f"{name}: it was left out, because Brevo said: {code} Unable to update contact, {name} is already"
    )
    assert crm.contacts[2].attributes == {"FIRSTNAME": "Bob"}
    assert crm.contacts[1].attributes == {name: PHONE.lstrip("+")}


async def test_only_the_number_that_another_contact_has_is_left_out(crm, brevo):
    await deliver(brevo, "ada@example.com", SMS=PHONE)
    outcome = await deliver(brevo, "bob@example.com", SMS=PHONE, WHATSAPP=OTHER_PHONE)
    assert (outcome.code, outcome.remote_id) == ("FIELD_NOT_SENT", "2")
    assert crm.contacts[2].attributes == {"WHATSAPP": OTHER_PHONE.lstrip("+")}


@pytest.mark.parametrize("remote_id", [None, "1"])
async def test_what_is_no_phone_number_is_left_out(crm, brevo, remote_id):
    await deliver(brevo, "ada@example.com", SMS=PHONE)
    outcome = await deliver(brevo, "ada@example.com", remote_id, FIRSTNAME="Ada", SMS="see e-mail")
    assert (outcome.verdict, outcome.code, outcome.remote_id) == (Verdict.DELIVERED, "FIELD_NOT_SENT", "1")
    assert outcome.reason == "SMS: it was left out, because Brevo said: invalid_parameter Invalid phone number"
    assert crm.contacts[1].attributes == {"FIRSTNAME": "Ada", "SMS": PHONE.lstrip("+")}


@pytest.mark.parametrize(
    ("number", "stored"),
    [
        ("+33 6 39 98 00 01", "33639980001"),
        ("0033 639-980-001", "33639980001"),
        ("+44 (0)7771 234567", "447771234567"),
        ("+1 (206) 123-4567", "12061234567"),
        ("06 39 98 00 01", None),  # of which country?
        ("639 98 00 01", None),
        ("+33 6 39 NO", None),
    ],
)
async def test_signs_in_a_number_with_its_country_code_are_left_out(crm, brevo, number, stored):
    outcome = await deliver(brevo, SMS=number, whatsapp=number)
    assert crm.contacts[1].attributes == ({} if stored is None else {"SMS": stored, "WHATSAPP": stored})
    assert (outcome.code is None) == (stored is not None)


async def test_a_contact_refused_without_its_number_too_is_rejected_for_that_reason(prepared, alone):
    prepared.answer(NEW, 400, {"code": "duplicate_parameter", "message": "x", "metadata": {"duplicate_identifiers": ["SMS"]}})
    prepared.answer(NEW, 400, {"code": "invalid_parameter", "message": "Invalid something"})
    outcome = await deliver(alone, "bob@example.com", SMS=PHONE)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "REJECTED")
    assert "Invalid something" in outcome.reason


@pytest.mark.parametrize("code", ["duplicate_parameter", "invalid_parameter"])
async def test_an_address_that_another_contact_has_is_rejected_by_name(crm, brevo, code):
    crm.account.duplicate_code = code
    await deliver(brevo, "ada@example.com")
    await deliver(brevo, "bob@example.com", FIRSTNAME="Bob")
    outcome = await deliver(brevo, "ada@example.com", "2", FIRSTNAME="Robert")
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "DUPLICATE")
    assert outcome.reason.startswith("another contact in Brevo has the same email (400: ")
    assert (crm.contacts[2].email, crm.contacts[2].attributes) == ("bob@example.com", {"FIRSTNAME": "Bob"})
    assert asked(crm)[2:] == [("GET", "/v3/contacts/2", 200), ("PUT", "/v3/contacts/2", 400)]


async def test_an_address_and_a_number_that_another_contact_has_are_not_half_sent(crm, brevo):
    await deliver(brevo, "ada@example.com", SMS=PHONE)
    await deliver(brevo, "bob@example.com")
    outcome = await deliver(brevo, "ada@example.com", "2", SMS=PHONE)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "DUPLICATE")
    assert "SMS, email" in outcome.reason
    assert crm.contacts[2].email == "bob@example.com"


async def test_an_ext_id_that_another_contact_has_is_rejected_by_name(brevo):
    await deliver(brevo, "ada@example.com", EXT_ID="7")
    outcome = await deliver(brevo, "bob@example.com", EXT_ID="7")
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "DUPLICATE")
    assert "EXT_ID" in outcome.reason


@pytest.mark.parametrize("code", ["duplicate_parameter", "invalid_parameter"])
@pytest.mark.parametrize(("remote_id", "subject"), [(None, "ada"), ("1", "ada"), (None, "new")])
async def test_who_matches_several_contacts_is_none_of_them_and_all_fields_are_named(crm, brevo, code, remote_id, subject):
    crm.account.duplicate_code = code
    await deliver(brevo, "ada@example.com", FIRSTNAME="Ada")
    await deliver(brevo, "bob@example.com", EXT_ID="7")
    await deliver(brevo, "cy@example.com", SMS=PHONE)
    before = [(there.email, dict(there.attributes)) for there in crm.contacts.values()]
    outcome = await deliver(brevo, f"{subject}@example.com", remote_id, FIRSTNAME="Eve", EXT_ID="7", SMS=PHONE)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "DUPLICATE")
    assert outcome.reason.startswith("another contact in Brevo has the same EXT_ID, SMS (400: ")
    assert [(there.email, there.attributes) for there in crm.contacts.values()] == before


@pytest.mark.parametrize("code", ["duplicate_parameter", "invalid_parameter"])
async def test_without_metadata_the_sentence_says_which_number_another_contact_has(crm, brevo, code):
    answers(crm, 400, {"code": code, "message": "Unable to create contact, SMS is already associated with another Contact"})
    outcome = await deliver(brevo, FIRSTNAME="Ada", SMS=PHONE, WHATSAPP=OTHER_PHONE)
    assert (outcome.verdict, outcome.code) == (Verdict.DELIVERED, "FIELD_NOT_SENT")
    assert crm.contacts[1].attributes == {"FIRSTNAME": "Ada", "WHATSAPP": OTHER_PHONE.lstrip("+")}


async def test_without_metadata_an_address_that_is_taken_is_rejected_by_name_and_leaves_no_number_out(prepared, alone):
    message = "Unable to update contact, email or SMS are already associated with another Contact"
    prepared.answer(NEW, 400, {"code": "invalid_parameter", "message": message})
    outcome = await deliver(alone, SMS=PHONE)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "DUPLICATE")
    assert outcome.reason.startswith("another contact in Brevo has the same SMS, email (400: ")


async def test_a_duplicate_of_nobody_knows_what_is_a_duplicate(prepared, alone):
    prepared.answer(NEW, 400, {"code": "duplicate_parameter", "message": "Contact already exist"})
    outcome = await deliver(alone)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "DUPLICATE")
    assert outcome.reason.startswith("another contact in Brevo has the same identifier (400: ")


async def test_one_number_of_another_contact_and_one_that_is_none_are_both_left_out(crm, brevo):
    await deliver(brevo, "ada@example.com", SMS=PHONE)
    duplicate = {"code": "invalid_parameter", "message": "SMS is taken", "metadata": {"duplicate_identifiers": ["SMS"]}}
    answers(crm, 400, duplicate)
    outcome = await deliver(brevo, "bob@example.com", FIRSTNAME="Bob", SMS=PHONE, WHATSAPP="none")
    assert (outcome.verdict, outcome.code, outcome.remote_id) == (Verdict.DELIVERED, "FIELD_NOT_SENT", "2")
    assert outcome.reason == (
        "SMS: it was left out, because Brevo said: invalid_parameter SMS is taken; "
        "WHATSAPP: it was left out, because Brevo said: invalid_parameter Invalid phone number"
    )
    assert crm.contacts[2].attributes == {"FIRSTNAME": "Bob"}


async def test_a_number_refused_though_it_was_left_out_is_not_left_out_for_ever(prepared, alone):
    taken = {"message": "x", "metadata": {"duplicate_identifiers": ["SMS"]}}
    prepared.answer(NEW, 400, taken)
    prepared.answer(NEW, 400, taken)
    assert (await deliver(alone, SMS=PHONE)).code == "DUPLICATE"


@pytest.mark.parametrize(
    "metadata",
    [None, [], "SMS", {}, {"duplicate_identifiers": None}, {"duplicate_identifiers": "SMS"}, {"duplicate_identifiers": [[], 5]}],
)
async def test_a_refusal_with_odd_metadata_is_a_refusal(prepared, alone, metadata):
    prepared.answer(NEW, 400, {"code": "invalid_parameter", "message": "No", "metadata": metadata})
    outcome = await deliver(alone, SMS=PHONE)
    assert (outcome.verdict, outcome.code, outcome.reason) == (
        Verdict.REJECTED,
        "REJECTED",
        "Brevo refused the contact (400: invalid_parameter No)",
    )


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 406, 413, 421, 425, 451])
@pytest.mark.parametrize("body", [None, b"<html><h1>Not you, Ada</h1></html>", {"message": "Forbidden"}, {"code": 7}])
@pytest.mark.parametrize("remote_id", [None, "1"])
async def test_a_refusal_in_words_that_are_not_brevos_is_by_status_alone(prepared, alone, status, body, remote_id):
    if status == 425 and body is None:
        pytest.skip("Brevo's own, of which nothing is documented but the status")
    prepared.answer(LOOK if remote_id else NEW, status, body)
    with pytest.raises(StatusRefusedError, match=rf"{status}.*check BREVO_BASE_URL") as caught:
        await deliver(alone, "ada@example.com", remote_id, FIRSTNAME="Ada")
    assert "html" not in caught.value.reason
    assert caught.value.said.startswith(f"{status}: ")


@pytest.mark.parametrize("remote_id", [None, "1"])
@pytest.mark.parametrize("status", [400, 425])
async def test_a_contact_brevo_is_still_at_work_on_is_tried_again(prepared, alone, status, remote_id):
    if remote_id:
        prepared.answer(LOOK, 200, {"id": 1, "email": "ada@example.com"})
    work = {"code": "account_in_process", "message": "Account is in process"}
    prepared.answer(UPDATE if remote_id else NEW, status, work)
    outcome = await deliver(alone, "ada@example.com", remote_id, FIRSTNAME="Ada")
    assert (outcome.verdict, outcome.code) == (Verdict.FAILED, "TOO_EARLY")
    assert f"({status}: account_in_process Account is in process)" in outcome.reason


async def test_a_425_without_a_word_is_tried_again(prepared, alone):
    prepared.answer(NEW, 425)
    assert (await deliver(alone)).verdict is Verdict.FAILED


async def test_a_refusal_names_the_request_for_brevos_support(prepared, alone):
    prepared.answer(NEW, 400, {"code": "invalid_parameter", "message": "No"}, **{"CF-Ray": "94eb80da6ee43d0a-CDG"})
    reason = "Brevo refused the contact (400, request 94eb80da6ee43d0a-CDG: invalid_parameter No)"
    assert await deliver(alone) == Outcome.rejected("REJECTED", reason)


# What says nothing about the contact.


async def test_a_wrong_key_is_refused_for_everybody(crm):
    async with client(f"{crm.url}/v3", key="xkeysib-wrong") as stranger:
        with pytest.raises(RefusedError, match=r"^REFUSED: .*401: Key not found"):
            await deliver(stranger)
    assert crm.contacts == {}


@pytest.mark.parametrize("remote_id", [None, "1"])
async def test_a_good_key_from_an_unknown_address_is_told_apart_with_what_to_do(crm, brevo, remote_id):
    crm.unknown_ip = True
    with pytest.raises(RefusedError, match=r"^IP_REFUSED: .*authorised IPs.* \(401: .*unrecognised IP address 127\.0\.0\.1"):
        await deliver(brevo, "ada@example.com", remote_id)
    with pytest.raises(RefusedError, match=r"^IP_REFUSED: "):
        await brevo.check()
    assert crm.contacts == {}


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "message",
    ["Unrecognized IP address 1.2.3.4", "see https://app.brevo.com/security/authorised_ips", "not in your Authorized IPs"],
)
async def test_an_unknown_address_is_known_by_either_half_of_what_brevo_says(prepared, alone, status, message):
    prepared.answer(NEW, status, {"code": "unauthorized", "message": message})
    with pytest.raises(RefusedError, match=r"^IP_REFUSED: "):
        await deliver(alone)


@pytest.mark.parametrize("message", ["Key not found", "API Key is not enabled", "authentication not found in headers", None])
async def test_no_other_401_is_taken_for_an_unknown_address(prepared, alone, message):
    prepared.answer(NEW, 401, {"code": "unauthorized", "message": message})
    with pytest.raises(RefusedError, match=r"^REFUSED: "):
        await deliver(alone, LASTNAME="Lipp")


async def test_the_error_of_an_unknown_address_quotes_no_person(prepared, alone):
    prepared.answer(NEW, 401, {"message": "unrecognised IP address for Ada ada@example.com"})
    with pytest.raises(RefusedError) as caught:
        await deliver(alone, FIRSTNAME="Ada")
    assert "ada" not in str(caught.value).lower()


@pytest.mark.parametrize(
    ("status", "code"), [(402, "not_enough_credits"), (403, "permission_denied"), (403, "account_under_validation")]
)
async def test_an_account_that_may_not_is_refused_as_a_whole(prepared, alone, status, code):
    prepared.answer(NEW, status, {"code": code, "message": f"because of {code}"})
    with pytest.raises(RefusedError, match=f"{status}: because of {code}"):
        await deliver(alone)


@pytest.mark.parametrize("remote_id", [None, "1"])
async def test_a_wrong_base_url_is_refused_by_the_name_of_its_setting(crm, remote_id):
    async with client(f"{crm.url}/v2") as brevo:
        with pytest.raises(RefusedError, match=r"NOT_FOUND: .*404.* check BREVO_BASE_URL"):
            await deliver(brevo, "ada@example.com", remote_id)


@pytest.mark.parametrize("status", [404, 405, 406])
async def test_what_only_a_wrong_address_answers_quotes_no_person(prepared, alone, status):
    prepared.answer(NEW, status, {"code": "x", "message": "Cannot POST Ada ada@example.com"})
    with pytest.raises(RefusedError, match="BREVO_BASE_URL") as caught:
        await deliver(alone, FIRSTNAME="Ada")
    assert "ada" not in str(caught.value).lower()


async def test_too_many_requests_pause_as_long_as_brevo_says():
    now_s = 1000.0
    limits = NO_LIMITS | {"contacts_per_hour": 1}
    async with BrevoSandbox(key=KEY, clock=lambda: now_s, **limits) as crm, client(f"{crm.url}/v3") as brevo:
        await deliver(brevo, "ada@example.com")
        now_s += 3000.0
        with pytest.raises(ThrottledError) as caught:
            await deliver(brevo, "bob@example.com")
        assert (caught.value.code, caught.value.pause_s) == ("RATE_LIMITED", 600.0)
        assert len(crm.contacts) == 1


async def test_a_429_of_brevo_says_when_in_seconds_and_nothing_was_done(crm, brevo):
    crm.next_faults.append(Fault(answer=crm.throttled()))
    with pytest.raises(ThrottledError) as caught:
        await deliver(brevo)
    assert (caught.value.code, caught.value.pause_s) == ("RATE_LIMITED", 1.0)
    assert crm.contacts == {}


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 521, 524])
async def test_a_failing_brevo_is_an_outage(prepared, alone, status):
    prepared.answer(NEW, status, b"<html>Bad gateway</html>")
    with pytest.raises(OutageError, match=rf"CRM_ERROR: the CRM failed \({status}: "):
        await deliver(alone)


async def test_a_dropped_connection_is_an_outage(crm, brevo):
    crm.next_faults.append(Fault(applies=True, drop=True))
    with pytest.raises(OutageError, match="BROKEN_ANSWER"):
        await deliver(brevo)


async def test_a_brevo_that_does_not_answer_is_an_outage_and_sending_again_makes_no_second_contact(crm):
    hold = Hold()
    crm.next_faults.append(Fault(applies=True, hold=hold))
    async with client(f"{crm.url}/v3", timeout_s=0.1) as brevo:
        with pytest.raises(OutageError, match="TIMEOUT"):
            await deliver(brevo)
    assert hold.reached.is_set()
    async with client(f"{crm.url}/v3") as brevo:
        assert await deliver(brevo) == Outcome.delivered("1")
    assert len(crm.contacts) == 1


ODD_BODIES = [
    None,
    b"<html>Please log in</html>",
    b'{"id": NaN}',
    b'{"id": 7',
    b"[" * 100_000,
    [],
    [{"id": 7}],
    "7",
    7,
    {},
    {"id": None},
    {"id": ""},
    {"id": 0},
    {"id": -7},
    {"id": 7.5},
    {"id": True},
    {"id": [7]},
    b'{"id":' + b"[" * 900 + b"]" * 900 + b"}",
    {"id": "seven"},
    {"id": "7" * 100},
    {"contact": {"id": 7}},
]


@pytest.mark.parametrize("body", ODD_BODIES, ids=lambda body: str(body)[:20])
@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("remote_id", [None, "1"])
async def test_a_success_that_names_no_contact_is_none(prepared, alone, body, status, remote_id):
    prepared.answer(LOOK if remote_id else NEW, status, body)
    with pytest.raises(OutageError, match="BROKEN_ANSWER"):
        await deliver(alone, "ada@example.com", remote_id)


@pytest.mark.parametrize("status", [202, 203, 205, 206, 207])
async def test_a_success_that_brevo_does_not_document_is_none(prepared, alone, status):
    prepared.answer(NEW, status, None if status == 205 else {"id": 7, "message": "Hello Ada"})
    with pytest.raises(OutageError, match=f"BROKEN_ANSWER: .*{status}") as caught:
        await deliver(alone, FIRSTNAME="Ada")
    assert "Ada" not in str(caught.value)


@pytest.mark.parametrize("remote_id", [7, "7"])
@pytest.mark.parametrize("status", [200, 201])
async def test_an_id_counts_as_a_number_and_as_a_text(prepared, alone, status, remote_id):
    prepared.answer(NEW, status, {"id": remote_id})
    assert await deliver(alone) == Outcome.delivered("7")


# Looking up the id.


LOOKUPS = [
    Answer(401, {"code": "unauthorized", "message": "Key not found"}),
    Answer(404, {"code": "document_not_found", "message": "Contact does not exist"}),
    Answer(429, None, {"x-sib-ratelimit-reset": "60"}),
    Answer(500),
    Answer(302, None, {"Location": "/elsewhere"}),
    Answer(400, {"id": 7}),
    *(Answer(200, body) for body in ODD_BODIES),
]


@pytest.mark.parametrize("answer", LOOKUPS, ids=lambda answer: f"{answer.status} {str(answer.body)[:20]}")
async def test_a_lookup_that_fails_does_not_undo_the_delivery(prepared, alone, answer):
    prepared.answer(NEW, 204)
    prepared.answer(LOOK_BY_EMAIL, answer.status, answer.body, **answer.headers)
    assert await deliver(alone, FIRSTNAME="Ada") == Outcome.delivered(None)
    assert prepared.sent[0].body["attributes"] == {"FIRSTNAME": "Ada"}


async def test_a_lookup_that_no_answer_comes_to_does_not_undo_the_delivery(crm, brevo):
    await deliver(brevo)
    crm.standing_faults.append(Fault(lambda call: call.method == "GET", drop=True))
    assert await deliver(brevo, FIRSTNAME="Ada") == Outcome.delivered(None)
    assert crm.contacts[1].attributes == {"FIRSTNAME": "Ada"}


async def test_a_lookup_that_gets_no_slot_does_not_undo_the_delivery(crm, brevo):
    class DatabaseThatGoesAway:
        slots = 1

        async def slot(self):
            self.slots -= 1
            if self.slots < 0:
                raise HeldBackError("no request could be started: the database cannot be reached")

        async def correct(self, remaining):
            """It does nothing."""

    await deliver(brevo)
    async with client(f"{crm.url}/v3", limiter=DatabaseThatGoesAway()) as hurried:
        assert await deliver(hurried, FIRSTNAME="Ada") == Outcome.delivered(None)
    assert crm.contacts[1].attributes == {"FIRSTNAME": "Ada"}


# The check of the credentials.


async def test_the_check_accepts_a_good_key_and_changes_nothing(crm, brevo):
    assert await brevo.check() == "key accepted"
    await deliver(brevo)
    assert await brevo.check() == "key accepted"
    assert len(crm.contacts) == 1


async def test_nothing_we_do_costs_any_of_the_100_requests_an_hour():
    limits = {"key": KEY, "list_ids": {LIST}, "contacts_per_second": 100}
    async with BrevoSandbox(**limits) as crm, client(f"{crm.url}/v3", list_id=LIST) as brevo:
        await brevo.check()
        await deliver(brevo, "ada@example.com", SMS=PHONE)
        await deliver(brevo, "ada@example.com", "1", SMS=PHONE)
        await deliver(brevo, "bob@example.com", SMS=PHONE)
        await deliver(brevo, "bob@example.com", "77", SMS="none")
        async with client(f"{crm.url}/v3", list_id=9) as misled:
            for ask in (misled.check, lambda: deliver(misled)):
                with pytest.raises(RefusedError):
                    await ask()
        assert [window.used for window in crm.others_limit.windows] == [0]
        assert [window.used for window in crm.contacts_limit.windows] == [len(crm.requests)] * 2


async def test_the_check_looks_for_the_list(crm):
    async with client(f"{crm.url}/v3", list_id=LIST) as brevo:
        assert await brevo.check() == f"key accepted, list {LIST} found"
    async with client(f"{crm.url}/v3", list_id=9) as brevo:
        with pytest.raises(
            RefusedError, match=r"^MISCONFIGURED: Brevo has no list 9: check BREVO_LIST_ID \(404: List ID does not"
        ):
            await brevo.check()


@pytest.mark.parametrize(
    ("status", "body"), [(204, None), (200, None), (200, b"<html>"), (200, {"id": 8}), (200, [LIST]), (405, {"id": LIST})]
)
async def test_the_check_does_not_take_something_else_for_the_list(prepared, status, body):
    prepared.answer(FIRST_PAGE, 200, {"contacts": []})
    prepared.answer(LOOK_AT_LIST, status, body)
    async with client(f"{prepared.base_url}/v3", list_id=LIST) as listing:
        with pytest.raises(RefusedError, match=f"NOT_FOUND: .*{status}.* check BREVO_BASE_URL"):
            await listing.check()


async def test_the_check_refuses_a_wrong_key(crm):
    async with client(f"{crm.url}/v3", key="xkeysib-wrong") as brevo:
        with pytest.raises(RefusedError, match="Key not found"):
            await brevo.check()


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, None), (204, None), (200, None), (200, b"<html>Brevo: grow your business</html>"), (200, []), (200, {"ok": True})],
)
async def test_the_check_does_not_take_something_else_for_brevo(prepared, alone, status, body):
    prepared.answer(FIRST_PAGE, status, body)
    with pytest.raises(RefusedError, match=f"NOT_FOUND: .*{status}.* check BREVO_BASE_URL"):
        await alone.check()


# The account, as it is configured.


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """Sets one, in an environment without any of Brevo's."""
    monkeypatch.chdir(tmp_path)  # where no .env is
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    for name in [name for name in os.environ if name.upper().startswith("BREVO_")]:
        monkeypatch.delenv(name)
    return monkeypatch.setenv


def test_without_a_key_there_is_no_account(settings):
    settings("BREVO_LIST_ID", "7")
    assert account() is None


async def test_an_account_speaks_to_its_url_with_its_key_and_its_list(crm, settings):
    settings("BREVO_API_KEY", KEY)
    settings("BREVO_BASE_URL", f"{crm.url}/v3/")
    settings("BREVO_LIST_ID", str(LIST))
    settings("BREVO_LIMITS", "none")
    configured = account()
    async with configured.open(UNLIMITED) as brevo:
        assert await deliver(brevo) == Outcome.delivered("1")
    assert crm.contacts[1].list_ids == {LIST}
    assert dict(configured.default_fields) == {"FIRSTNAME": "first_name", "LASTNAME": "last_name", "SMS": "phone"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("BREVO_BASE_URL", "http://api.brevo.com/v3"), ("BREVO_BASE_URL", "api.brevo.com"), ("BREVO_LIST_ID", "newsletter")],
)
def test_a_wrong_setting_is_named(settings, name, value):
    settings("BREVO_API_KEY", KEY)
    settings(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}: ") as caught:
        account()
    assert KEY not in str(caught.value)


# Everybody.


async def test_of_300_lifelike_people_each_becomes_what_he_should(crm, brevo):
    crowd = list(people(300, seed=2026))
    assert {person.kind for person in crowd} == set(SHARES)
    ids = {}
    async with asyncio.timeout(60):
        for person in crowd:
            stopped = check_email(person.email)
            assert (stopped is not None) == (person.kind in ("invalid_email", "no_email")), person
            if stopped is not None:
                continue
            fields = {"FIRSTNAME": person.first_name, "LASTNAME": person.last_name, "SMS": person.phone}
            outcome = await deliver(brevo, person.email, **fields)
            left_out = person.kind in ("shared_phone", "bad_phone")
            assert outcome.verdict is Verdict.DELIVERED, person
            assert outcome.code == ("FIELD_NOT_SENT" if left_out else None), person
            address = person.email.strip().lower()
            assert (address in ids) == (person.kind == "duplicate_email"), person
            assert outcome.remote_id == ids.setdefault(address, outcome.remote_id), person
            there = crm.contacts[int(outcome.remote_id)].attributes
            assert (there["FIRSTNAME"], there["LASTNAME"]) == (person.first_name, person.last_name)
            assert there.get("SMS") == (None if left_out or not person.phone else person.phone.lstrip("+")), person
    assert {str(there.id): there.email for there in crm.contacts.values()} == {number: email for email, number in ids.items()}


SCRIPTS = ("ada@straße.de", "ada@bücher.example", "ada@उदाहरण.example", "ada@xn--bcher-kva.example", "ada@пример.рф")


@pytest.mark.parametrize("address", SCRIPTS)
async def test_an_address_with_a_domain_in_any_script_is_sent_as_it_is_and_found_again(crm, brevo, address):
    first = await deliver(brevo, address)
    assert first.verdict is Verdict.DELIVERED
    assert [held.email for held in crm.contacts.values()] == [address]
    assert (await deliver(brevo, address.upper().replace("SS", "ß"))).remote_id == first.remote_id
    assert (await deliver(brevo, address, first.remote_id)).remote_id == first.remote_id
    assert await brevo.find([address]) == [first.remote_id]
    assert len(crm.contacts) == 1


@pytest.mark.parametrize(
    ("url", "has_link"), [("https://api.brevo.com/v3", True), ("http://127.0.0.1:8025/v3", False), ("http://localhost/v3", False)]
)
def test_a_record_of_a_sandbox_has_no_page_at_brevo(monkeypatch, url, has_link):
    monkeypatch.setenv("BREVO_API_KEY", "xkeysib-key")
    monkeypatch.setenv("BREVO_BASE_URL", url)
    at_brevo = account()
    assert at_brevo is not None
    assert (at_brevo.record_url is not None) == has_link
