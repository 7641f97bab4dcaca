"""Our HubSpot client against the fake HubSpot, and against prepared answers: the outcomes of a contact."""

import json
import warnings
from contextlib import asynccontextmanager

import pytest

from crm_sync.core.codes import Code
from crm_sync.core.identity import check_email
from crm_sync.core.mode import Mode
from crm_sync.core.outcome import Contact, Outcome, Verdict
from crm_sync.crm.http import Http
from crm_sync.crm.hubspot import client as module
from crm_sync.crm.hubspot.client import HubSpot
from crm_sync.crm.hubspot.refusals import refusal
from crm_sync.crm.limiter import UNLIMITED
from crm_sync.errors import (
    BatchRefusedError,
    ConfigurationError,
    HeldBackError,
    LaneError,
    OutageError,
    RefusedError,
    ThrottledError,
)
from crm_sync.sandbox.hubspot.sandbox import READ_SCOPE, WRITE_SCOPE, HubSpotSandbox
from crm_sync.sandbox.people import people
from crm_sync.sandbox.server import Answer, Fault

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK's own, while it is loaded
    from hubspot.crm import contacts as sdk

TOKEN = "pat-eu1-0123456789abcdef"
PATH = "/crm/v3/objects/contacts"
UPSERT, UPDATE, READ = (("POST", f"{PATH}/batch/{operation}") for operation in ("upsert", "update", "read"))
FIRST_PAGE = ("GET", f"{PATH}?limit=1")  # what the check asks for
NO_LIMITS = {"requests_per_ten_seconds": None, "requests_per_day": None}
ANA, BEN, CLEO, DAN = "ana@example.com", "ben@example.com", "cleo@example.com", "dan@example.com"


@pytest.fixture
async def crm():
    async with HubSpotSandbox(token=TOKEN, **NO_LIMITS) as sandbox:
        yield sandbox


@pytest.fixture
async def hubspot(crm):
    async with client(crm.url) as opened:
        yield opened


@pytest.fixture
async def alone(prepared):
    """Only the client: it is answered as the test says."""
    async with client(prepared.base_url) as opened:
        yield opened


@asynccontextmanager
async def client(base_url, token=TOKEN, limiter=UNLIMITED, **options):
    headers = {"Authorization": f"Bearer {token}"}
    async with Http(base_url, headers, limiter=limiter) as http:
        yield HubSpot(http, **options)


def contact(email=ANA, remote_id=None, **fields):
    return Contact(id=1, token=1, attempts=1, remote_id=remote_id, email=email, flipped_at=None, fields=fields)


async def deliver(hubspot, *args, **fields):
    [entry] = await hubspot.deliver([contact(*args, **fields)])
    return entry


async def known(hubspot, *emails):
    """Their ids, created now."""
    return [outcome.remote_id for outcome in await hubspot.deliver([contact(email) for email in emails])]


def writing(remote_id):
    return UPDATE if remote_id else UPSERT


def answers(crm, status, body=None, operation="", **headers):
    """The next request, or the next for this operation, gets this answer, and takes no effect."""
    fault = Fault(lambda call: call.path.endswith(operation), answer=Answer(status, body, headers))
    crm.next_faults.append(fault)


def asked(crm):
    return [(request.path.removeprefix(PATH), request.status) for request in crm.requests]


def primary(crm):
    return {contact.id: contact.properties["email"] for contact in crm.contacts.values()}


def error(message="No", category="VALIDATION_ERROR", **context):
    return {"status": "error", "category": category, "message": message, "context": context}


def invalid(*problems):
    """As HubSpot writes them. problems: code, property, message."""
    listed = [{"isValid": False, "message": message, "error": code, "name": name} for code, name, message in problems]
    return f"Property values were not valid: {json.dumps(listed)}"


def result(record_id, email, **members):
    return {"id": record_id, "properties": {"email": email}, **members}


# New and known contacts.


async def test_a_new_contact_is_delivered_with_the_id_it_was_given(crm, hubspot):
    assert await deliver(hubspot, firstname="Ana") == Outcome.delivered("101")
    assert asked(crm) == [("/batch/upsert", 200)]
    assert crm.contacts["101"].properties == {"email": ANA, "firstname": "Ana"}


async def test_a_contact_that_is_there_already_is_updated(crm, hubspot):
    await deliver(hubspot, firstname="Ana", lastname="Byron")
    assert await deliver(hubspot, "  ANA@Example.com\t", lastname="Ruiz") == Outcome.delivered("101")
    assert crm.contacts["101"].properties == {"email": ANA, "firstname": "Ana", "lastname": "Ruiz"}


async def test_a_hundred_contacts_are_one_request_and_each_gets_its_own_id(crm, hubspot):
    emails = [f"{number}@example.com" for number in range(HubSpot.batch_limit)]
    outcomes = await hubspot.deliver([contact(email) for email in emails])
    assert asked(crm) == [("/batch/upsert", 200)]
    assert {outcome.remote_id: email for outcome, email in zip(outcomes, emails, strict=True)} == primary(crm)


async def test_a_contact_known_by_its_id_keeps_it_when_its_address_changes(crm, hubspot):
    await known(hubspot, ANA)
    assert await deliver(hubspot, "Ana@new.example", "101", firstname="Ana") == Outcome.delivered("101")
    assert asked(crm)[1:] == [("/batch/update", 200)]
    assert primary(crm) == {"101": "ana@new.example"}


