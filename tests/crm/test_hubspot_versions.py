"""The versions of HubSpot's API: their paths, the end of their support, and the rules of the account that later ones enforce."""

import json
import warnings
from contextlib import asynccontextmanager

import pytest

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Contact, Verdict
from crm_sync.crm.http import Http
from crm_sync.crm.hubspot.client import HubSpot
from crm_sync.crm.hubspot.versions import Version, version_of
from crm_sync.errors import BatchRefusedError, RefusedError
from crm_sync.sandbox.hubspot.sandbox import HubSpotSandbox

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK's own, while it is loaded
    from hubspot.crm.contacts import ApiClient, StandardError

TOKEN = "pat-eu1-0123456789abcdef"
ENFORCING = "/crm/objects/2026-09/contacts"
BEFORE = ("/crm/v3/objects/contacts", "/crm/objects/2026-03/contacts")


@asynccontextmanager
async def opened(path=ENFORCING):
    async with (
        HubSpotSandbox(token=TOKEN, path=path, requests_per_ten_seconds=None) as crm,
        Http(crm.url, {"Authorization": f"Bearer {TOKEN}"}) as http,
    ):
        yield crm, HubSpot(http, path=path)


def contact(email, remote_id=None, **fields):
    return Contact(1, 1, 1, remote_id, email, None, fields)


# What a path says.


def beside(date, before=""):
    return f"{before}/communication-preferences/{date}/statuses", f"{before}/crm/lists/{date}"


V3_PATHS = (beside("2026-03")[0], "/crm/v3/lists")


@pytest.mark.parametrize(
    ("path", "version", "enforces"),
    [
        (BEFORE[0], Version("v3", "/crm/v3/properties/contacts", "/account-info/v3/details", "September 2027", *V3_PATHS), False),
        (
            BEFORE[1],
            Version(
                "2026-03",
                "/crm/properties/2026-03/contacts",
                "/account-info/2026-03/details",
                "September 2027",
                *beside("2026-03"),
            ),
            False,
        ),
        (
            ENFORCING,
            Version(
                "2026-09", "/crm/properties/2026-09/contacts", "/account-info/2026-09/details", "March 2028", *beside("2026-09")
            ),
            True,
        ),
        (
            "/hub/crm/objects/2027-03/0-1",
            Version(
                "2027-03",
                "/hub/crm/properties/2027-03/contacts",
                "/hub/account-info/2027-03/details",
                "September 2028",
                *beside("2027-03", "/hub"),
            ),
            True,
        ),
    ],
)
def test_a_path_says_which_version_it_is(path, version, enforces):
    assert version_of(path) == version
    assert version.enforces is enforces


@pytest.mark.parametrize(
    "path", ["/hub", "/crm/objects/2026-13/contacts", "/crm/v3/objects/companies", "/crm/v4/objects/contacts"]
)
async def test_of_another_path_nothing_is_guessed(path):
    assert version_of(path) is None
    async with HubSpotSandbox(token=TOKEN, path=path) as crm, Http(crm.url, {"Authorization": f"Bearer {TOKEN}"}) as http:
        client = HubSpot(http, path=path)
        assert "means is not known" in await client.check()
        assert await client.schema() is None
        assert [request.path for request in crm.requests] == [path]


@pytest.mark.parametrize("path", [*BEFORE, ENFORCING])
async def test_all_that_is_asked_is_asked_of_one_version(path):
    """The sandbox does not answer under any other."""
    async with opened(path) as (crm, client):
        assert version_of(path).ends in await client.check()
        assert await client.schema()
        await client.deliver([contact("ana@example.com", firstname="Ana")])
        assert {request.status for request in crm.requests} == {200}


# What the account requires.


@pytest.mark.parametrize("path", BEFORE)
async def test_what_the_account_requires_is_not_enforced_before_2026_09(path):
    async with opened(path) as (crm, client):
        crm.account.required.add("plan")
        [outcome] = await client.deliver([contact("ana@example.com", firstname="Ana")])
        assert outcome.verdict is Verdict.DELIVERED


