"""Brevo's official SDK as the referee: it understands our sandbox, and told the same as our client it sends the same."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import get_args

import httpx
import pytest
from brevo import AsyncBrevo
from brevo.account import GetAccountResponse
from brevo.contacts import CreateContactResponse, GetContactInfoResponse, GetListResponse
from brevo.core.api_error import ApiError
from brevo.errors import BadRequestError, NotFoundError, TooEarlyError
from brevo.types import ContactErrorModel, ContactErrorModelCode, ErrorModel, GetContacts

from crm_sync.core.outcome import Contact, Outcome
from crm_sync.crm.brevo.client import Brevo
from crm_sync.crm.http import Http
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.server import Answer, Fault

KEY = "xkeysib-0123456789abcdef"
PHONE = "+33639980001"
LIST = 7
ADA = {"email": "ada@example.com", "attributes": {"FIRSTNAME": "Ada", "SMS": PHONE}, "ext_id": "x/7", "list_ids": [LIST]}


@pytest.fixture
async def crm():
    no_limits = {"contacts_per_second": None, "contacts_per_hour": None, "others_per_hour": None}
    async with BrevoSandbox(key=KEY, list_ids={LIST}, **no_limits) as sandbox:
        yield sandbox


@pytest.fixture
async def sdk(crm):
    async with official(crm) as client:
        yield client


@asynccontextmanager
async def official(crm, key=KEY):
    """The SDK does not close the connections of an httpx client of its own."""
    async with httpx.AsyncClient() as connections:
        yield AsyncBrevo(api_key=key, base_url=f"{crm.url}/v3", max_retries=0, httpx_client=connections)


async def plain(crm, method, path, body=None):
    async with httpx.AsyncClient(headers={"api-key": KEY}) as connections:
        return await connections.request(method, f"{crm.url}/v3/{path}", json=body)


@asynccontextmanager
async def ours(crm, list_id=None, **options):
    async with Http(f"{crm.url}/v3", {"api-key": KEY}) as http:
        yield Brevo(http, list_id=list_id, **options)


# The SDK and the sandbox.


async def test_the_sdk_creates_a_contact_and_reads_it(crm, sdk):
    created = await sdk.contacts.create_contact(**ADA)
    there = await sdk.contacts.get_contact_info(created.id)
    assert (there.id, there.email, there.list_ids, there.email_blacklisted) == (created.id, "ada@example.com", [LIST], False)
    assert there.attributes.model_dump(exclude_none=True) == {"FIRSTNAME": "Ada", "SMS": PHONE.lstrip("+"), "EXT_ID": "x/7"}


async def test_the_sdk_updates_a_contact_and_is_told_nothing(crm, sdk):
    await sdk.contacts.create_contact(**ADA)
    assert await sdk.contacts.create_contact(**ADA, update_enabled=True) is None
    await sdk.contacts.update_contact(
        1, identifier_type="contact_id", attributes={"EMAIL": "new@example.com"}, email_blacklisted=True, unlink_list_ids=[LIST]
    )
    there = await sdk.contacts.get_contact_info("new@example.com")
    assert (there.id, there.list_ids, there.email_blacklisted) == (1, [], True)


@pytest.mark.parametrize(
    ("identifier", "identifier_type"),
    [("ada@example.com", "email_id"), (1, "contact_id"), ("x/7", "ext_id"), (PHONE, "phone_id")],
)
async def test_the_sdk_finds_and_deletes_a_contact_by_each_of_its_identifiers(crm, sdk, identifier, identifier_type):
    await sdk.contacts.create_contact(**ADA)
    assert (await sdk.contacts.get_contact_info(identifier, identifier_type=identifier_type)).id == 1
    await sdk.contacts.delete_contact(identifier, identifier_type=identifier_type)
    assert crm.contacts == {}


async def test_the_sdk_reads_the_contacts_the_list_and_the_account(crm, sdk):
    await sdk.contacts.create_contact(**ADA)
    await sdk.contacts.create_contact(email="bob@example.com")
    page = await sdk.contacts.get_contacts(limit=1)
    assert (page.count, [contact.email for contact in page.contacts]) == (2, ["bob@example.com"])
    on_list = await sdk.contacts.get_list(LIST)
    assert (on_list.id, on_list.total_subscribers) == (LIST, 1)
    assert (await sdk.account.get_account()).email == "owner@example.com"


@pytest.mark.parametrize("code", ["duplicate_parameter", "invalid_parameter"])
async def test_the_sdk_knows_a_duplicate_under_either_code(crm, sdk, code):
    crm.account.duplicate_code = code
    await sdk.contacts.create_contact(**ADA)
    with pytest.raises(BadRequestError) as caught:
        await sdk.contacts.create_contact(**ADA)
    error = ContactErrorModel.model_validate(caught.value.body)
    assert (error.code, error.metadata) == (code, {"duplicate_identifiers": ["email", "EXT_ID", "SMS"]})


async def test_the_sdk_knows_a_contact_and_a_list_that_are_not_there(sdk):
    for ask, identifier in ((sdk.contacts.get_contact_info, 7), (sdk.contacts.update_contact, 7), (sdk.contacts.get_list, 9)):
        with pytest.raises(NotFoundError) as caught:
            await ask(identifier)
        assert ErrorModel.model_validate(caught.value.body).code == "document_not_found"


async def test_the_sdk_knows_a_wrong_key(crm):
    async with official(crm, key="xkeysib-wrong") as stranger:
        with pytest.raises(ApiError) as caught:
            await stranger.account.get_account()
    assert caught.value.status_code == 401
    assert ErrorModel.model_validate(caught.value.body).code == "unauthorized"


async def test_the_sdk_knows_a_425_and_a_429(crm, sdk):
    crm.next_faults.append(Fault(answer=Answer(425, {"code": "account_in_process", "message": "Account is in process"})))
    with pytest.raises(TooEarlyError) as too_early:
        await sdk.contacts.create_contact(**ADA)
    assert too_early.value.body.code == "account_in_process"
    crm.next_faults.append(Fault(answer=crm.throttled()))
    with pytest.raises(ApiError) as throttled:
        await sdk.contacts.create_contact(**ADA)
    assert (throttled.value.status_code, throttled.value.headers["x-sib-ratelimit-reset"]) == (429, "1")


# The SDK reads answers without checking them. Its models do, asked to.


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (GetContactInfoResponse, "contacts/1"),
        (GetContacts, "contacts"),
        (GetListResponse, f"contacts/lists/{LIST}"),
        (GetAccountResponse, "account"),
    ],
)
async def test_the_sandbox_answers_what_the_sdks_models_ask_for(crm, sdk, model, path):
    await sdk.contacts.create_contact(**ADA)
    model.model_validate_json((await plain(crm, "GET", path)).text, strict=True)


async def test_the_sandbox_answers_to_a_new_contact_what_the_sdks_model_asks_for(crm):
    answer = await plain(crm, "POST", "contacts", {"email": "ada@example.com"})
    assert CreateContactResponse.model_validate_json(answer.text, strict=True).id == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "contacts", {}),
        ("POST", "contacts", {"email": "ada@"}),
        ("POST", "contacts", {"email": "ada@example.com"}),
        ("POST", "contacts", {"email": "new@example.com", "listIds": [9]}),
        ("PUT", "contacts/7", {}),
        ("GET", "contacts?limit=1001", None),
        ("PATCH", "contacts", None),
    ],
)
async def test_the_sandbox_refuses_with_the_codes_that_brevo_has_for_contacts(crm, sdk, method, path, body):
    await sdk.contacts.create_contact(**ADA)
    answer = await plain(crm, method, path, body)
    error = ContactErrorModel.model_validate_json(answer.text, strict=True)
    assert error.code in get_args(get_args(ContactErrorModelCode)[0])


# The SDK and our client.


def contact(email, remote_id=None, **fields):
    flipped_at = datetime(2026, 11, 3, 9, 30, tzinfo=UTC)
    return Contact(id=1, token=1, attempts=1, remote_id=remote_id, email=email, flipped_at=flipped_at, fields=fields)


def sent(crm):
    """What came since the last look."""
    requests = [(request.method, request.path, request.query, request.body) for request in crm.requests]
    crm.requests.clear()
    return requests


async def test_a_new_contact_goes_out_as_from_the_sdk(crm, sdk):
    fields = {"FIRSTNAME": "Ada", "SCORE": 1.5, "VIP": True, "TAGS": ["a", "b"]}
    async with ours(crm, LIST) as client:
        assert await client.deliver([contact("ada@example.com", EXT_ID="x/7", **fields)]) == [Outcome.delivered("1")]
    by_us = sent(crm)
    options = {"ext_id": "x/7", "list_ids": [LIST], "update_enabled": True, "get_id": True}
    await sdk.contacts.create_contact(email="ada@example.com", attributes=fields, **options)
    assert by_us == sent(crm)


@pytest.mark.parametrize(
    ("fields", "kind", "identifier"),
    [({"EXT_ID": "x/7"}, "ext_id", "x/7"), ({"SMS": PHONE.lstrip("+")}, "phone_id", PHONE.lstrip("+"))],
)
async def test_a_contact_without_an_address_goes_out_as_from_the_sdk(crm, sdk, fields, kind, identifier):
    async with ours(crm, match="ext_id", phone_only=True) as client:
        assert await client.deliver([contact(None, FIRSTNAME="Ada", **fields)]) == [Outcome.delivered("1")]
    by_us = sent(crm)
    crm.account.delete(crm.contacts[1])
    with pytest.raises(NotFoundError):
        await sdk.contacts.get_contact_info(identifier, identifier_type=kind)
    names = {"ext_id": fields["EXT_ID"]} if "EXT_ID" in fields else {}
    attributes = {"FIRSTNAME": "Ada", **{name: value for name, value in fields.items() if name != "EXT_ID"}}
    created = await sdk.contacts.create_contact(**names, attributes=attributes, update_enabled=False, get_id=True)
    assert created.id == 2
    assert by_us == sent(crm)


async def test_a_known_contact_is_looked_up_as_by_the_sdk(crm, sdk):
    await sdk.contacts.create_contact(email="o'brien+crm@example.com")
    sent(crm)
    async with ours(crm) as client:
        await client.deliver([contact("o'brien+crm@example.com", FIRSTNAME="Pat")])
    lookup = sent(crm)[1:]
    await sdk.contacts.get_contact_info("o'brien+crm@example.com", identifier_type="email_id")
    assert lookup == sent(crm)


async def test_a_changed_contact_goes_out_as_from_the_sdk(crm, sdk):
    await sdk.contacts.create_contact(email="ada@example.com", email_blacklisted=True)
    sent(crm)
    async with ours(crm, LIST) as client:
        await client.deliver([contact("new@example.com", "1", FIRSTNAME="Ada", EXT_ID="x/7")])
    by_us = sent(crm)
    await sdk.contacts.get_contact_info(1, identifier_type="contact_id")
    await sdk.contacts.update_contact(
        1,
        identifier_type="contact_id",
        attributes={"FIRSTNAME": "Ada", "EMAIL": "new@example.com"},
        ext_id="x/7",
        list_ids=[LIST],
        email_blacklisted=True,
    )
    assert by_us == sent(crm)


async def test_our_check_asks_as_the_sdk_does(crm, sdk):
    async with ours(crm, LIST) as client:
        await client.check()
    by_us = sent(crm)
    await sdk.contacts.get_contacts(limit=1)
    await sdk.contacts.get_list(LIST)
    assert by_us == sent(crm)