async def test_new_and_known_contacts_of_a_batch_are_two_requests_in_which_nobody_is_mixed_up(crm, hubspot):
    ids = await known(hubspot, ANA, BEN, CLEO)
    batch = [
        contact(DAN),
        contact(CLEO, ids[2]),
        contact("eva@example.com"),
        contact(ANA, ids[0]),
        contact("ben@new.example", ids[1]),
    ]
    outcomes = await hubspot.deliver(batch)
    assert asked(crm)[1:] == [("/batch/update", 200), ("/batch/upsert", 200)]
    assert [primary(crm)[outcome.remote_id] for outcome in outcomes] == [each.email for each in batch]


@pytest.mark.parametrize("path", [PATH, "/crm/objects/2026-09/contacts"])
async def test_the_path_of_another_version_of_the_api_is_a_setting(path):
    async with HubSpotSandbox(token=TOKEN, path=path, **NO_LIMITS) as crm, client(crm.url, path=path) as hubspot:
        assert await deliver(hubspot) == Outcome.delivered("101")
        assert await deliver(hubspot, BEN, "101") == Outcome.delivered("101")
        assert (await hubspot.check()).startswith("portal 123, STANDARD; API ")


# Ids that no longer lead to a record.


@pytest.mark.parametrize("echo", [False, True])
async def test_contacts_deleted_in_hubspot_are_made_anew_and_the_others_updated(crm, hubspot, echo):
    crm.batches.echo_traces = echo
    await known(hubspot, ANA, BEN)
    batch = [contact(CLEO, "77"), contact(ANA, "101", firstname="Ana"), contact(DAN, "78"), contact(BEN, "102")]
    outcomes = await hubspot.deliver(batch)
    assert asked(crm)[1:] == [("/batch/update", 207), ("/batch/upsert", 200)]
    assert [primary(crm)[outcome.remote_id] for outcome in outcomes] == [CLEO, ANA, DAN, BEN]
    assert [outcomes[place].remote_id for place in (1, 3)] == ["101", "102"]


@pytest.mark.parametrize("context", [{"ids": ["77"]}, {"ids": [""]}, {}, {"objectWriteTraceId": ["0"]}])
async def test_an_id_that_is_not_there_is_understood_however_hubspot_names_it(crm, hubspot, context):
    await known(hubspot, ANA)
    body = {"results": [result("101", ANA)], "errors": [error("gone", "OBJECT_NOT_FOUND", **context)]}
    answers(crm, 207, body, "/update")
    outcomes = await hubspot.deliver([contact(BEN, "77"), contact(ANA, "101")])
    assert outcomes == [Outcome.delivered("102"), Outcome.delivered("101")]


async def test_several_ids_that_are_not_there_need_no_names(crm, hubspot):
    await known(hubspot, ANA)
    body = {"results": [result("101", ANA), result("78", CLEO)], "errors": [error("gone", "OBJECT_NOT_FOUND", ids=["", "78"])]}
    answers(crm, 207, body, "/update")
    outcomes = await hubspot.deliver([contact(BEN, "77"), contact(ANA, "101"), contact(CLEO, "78"), contact(DAN, "79")])
    assert [primary(crm)[outcome.remote_id] for outcome in outcomes] == [BEN, ANA, CLEO, DAN]
    answers(crm, 207, {"results": [], "errors": [error("gone", "OBJECT_NOT_FOUND", ids=[""])]}, "/update")
    outcomes = await hubspot.deliver([contact(BEN, "87"), contact(ANA, "88")])
    assert [primary(crm)[outcome.remote_id] for outcome in outcomes] == [BEN, ANA]


async def test_a_trace_id_and_a_record_id_that_are_the_same_number_are_not_mixed_up(crm, hubspot):
    body = {"results": [result("1", ANA)], "errors": [error("gone", "OBJECT_NOT_FOUND", ids=["0"])]}
    answers(crm, 207, body, "/update")
    outcomes = await hubspot.deliver([contact(ANA, "1"), contact(BEN, "7")])
    assert outcomes == [Outcome.delivered("1"), Outcome.delivered("101")]


async def test_a_contact_whose_record_was_merged_into_another_is_found_there_by_its_address(crm, hubspot):
    await known(hubspot, ANA, BEN)
    crm.account.merge("102", into="101")
    assert await deliver(hubspot, BEN, "102", firstname="Ben") == Outcome.delivered("101")
    assert asked(crm)[1:] == [("/batch/update", 200), ("/batch/upsert", 200)]
    assert (primary(crm), crm.contacts["101"].properties["firstname"]) == ({"101": ANA}, "Ben")


@pytest.mark.parametrize("status", [400, 404])
async def test_a_batch_refused_because_of_ids_that_are_not_there_comes_again_without_them(crm, hubspot, status):
    await known(hubspot, ANA)
    answers(crm, status, error("gone", "OBJECT_NOT_FOUND", ids=["77"]), "/update")
    gone, there = await hubspot.deliver([contact(BEN, "77"), contact(ANA, "101")])
    assert gone == Outcome.delivered("102")
    assert isinstance(there, BatchRefusedError)
    answers(crm, status, error("gone", "OBJECT_NOT_FOUND"), "/update")
    assert await deliver(hubspot, ANA, "101") == Outcome.delivered("101")


@pytest.mark.parametrize("remote_id", ["", "0", "007", "-7", "abc", "7e3", " 7", "7" * 19, "5f2a9c", "\u0667"])
async def test_what_is_no_id_of_hubspot_is_none(prepared, alone, remote_id):
    prepared.answer(UPSERT, 200, {"results": [result("101", ANA)]})
    assert await deliver(alone, ANA, remote_id) == Outcome.delivered("101")
    assert [item["id"] for item in prepared.sent[0].body["inputs"]] == [ANA]