@pytest.mark.parametrize("count", [1, 3])
async def test_a_required_property_that_the_mapping_lacks_is_everybodys_and_named(count):
    async with opened() as (crm, client):
        crm.account.writable.add("plan")
        crm.account.required.add("plan")
        entries = await client.deliver([contact(f"{number}@example.com", firstname="Ana") for number in range(count)])
        assert {type(entry) for entry in entries} == {RefusedError}
        assert {entry.code for entry in entries} == {Code.FIELD_REQUIRED}
        assert "HubSpot requires plan for every new contact, and the mapping does not send it" in entries[0].reason
        assert not crm.contacts


async def test_one_that_the_mapping_has_is_the_contacts_where_it_is_empty_and_others_are_delivered():
    async with opened() as (crm, client):
        crm.account.writable.add("plan")
        crm.account.required.add("plan")
        batch = [contact("ana@example.com", plan=None), contact("ben@example.com", plan="gold")]
        empty, filled = await client.deliver(batch)
        assert (empty.verdict, empty.code) == (Verdict.REJECTED, Code.REJECTED)
        assert "A value for plan must be provided" in empty.reason
        assert filled.verdict is Verdict.DELIVERED


async def test_who_is_there_already_needs_none():
    async with opened() as (crm, client):
        [known] = await client.deliver([contact("ana@example.com", firstname="Ana")])
        crm.account.required.add("phone")
        [outcome] = await client.deliver([contact("ana@example.com", known.remote_id, firstname="Eva")])
        assert outcome.verdict is Verdict.DELIVERED


async def test_a_property_that_is_required_for_some_values_is_the_contacts_and_holds_nobody_else():
    async with opened() as (crm, client):
        crm.account.conditional["country", "US"] = "state"
        batch = [contact("ana@example.com", country="US"), contact("ben@example.com", country="FR")]
        there, here = await client.deliver(batch)
        assert (there.verdict, there.code) == (Verdict.REJECTED, Code.REJECTED)
        assert "state is required because of a conditional property rule" in there.reason
        assert here.verdict is Verdict.DELIVERED


# As HubSpot may word it differently.

MISSING = {
    "code": "MISSING_REQUIRED_PROPERTY",
    "message": "A value for plan must be provided",
    "context": {"propertyName": ["plan"]},
}
WHOLE = {
    "status": "error",
    "category": "VALIDATION_ERROR",
    "message": "The property values provided are invalid",
    "errors": [MISSING],
}
IN_MESSAGE = {"status": "error", "category": "VALIDATION_ERROR", "message": "A value for plan must be provided"}
UPSERT = ("POST", f"{ENFORCING}/batch/upsert")


@asynccontextmanager
async def answered(prepared, status, body):
    prepared.answer(UPSERT, status, body)
    async with Http(prepared.base_url, {}) as http:
        yield HubSpot(http, path=ENFORCING)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, WHOLE),
        (400, IN_MESSAGE),
        (207, {"status": "COMPLETE", "results": [], "errors": [{**IN_MESSAGE, "context": {"objectWriteTraceId": ["0"]}}]}),
        (207, {"status": "COMPLETE", "results": [], "errors": [{**WHOLE, "context": {"objectWriteTraceId": ["0"]}}]}),
    ],
)
async def test_it_is_understood_for_a_batch_as_a_whole_and_without_details(prepared, status, body):
    async with answered(prepared, status, body) as client:
        [entry] = await client.deliver([contact("ana@example.com", firstname="Ana")])
    assert (type(entry), entry.code) == (RefusedError, Code.FIELD_REQUIRED)


async def test_a_batch_that_is_refused_for_an_empty_value_is_halved_and_names_it(prepared):
    async with answered(prepared, 400, WHOLE) as client:
        [entry] = await client.deliver([contact("ana@example.com", plan=None)])
    assert (type(entry), entry.code) == (BatchRefusedError, Code.REJECTED)
    assert "requires plan" in entry.reason


async def test_the_official_sdk_reads_such_an_error():
    async with opened() as (crm, client):
        crm.account.required.add("phone")
        await client.deliver([contact("ana@example.com", firstname="Ana")])
        [error] = crm.batches.upsert(crm.requests[-1].body)[1]["errors"]
    answer = type("Answer", (), {"data": json.dumps({**error, "links": {}})})()
    read = ApiClient().deserialize(answer, StandardError)
    assert (read.errors[0].code, read.errors[0].context) == ("MISSING_REQUIRED_PROPERTY", {"propertyName": ["phone"]})