async def test_contacts_that_share_a_record_id_do_not_take_each_others_address_from_it(crm, hubspot):
    """A record has one primary address: by its id, the last would win it, and the other be created a second time."""
    await known(hubspot, ANA, CLEO)
    batch = [contact(BEN, "101"), contact(ANA, "101", firstname="Ana"), contact(CLEO, "102")]
    assert [outcome.remote_id for outcome in await hubspot.deliver(batch)] == ["103", "101", "102"]
    assert primary(crm) == {"101": ANA, "102": CLEO, "103": BEN}
    assert asked(crm)[1:] == [("/batch/update", 200), ("/batch/upsert", 200)]


# Which contact a result is about.


async def test_an_additional_address_is_answered_under_the_primary_one_and_understood(crm, hubspot):
    await known(hubspot, ANA)
    crm.account.add_email("101", "ana@home.example")
    outcomes = await hubspot.deliver([contact(BEN), contact("ana@home.example", firstname="Ana")])
    assert [outcome.remote_id for outcome in outcomes] == ["102", "101"]
    assert crm.contacts["101"].properties == {"email": ANA, "firstname": "Ana"}
    assert asked(crm)[1:] == [("/batch/upsert", 200)]


async def test_two_addresses_of_one_record_are_both_delivered_with_its_id(crm, hubspot):
    await known(hubspot, ANA)
    crm.account.add_email("101", "ana@home.example")
    assert await hubspot.deliver([contact("ana@home.example"), contact(ANA)]) == [Outcome.delivered("101")] * 2
    assert asked(crm)[1:] == [("/batch/upsert", 200)]


@pytest.mark.parametrize("once", [False, True], ids=["a result each", "a result for each record"])
async def test_several_additional_addresses_are_looked_up_for_which_is_whose(crm, hubspot, once):
    await known(hubspot, ANA, BEN)
    for record_id, email in [("101", "ana@home.example"), ("102", "ben@home.example")]:
        crm.account.add_email(record_id, email)
    if once:
        answers(crm, 200, {"results": [result("102", BEN), result("101", ANA)]}, "/upsert")
    outcomes = await hubspot.deliver([contact(email) for email in ("ana@home.example", BEN, "ben@home.example", ANA)])
    assert [outcome.remote_id for outcome in outcomes] == ["101", "102", "102", "101"]
    assert asked(crm)[1:] == [("/batch/upsert", 200), ("/batch/read", 200)]


async def test_with_trace_ids_in_the_results_nothing_is_looked_up(crm, hubspot):
    await known(hubspot, ANA, BEN)
    crm.batches.echo_traces = True
    for record_id, email in [("101", "ana@home.example"), ("102", "ben@home.example")]:
        crm.account.add_email(record_id, email)
    outcomes = await hubspot.deliver([contact("ben@home.example"), contact("ana@home.example")])
    assert [outcome.remote_id for outcome in outcomes] == ["102", "101"]
    assert asked(crm)[1:] == [("/batch/upsert", 200)]


async def test_whoever_the_answer_leaves_out_is_not_delivered_even_if_hubspot_knows_the_address(crm, hubspot):
    await known(hubspot, ANA, BEN)
    answers(crm, 200, {"results": [result("101", ANA)]}, "/upsert")
    delivered, left_out = await hubspot.deliver([contact(ANA), contact(BEN)])
    assert delivered == Outcome.delivered("101")
    assert (left_out.verdict, left_out.code) == (Verdict.FAILED, Code.NOT_ACCOUNTED)


async def test_ids_are_never_guessed(crm, hubspot):
    answers(crm, 200, {"results": [result("7", "x@example.com"), result("8", "y@example.com")]}, "/upsert")
    outcomes = await hubspot.deliver([contact(ANA), contact(BEN)])
    assert [(outcome.verdict, outcome.code, outcome.remote_id) for outcome in outcomes] == [
        (Verdict.FAILED, Code.NOT_ACCOUNTED, None)
    ] * 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(Answer(503), OutageError), (Answer(429), ThrottledError), (Answer(403, error("x", "MISSING_SCOPES")), RefusedError)],
)
async def test_a_look_up_that_fails_leaves_the_others_delivered_and_says_nothing_about_the_rest(prepared, alone, answer, kind):
    body = {"results": [result("7", ANA), result("8", "x@example.com"), result("9", "y@example.com")]}
    prepared.answer(UPSERT, 200, body)
    prepared.answer(READ, answer.status, answer.body)
    delivered, *others = await alone.deliver([contact(ANA), contact(BEN), contact(CLEO)])
    assert delivered == Outcome.delivered("7")
    assert isinstance(others[0], kind)
    assert others[0] is others[1]


@pytest.mark.parametrize("body", [None, b"<html>Please log in</html>", {}, {"results": {}}])
async def test_an_answer_to_a_look_up_that_is_not_hubspots_does_not_mean_that_nobody_is_there(prepared, body):
    prepared.answer(READ, 200, body)
    async with client(prepared.base_url, mode=Mode.UPDATE) as alone:
        entry = await deliver(alone)
    assert (type(entry), entry.code) == (OutageError, Code.BROKEN_ANSWER)


async def test_of_whom_an_update_says_nothing_is_not_missing_and_comes_again(prepared):
    """As one whose record is merged after the look-up."""
    prepared.answer(READ, 200, {"results": [result("7", ANA), result("8", BEN), result("9", CLEO)]})
    errors = [error("gone", "OBJECT_NOT_FOUND", ids=["8"])]
    prepared.answer(UPDATE, 207, {"results": [result("7", ANA)], "errors": errors})
    async with client(prepared.base_url, mode=Mode.UPDATE) as alone:
        there, gone, merged = await alone.deliver([contact(ANA), contact(BEN), contact(CLEO)])
    assert there == Outcome.delivered("7")
    assert (gone.verdict, gone.code) == (Verdict.REJECTED, Code.NOT_THERE)
    assert (merged.verdict, merged.code) == (Verdict.FAILED, Code.NOT_ACCOUNTED)


@pytest.mark.parametrize("record_id", [101, "101"])
async def test_an_id_counts_as_a_number_and_as_a_text(prepared, alone, record_id):
    prepared.answer(UPSERT, 200, {"results": [result(record_id, ANA)]})
    assert await deliver(alone) == Outcome.delivered("101")


# What is sent.


@pytest.mark.parametrize("remote_id", [None, "101"])
async def test_what_is_empty_is_not_sent_and_stays_as_it_is_there(crm, hubspot, remote_id):
    await deliver(hubspot, firstname="Ana", lastname="Ruiz", city="Leeds", zip="1")
    assert await deliver(hubspot, ANA, remote_id, firstname=None, lastname="", city=" \t", zip=[]) == Outcome.delivered("101")
    assert crm.requests[1].body["inputs"][0]["properties"] == {"email": ANA}
    assert crm.contacts["101"].properties == {"email": ANA, "firstname": "Ana", "lastname": "Ruiz", "city": "Leeds", "zip": "1"}


async def test_what_we_send_is_what_hubspots_own_sdk_would_send(crm, hubspot):
    await hubspot.deliver([contact(ANA, firstname="Ana"), contact(BEN, "77", score="1"), contact(CLEO, "78")])
    answers(crm, 200, {"results": [result("7", "x@example.com"), result("8", "y@example.com")]}, "/upsert")
    await hubspot.deliver([contact(ANA), contact(BEN)])
    models = {
        "/batch/update": "BatchInputSimplePublicObjectBatchInput",
        "/batch/upsert": "BatchInputSimplePublicObjectBatchInputUpsert",
        "/batch/read": "BatchReadInputSimplePublicObjectId",
    }
    configuration = sdk.Configuration()
    configuration.client_side_validation = True
    official = sdk.ApiClient(configuration)
    for request in crm.requests:
        sent = type("Response", (), {"data": json.dumps(request.body)})
        model = official.deserialize(sent, models[request.path.removeprefix(PATH)])
        assert official.sanitize_for_serialization(model) == request.body
        values = [value for item in request.body["inputs"] for value in item.get("properties", {}).values()]
        assert all(type(value) is str for value in values)
        traces = [item["objectWriteTraceId"] for item in request.body["inputs"] if "objectWriteTraceId" in item]
        assert len(set(traces)) == len(traces)
    assert {request.path.removeprefix(PATH) for request in crm.requests} == set(models)


async def test_the_token_is_in_no_url_and_in_no_body(crm, hubspot):
    await hubspot.check()
    await known(hubspot, ANA)
    await deliver(hubspot, ANA, "101")
    assert TOKEN not in str(crm.requests)


async def test_a_crowd_is_delivered_each_with_the_record_of_its_own_address(crm, hubspot):
    crowd = {}
    for person in people(800, seed=7):
        if check_email(person.email) is None:
            crowd.setdefault(person.email.strip().lower(), person)
    batch = [
        contact(person.email, firstname=person.first_name, phone=person.phone, jobtitle=person.job_title)
        for person in crowd.values()
    ]
    for start in range(0, len(batch), HubSpot.batch_limit):
        part = batch[start : start + HubSpot.batch_limit]
        for outcome, each in zip(await hubspot.deliver(part), part, strict=True):
            assert primary(crm)[outcome.remote_id] == each.email.strip().lower()
    assert len(crm.contacts) == len(crowd)


# What is refused of one contact.


async def test_of_a_batch_only_the_contact_that_is_wrong_is_rejected(crm, hubspot):
    outcomes = await hubspot.deliver(
        [contact(ANA), contact("ben@example.c0m"), contact(CLEO, lifecyclestage="friend"), contact(DAN)]
    )
    assert [outcome.verdict for outcome in outcomes] == [
        *(Verdict.DELIVERED, Verdict.REJECTED),
        *(Verdict.REJECTED, Verdict.DELIVERED),
    ]
    _, address, stage, _ = outcomes
    assert address.code == Code.REJECTED, "it was sent: INVALID_EMAIL is what is stopped before"
    assert "(207, request " in address.reason
    assert address.reason.endswith(": email: Email address ben@example.c0m is invalid)")
    assert (stage.code, stage.reason.startswith("HubSpot refused the contact (207, request ")) == (Code.REJECTED, True)
    assert "friend was not one of the allowed options" in stage.reason
    assert asked(crm) == [("/batch/upsert", 207)]


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ({"name": "city", "message": "7 was not a valid long."}, "city: 7 was not a valid long."),
        ({"name": "city", "message": 'the value of "city" is wrong'}, 'the value of "city" is wrong'),
        ({"name": "", "message": "is wrong"}, "is wrong"),
        ({"name": "a\x1b[2Jb\n", "message": "is wrong"}, "a [2Jb: is wrong"),
    ],
)
def test_a_value_that_is_refused_is_told_with_its_property(listed, told):
    message = f"Property values were not valid: {json.dumps([{'isValid': False, 'error': 'INVALID_LONG', **listed}])}"
    said = refusal({"category": "VALIDATION_ERROR", "message": message}, "207", "id", ())
    assert said == Outcome.rejected("REJECTED", f"HubSpot refused the contact (207: {told})")


async def test_an_error_outweighs_a_result(prepared, alone):
    prepared.answer(UPSERT, 207, {"results": [result("7", ANA)], "errors": [error("No", objectWriteTraceId=["0"])]})
    assert (await deliver(alone)).verdict == Verdict.REJECTED


async def test_an_address_that_another_contact_has_is_rejected_with_its_id(crm, hubspot):
    await known(hubspot, ANA, BEN, CLEO)
    theirs = next(record_id for record_id, email in primary(crm).items() if email == ANA)
    own = next(record_id for record_id, email in primary(crm).items() if email == BEN)
    outcome = await deliver(hubspot, ANA, own, firstname="Ben")
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, Code.DUPLICATE)
    assert outcome.reason.startswith(f"another contact in HubSpot, {theirs}, has the same email (207, request ")
    assert crm.contacts[own].properties == {"email": BEN}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (error("Contact already exists. Existing ID: 42", "CONFLICT"), "another contact in HubSpot, 42, has the same email"),
        (error("Contact already exists", "CONFLICT", existingId=["42"]), "another contact in HubSpot, 42, has the same email"),
        (error("Contact already exists", "OBJECT_ALREADY_EXISTS"), "another contact in HubSpot has the same email"),
        (
            error("Cannot set PropertyValueCoordinates{propertyName=member_no, value=9} on 7. 42 already has that value."),
            "another contact in HubSpot, 42, has the same member_no",
        ),
    ],
)
async def test_a_conflict_is_understood_in_each_of_its_shapes(prepared, alone, said, reason):
    said["context"]["objectWriteTraceId"] = ["0"]
    prepared.answer(UPDATE, 207, {"results": [], "errors": [said]})
    assert await deliver(alone, ANA, "101") == Outcome.rejected(Code.DUPLICATE, f"{reason} (207)")


async def test_an_upsert_that_met_another_one_of_the_same_address_is_tried_again(prepared, alone):
    conflict = error("Contact already exists. Existing ID: 42", "CONFLICT", objectWriteTraceId=["0"])
    prepared.answer(UPSERT, 207, {"results": [], "errors": [conflict]})
    outcome = await deliver(alone)
    assert (outcome.verdict, outcome.code) == (Verdict.FAILED, Code.TOO_EARLY)
    assert "42" in outcome.reason


async def test_a_contact_on_which_hubspot_itself_fails_is_tried_again(prepared, alone):
    prepared.answer(UPSERT, 207, {"results": [], "errors": [error("internal error", "INTERNAL_ERROR", objectWriteTraceId=["0"])]})
    outcome = await deliver(alone)
    assert (outcome.verdict, outcome.code) == (Verdict.FAILED, Code.CRM_ERROR)


@pytest.mark.parametrize("remote_id", [None, "101"])
async def test_an_error_that_names_nobody_is_about_the_only_one_left(prepared, alone, remote_id):
    prepared.answer(writing(remote_id), 207, {"results": [result("102", BEN)], "errors": [{"message": "Bad day"}]})
    outcomes = await alone.deliver([contact(ANA, remote_id), contact(BEN, remote_id and "102")])
    assert outcomes == [Outcome.rejected(Code.REJECTED, "HubSpot refused the contact (207: Bad day)"), Outcome.delivered("102")]


@pytest.mark.parametrize("remote_ids", [(None, None, None), ("101", "102", "103")])
async def test_errors_that_name_nobody_send_the_ones_left_again_in_halves(prepared, alone, remote_ids):
    prepared.answer(writing(remote_ids[0]), 207, {"results": [result("102", BEN)], "errors": [{}]})
    batch = [contact(email, remote_id) for email, remote_id in zip((ANA, BEN, CLEO), remote_ids, strict=True)]
    first, delivered, last = await alone.deliver(batch)
    assert delivered == Outcome.delivered("102")
    assert isinstance(first, BatchRefusedError)
    assert (first is last, first.retried) == (True, False)


@pytest.mark.parametrize(
    "said",
    [
        *({}, {"message": None}, {"message": 7}, {"context": None}, {"context": []}, {"context": {"objectWriteTraceId": "0"}}),
        *({"errors": None}, {"errors": [None, 7, {}]}, {"category": 7}, {"context": {"objectWriteTraceId": [None, 0]}}),
        {"message": "Property values were not valid: ["},
        {"message": "Property values were not valid: 7"},
        {"message": "Property values were not valid: " + "[" * 100_000},
    ],
    ids=lambda said: str(said)[:40],
)
async def test_an_error_without_its_members_rejects_the_contact(prepared, alone, said):
    prepared.answer(UPSERT, 207, {"results": [], "errors": [said]})
    outcome = await deliver(alone)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, Code.REJECTED)


async def test_a_lifecycle_stage_that_hubspot_keeps_is_said_with_the_delivery(crm, hubspot):
    await deliver(hubspot, lifecyclestage="customer")
    for remote_id in (None, "101"):
        outcome = await deliver(hubspot, ANA, remote_id, lifecyclestage="lead")
        assert outcome == Outcome.delivered(
            "101", Code.FIELD_NOT_SENT, "lifecyclestage stays customer: HubSpot only moves it forward", {"lifecyclestage"}
        )
    assert await deliver(hubspot, lifecyclestage="evangelist") == Outcome.delivered("101")
    assert await deliver(hubspot, firstname="Ana") == Outcome.delivered("101")


# Faults of the mapping.


async def test_a_property_that_hubspot_does_not_have_marks_no_contact_and_is_named_once_for_all(crm, hubspot):
    await known(hubspot, DAN)
    batch = [contact(ANA, shoesize="38"), contact(BEN), contact(CLEO, shoesize="40"), contact(DAN, "101", hatsize="7")]
    first, delivered, third, fourth = await hubspot.deliver(batch)
    assert delivered.verdict == Verdict.DELIVERED
    assert isinstance(first, RefusedError)
    assert first is third
    assert (first.code, "no property shoesize (207" in first.reason) == (Code.UNKNOWN_FIELD, True)
    assert (fourth.code, "no property hatsize (207" in fourth.reason) == (Code.UNKNOWN_FIELD, True)


async def test_a_property_that_is_read_only_is_the_mappings_fault_too(hubspot):
    entry = await deliver(hubspot, createdate="2026-01-01")
    assert isinstance(entry, RefusedError)
    assert (entry.code, "property createdate is read-only" in entry.reason) == (Code.MISCONFIGURED, True)


@pytest.mark.parametrize(
    "body",
    [
        error(invalid(("PROPERTY_DOESNT_EXIST", "shoesize", "x"), ("INVALID_EMAIL", "email", "y"))),
        {**error("x"), "errors": [{"code": "PROPERTY_DOESNT_EXIST", "context": {"propertyName": ["shoesize"]}}]},
    ],
)
async def test_an_unknown_property_is_named_when_all_are_refused_for_it(prepared, alone, body):
    prepared.answer(UPSERT, 400, body)
    entries = await alone.deliver([contact(ANA), contact(BEN)])
    assert isinstance(entries[0], RefusedError)
    assert (entries[0].code, entries[0].reason) == (
        Code.UNKNOWN_FIELD,
        "HubSpot has no property shoesize (400): create it, or correct the mapping",
    )
    assert entries[0] is entries[1]


# What is refused of a batch as a whole.


@pytest.mark.parametrize(
    ("status", "body", "judgement"),
    [
        (400, error(invalid(("INVALID_EMAIL", "email", f"Email address {ANA} is invalid"))), (Code.REJECTED, False)),
        (400, {"status": "error", "message": "Invalid input JSON on line 3, column 9"}, (Code.REJECTED, False)),
        (400, error("Cannot set PropertyValueCoordinates{} on 7. 42 already has that value."), (Code.DUPLICATE, False)),
        (409, error("Contact already exists", "CONFLICT"), (Code.DUPLICATE, False)),
        (413, error("too large"), (Code.REJECTED, False)),
        (422, error("x"), (Code.REJECTED, False)),
        (423, error("locked", "LOCKED"), (Code.LOCKED, True)),
        (423, None, (Code.LOCKED, True)),
        (200, {"status": "COMPLETE", "results": []}, (Code.NOT_ACCOUNTED, True)),
        (207, {"results": [], "errors": []}, (Code.NOT_ACCOUNTED, True)),
        (200, {"results": [], "errors": None}, (Code.NOT_ACCOUNTED, True)),
    ],
)
async def test_who_is_to_blame_is_found_by_halves_where_all_are_refused(prepared, alone, status, body, judgement):
    prepared.answer(UPSERT, status, body)
    entries = await alone.deliver([contact(ANA, firstname="Ana"), contact(BEN)])
    assert isinstance(entries[0], BatchRefusedError)
    assert entries[0] is entries[1]
    assert (entries[0].code, entries[0].retried) == judgement
    assert ANA not in entries[0].reason


@pytest.mark.parametrize("status", [503, 423, 429, 401])
async def test_one_part_that_fails_takes_nothing_from_the_other(crm, hubspot, status):
    await known(hubspot, ANA)
    batch = [contact(BEN), contact(ANA, "101")]
    answers(crm, status, {"message": "No"}, "/upsert")
    failed, delivered = await hubspot.deliver(batch)
    assert (isinstance(failed, LaneError), delivered) == (True, Outcome.delivered("101"))
    answers(crm, status, {"message": "No"}, "/update")
    delivered, failed = await hubspot.deliver(batch)
    assert (isinstance(failed, LaneError), delivered) == (True, Outcome.delivered("102"))


async def test_a_part_that_gets_no_slot_takes_nothing_from_the_other(crm):
    class DatabaseThatGoesAway:
        slots = 1

        async def slot(self):
            self.slots -= 1
            if self.slots < 0:
                raise HeldBackError("no request could be started: the database cannot be reached")

        async def correct(self, remaining):
            """It does nothing."""

    async with client(crm.url) as hubspot:
        await known(hubspot, ANA)
    async with client(crm.url, limiter=DatabaseThatGoesAway()) as hubspot:
        held_back, delivered = await hubspot.deliver([contact(BEN), contact(ANA, "101")])
    assert (type(held_back), delivered) == (HeldBackError, Outcome.delivered("101"))


# What says nothing about the contacts.


async def test_a_wrong_token_is_refused_as_a_whole(crm):
    async with client(crm.url, token="pat-wrong") as stranger:
        entry = await deliver(stranger)
    assert isinstance(entry, RefusedError)
    assert entry.code == Code.REFUSED
    assert "401, request " in entry.reason


@pytest.mark.parametrize("inner", [False, True])
async def test_a_missing_scope_is_named(crm, hubspot, inner):
    if inner:
        context = {"requiredGranularScopes": [WRITE_SCOPE, "ana@example.com", 7]}
        answers(crm, 403, {"status": "error", "category": "MISSING_SCOPES", "errors": [{"context": context}]})
    else:
        crm.scopes.remove(WRITE_SCOPE)
    entry = await deliver(hubspot)
    assert isinstance(entry, RefusedError)
    assert entry.reason.startswith(f"the token lacks a scope: give it {WRITE_SCOPE} in HubSpot (403")


@pytest.mark.parametrize(
    ("body", "headers", "pause_s"),
    [
        ({"errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"}, {}, 10.0),
        ({"category": "RATE_LIMITS", "policyName": "SECONDLY"}, {}, 1.0),
        ({"errorType": "RATE_LIMIT", "policyName": "DAILY"}, {}, 3600.0),
        ({"errorType": "RATE_LIMIT", "policyName": "DAILY"}, {"Retry-After": "600"}, 600.0),
        ({"policyName": "MONTHLY"}, {}, 10.0),
        ({"policyName": "TEN_SECONDLY_ROLLING"}, {"Retry-After": "3"}, 3.0),
        ({"policyName": ["DAILY"]}, {}, 10.0),
        (None, {}, 10.0),
        (b"<html>Too many requests</html>", {"Retry-After": "x"}, 10.0),
    ],
)
async def test_too_many_requests_pause_as_long_as_the_broken_limit_lasts(prepared, alone, body, headers, pause_s):
    prepared.answer(UPSERT, 429, body, **headers)
    entry = await deliver(alone)
    assert isinstance(entry, ThrottledError)
    assert (entry.code, entry.pause_s) == (Code.RATE_LIMITED, pause_s)
    assert ("the account's requests for the day are used up" in entry.reason) == (
        isinstance(body, dict) and body["policyName"] == "DAILY"
    )


async def test_the_limit_of_an_account_is_kept_as_hubspot_says_it():
    async with HubSpotSandbox(token=TOKEN, requests_per_ten_seconds=1) as crm, client(crm.url) as hubspot:
        await deliver(hubspot)
        entry = await deliver(hubspot, BEN)
        assert isinstance(entry, ThrottledError)
        assert (entry.pause_s, len(crm.contacts)) == (10.0, 1)


async def test_an_account_that_is_being_moved_is_left_alone_as_long_as_hubspot_says(prepared, alone):
    prepared.answer(UPSERT, 477, {"message": "Migration in progress"}, **{"Retry-After": "900"})
    entry = await deliver(alone)
    assert isinstance(entry, ThrottledError)
    assert entry.pause_s == 900.0


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 521, 523, 524])
async def test_a_failing_hubspot_is_an_outage(prepared, alone, status):
    prepared.answer(UPSERT, status, b"<html>Bad gateway</html>")
    entry = await deliver(alone)
    assert isinstance(entry, OutageError)
    assert (entry.code, str(status) in entry.reason) == (Code.CRM_ERROR, True)


async def test_an_answer_lost_on_its_way_makes_no_second_contact(crm, hubspot):
    crm.next_faults.append(Fault(applies=True, drop=True))
    assert isinstance(await deliver(hubspot), OutageError)
    assert await deliver(hubspot) == Outcome.delivered("101")
    assert len(crm.contacts) == 1


@pytest.mark.parametrize("remote_id", [None, "101"])
@pytest.mark.parametrize(
    "body",
    [
        *(None, b"<html>Please log in</html>", b'{"results": [', [], "7", 7, {}, {"results": None}, {"results": {}}, {"id": "7"}),
        *({"results": [], "errors": {}}, {"results": [], "errors": "No"}, {"errors": []}),
    ],
    ids=lambda body: str(body)[:20],
)
async def test_a_success_that_is_not_hubspots_is_none(prepared, alone, body, remote_id):
    prepared.answer(writing(remote_id), 200, body)
    entry = await deliver(alone, ANA, remote_id)
    assert isinstance(entry, OutageError)
    assert entry.code == Code.BROKEN_ANSWER


@pytest.mark.parametrize("status", [202, 203, 204, 206])
async def test_a_success_that_hubspot_does_not_document_is_none(prepared, alone, status):
    prepared.answer(UPSERT, status, None if status == 204 else {"results": [result("7", ANA)]})
    assert isinstance(await deliver(alone), OutageError)


@pytest.mark.parametrize(
    "member",
    [
        *(
            None,
            7,
            "7",
            [],
            {},
            {"id": None},
            {"id": True, "properties": {"email": ANA}},
            {"id": "", "properties": {"email": ANA}},
        ),
        *({"id": "-7", "properties": {"email": ANA}}, {"id": 7.5, "properties": {"email": ANA}}, {"id": ["7"], "properties": {}}),
    ],
    ids=str,
)
async def test_a_result_without_an_id_delivers_nobody(prepared, alone, member):
    prepared.answer(UPSERT, 200, {"results": [member]})
    prepared.answer(READ, 207, {"results": [], "errors": [error("gone", "OBJECT_NOT_FOUND", ids=[ANA])]})
    outcome = await deliver(alone)
    assert (outcome.verdict, outcome.code) == (Verdict.FAILED, Code.NOT_ACCOUNTED)


@pytest.mark.parametrize("properties", [None, [], {}, {"email": None}, {"email": 7}, {"email": [ANA], "lifecyclestage": 7}])
async def test_a_result_with_odd_properties_is_still_the_only_one_there_is(prepared, alone, properties):
    prepared.answer(UPSERT, 200, {"results": [{"id": "7", "properties": properties}]})
    assert await deliver(alone, lifecyclestage="lead") == Outcome.delivered("7")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((404, b"<html>Cannot POST ana@example.com</html>"), (404, {"message": "resource not found"}), (404, None)),
        *((405, error("HTTP 405")), (406, None), (400, b"<html>Bad request of Ana</html>"), (415, error("x"))),
        *((413, b"<html>Too large</html>"), (421, None), (451, {"message": "Ana is blocked"}), (409, b"no")),
    ],
)
@pytest.mark.parametrize("remote_id", [None, "101"])
async def test_what_is_not_hubspots_api_is_said_with_the_settings_and_quotes_nobody(prepared, alone, status, body, remote_id):
    prepared.answer(writing(remote_id), status, body)
    entry = await deliver(alone, ANA, remote_id, firstname="Ana")
    assert isinstance(entry, RefusedError)
    assert entry.code == Code.NOT_FOUND
    assert "check HUBSPOT_BASE_URL and HUBSPOT_CONTACTS_PATH" in entry.reason
    assert "ana" not in entry.reason.lower()


async def test_a_wrong_path_is_found_by_the_check_and_by_a_delivery(crm):
    async with client(crm.url, path="/crm/v9/objects/contacts") as hubspot:
        with pytest.raises(RefusedError, match=r"NOT_FOUND: .*404.* check HUBSPOT_BASE_URL and HUBSPOT_CONTACTS_PATH"):
            await hubspot.check()
        assert isinstance(await deliver(hubspot), RefusedError)


# The check, and the settings.


async def test_the_check_names_the_account_and_changes_nothing(crm, hubspot):
    assert await hubspot.check() == "portal 123, STANDARD; API v3, which HubSpot supports until September 2027"
    assert not crm.contacts


async def test_the_check_needs_no_right_to_see_the_account(crm, hubspot):
    crm.scopes.remove("oauth")
    assert await hubspot.check() == "token accepted; API v3, which HubSpot supports until September 2027"


@pytest.mark.parametrize("answer", [Answer(200), Answer(200, {"portalId": "x"}), Answer(404, b"<html>"), Answer(500)])
async def test_the_check_does_not_depend_on_what_the_account_answers(prepared, alone, answer):
    prepared.answer(FIRST_PAGE, 200, {"results": []})
    prepared.answer(("GET", "/account-info/v3/details"), answer.status, answer.body)
    assert (await alone.check()).startswith("token accepted; API v3")


async def test_the_check_refuses_a_wrong_token_and_one_that_may_not_see_contacts(crm, hubspot):
    async with client(crm.url, token="pat-wrong") as stranger:
        with pytest.raises(RefusedError, match=r"REFUSED: .*401.*Authentication credentials not found"):
            await stranger.check()
    crm.scopes.remove(READ_SCOPE)
    with pytest.raises(RefusedError, match=f"give it {READ_SCOPE}"):
        await hubspot.check()


@pytest.mark.parametrize("body", [None, b"<html>Please log in</html>", {}, {"results": {}}])
async def test_the_check_is_not_satisfied_with_a_page_that_is_not_hubspots(prepared, alone, body):
    prepared.answer(FIRST_PAGE, 200, body)
    with pytest.raises(RefusedError, match="NOT_FOUND"):
        await alone.check()


@pytest.fixture
def settings(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUBSPOT_ACCESS_TOKEN", TOKEN)
    return monkeypatch


async def test_the_settings_make_an_account(settings, crm):
    settings.setenv("HUBSPOT_BASE_URL", crm.url)
    settings.setenv("HUBSPOT_LIMITS", "none")
    account = module.account()
    assert account.default_fields["jobtitle"] == "job_title"
    assert set(account.default_fields) <= crm.account.writable
    async with account.open(UNLIMITED) as hubspot:
        assert await deliver(hubspot) == Outcome.delivered("101")


def test_without_a_token_there_is_no_account(settings):
    settings.delenv("HUBSPOT_ACCESS_TOKEN")
    assert module.account() is None


@pytest.mark.parametrize(
    ("name", "value"), [("HUBSPOT_BASE_URL", "http://api.hubapi.com"), ("HUBSPOT_CONTACTS_PATH", "crm/v3/objects/contacts/")]
)
def test_a_wrong_setting_is_named(settings, name, value):
    settings.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        module.account()


SCRIPTS = ("ada@straße.de", "ada@bücher.example", "ada@उदाहरण.example", "ada@xn--bcher-kva.example", "ada@пример.рф")


@pytest.mark.parametrize("address", SCRIPTS)
async def test_an_address_with_a_domain_in_any_script_is_sent_as_it_is_and_found_again(crm, hubspot, address):
    first = await deliver(hubspot, address)
    assert first.verdict is Verdict.DELIVERED
    assert [held.properties["email"] for held in crm.contacts.values()] == [address]
    assert (await deliver(hubspot, address.upper().replace("SS", "ß"))).remote_id == first.remote_id
    assert (await deliver(hubspot, address, first.remote_id)).remote_id == first.remote_id
    assert await hubspot.find([address]) == [first.remote_id]
    assert len(crm.contacts) == 1
