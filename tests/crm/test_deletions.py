"""Deleting in the four CRMs: our clients against the fakes, which delete as their vendors do."""

import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from crm_sync.commands.n8n_workflow import n8n_workflow
from crm_sync.core.outcome import Deletion, Outcome, Verdict
from crm_sync.errors import BatchRefusedError, OutageError, RefusedError
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.hubspot.sandbox import WRITE_SCOPE, HubSpotSandbox
from crm_sync.sandbox.mautic.sandbox import MauticSandbox
from crm_sync.sandbox.n8n.sandbox import N8nSandbox
from crm_sync.sandbox.server import Answer, Fault
from tests.crm import test_brevo, test_hubspot, test_mautic, test_n8n

DELETED_AT = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
DONE = Outcome.delivered(None)
EMAILS = ["ada@example.com", "bob@example.com", "carl@example.com"]
PAGE = Answer(404, b"<html>not found</html>", {"Content-Type": "text/html"})


def deletion(remote_id, email="ada@example.com", *, erase=False, contact_id="1"):
    return Deletion(contact_id, remote_id, email, erase, DELETED_AT)


def answers(crm, answer, method="DELETE"):
    crm.next_faults.append(Fault(lambda call: call.method == method, answer=answer))


# HubSpot.


@pytest.fixture
async def hubspot_crm():
    async with HubSpotSandbox(token=test_hubspot.TOKEN, **test_hubspot.NO_LIMITS) as sandbox:
        yield sandbox


@pytest.fixture
async def hubspot(hubspot_crm):
    async with test_hubspot.client(hubspot_crm.url) as client:
        yield client


@pytest.fixture
async def in_hubspot(hubspot):
    """Ids of three existing contacts."""
    return [one.remote_id for one in await hubspot.deliver([test_hubspot.contact(email) for email in EMAILS])]


async def test_hubspot_archives_a_batch_in_one_request(hubspot_crm, hubspot, in_hubspot):
    hubspot_crm.requests.clear()
    assert await hubspot.delete([deletion(one) for one in in_hubspot[:2]]) == [DONE, DONE]
    assert [request.path for request in hubspot_crm.requests] == ["/crm/v3/objects/contacts/batch/archive"]
    assert [one.properties["email"] for one in hubspot_crm.contacts.values()] == ["carl@example.com"]
    assert set(hubspot_crm.account.archived) == set(in_hubspot[:2]), "to be restored for 90 days"


async def test_hubspot_knows_an_archived_contact_by_nothing_and_makes_a_new_one(hubspot, in_hubspot):
    await hubspot.delete([deletion(in_hubspot[0])])
    assert await hubspot.find(EMAILS[:1]) == [None]
    [again] = await hubspot.deliver([test_hubspot.contact(EMAILS[0], remote_id=in_hubspot[0])])
    assert again.verdict is Verdict.DELIVERED
    assert again.remote_id not in in_hubspot


async def test_hubspot_erases_one_by_one_and_never_by_address(hubspot_crm, hubspot, in_hubspot):
    hubspot_crm.requests.clear()
    assert await hubspot.delete([deletion(one, erase=True) for one in in_hubspot]) == [DONE] * 3
    assert [request.body for request in hubspot_crm.requests] == [{"objectId": one} for one in in_hubspot]
    assert not hubspot_crm.contacts
    assert not hubspot_crm.account.archived
    assert not hubspot_crm.account.blocked
    [again] = await hubspot.deliver([test_hubspot.contact(EMAILS[0])])
    assert again.verdict is Verdict.DELIVERED, "the address is not blocked"


@pytest.mark.parametrize("erase", [False, True])
async def test_hubspot_what_is_not_there_is_deleted(hubspot, in_hubspot, erase):
    gone = [deletion("999", erase=erase), deletion(in_hubspot[0], erase=erase)]
    assert await hubspot.delete(gone) == [DONE, DONE]
    assert await hubspot.delete(gone) == [DONE, DONE]


async def test_hubspot_two_rows_of_one_record_are_one_input(hubspot_crm, hubspot, in_hubspot):
    assert await hubspot.delete([deletion(in_hubspot[0])] * 2) == [DONE, DONE]
    assert hubspot_crm.requests[-1].body == {"inputs": [{"id": in_hubspot[0]}]}


async def test_hubspot_an_id_that_is_none_is_sent_nowhere(hubspot_crm, hubspot, in_hubspot):
    bad, good = await hubspot.delete([deletion("abc"), deletion(in_hubspot[0])])
    assert (bad.verdict, good) == (Verdict.REJECTED, DONE)


async def test_hubspot_finds_by_primary_address_only(hubspot_crm, hubspot, in_hubspot):
    hubspot_crm.account.add_email(in_hubspot[0], "other@example.com")
    assert await hubspot.find(["ADA@example.com", "other@example.com", "no@example.com"]) == [in_hubspot[0], None, None]


async def test_hubspot_a_token_without_the_scope_is_everybodys_refusal(hubspot_crm, hubspot, in_hubspot):
    hubspot_crm.scopes.discard(WRITE_SCOPE)
    [said] = await hubspot.delete([deletion(in_hubspot[0])])
    assert isinstance(said, RefusedError)


async def test_hubspot_a_batch_that_is_refused_comes_again_in_halves(hubspot_crm, hubspot, in_hubspot):
    answers(hubspot_crm, hubspot_crm.refused(), "POST")
    said = await hubspot.delete([deletion(one) for one in in_hubspot])
    assert len(set(said)) == 1
    assert isinstance(said[0], BatchRefusedError)


async def test_hubspot_an_erasure_that_fails_takes_nothing_from_the_others(hubspot_crm, hubspot, in_hubspot):
    answers(hubspot_crm, Answer(503, b"down"), "POST")
    first, *others = await hubspot.delete([deletion(one, erase=True) for one in in_hubspot])
    assert isinstance(first, OutageError)
    assert others == [DONE, DONE]


async def test_hubspot_a_page_that_says_404_has_deleted_nothing(hubspot_crm, hubspot, in_hubspot):
    answers(hubspot_crm, PAGE, "POST")
    [said] = await hubspot.delete([deletion(in_hubspot[0], erase=True)])
    assert isinstance(said, RefusedError)


async def test_hubspot_blocks_an_address_that_is_erased_and_that_nobody_has(hubspot_crm, hubspot):
    """The fake does what HubSpot documents; our client never asks for it."""
    hubspot_crm.account.blocked.add(EMAILS[0])
    [said] = await hubspot.deliver([test_hubspot.contact(EMAILS[0])])
    assert said.verdict is Verdict.REJECTED


# Brevo.


@pytest.fixture
async def brevo_crm():
    async with BrevoSandbox(key=test_brevo.KEY, **test_brevo.NO_LIMITS) as sandbox:
        yield sandbox


@pytest.fixture
async def brevo(brevo_crm):
    async with test_brevo.client(f"{brevo_crm.url}/v3") as client:
        yield client


async def test_brevo_deletes_by_id(brevo_crm, brevo):
    outcome = await test_brevo.deliver(brevo)
    assert await brevo.delete([deletion(outcome.remote_id)]) == [DONE]
    assert not brevo_crm.contacts
    last = brevo_crm.requests[-1]
    assert (last.method, last.path, last.query, last.status) == (
        *("DELETE", f"/v3/contacts/{outcome.remote_id}"),
        *({"identifierType": "contact_id"}, 204),
    )


async def test_brevo_what_is_not_there_is_deleted(brevo):
    assert await brevo.delete([deletion("7")]) == [DONE]


async def test_brevo_finds_by_address(brevo):
    outcome = await test_brevo.deliver(brevo)
    assert await brevo.find(["ada@example.com"]) == [outcome.remote_id]
    assert await brevo.find(["no@example.com"]) == [None]


async def test_brevo_a_page_that_says_404_has_deleted_nothing(brevo_crm, brevo):
    answers(brevo_crm, PAGE)
    with pytest.raises(RefusedError):
        await brevo.delete([deletion("7")])


async def test_brevo_a_contact_it_is_busy_with_is_tried_again(brevo_crm, brevo):
    answers(brevo_crm, Answer(425, {"code": "account_in_process", "message": "busy"}))
    [said] = await brevo.delete([deletion("7")])
    assert (said.verdict, said.code) == (Verdict.FAILED, "TOO_EARLY")


async def test_brevo_an_outage_is_no_contacts(brevo_crm, brevo):
    answers(brevo_crm, Answer(503, b"down"))
    with pytest.raises(OutageError):
        await brevo.delete([deletion("7")])


@pytest.mark.parametrize("odd", [".", "..", "../lists", "5?x=1", "0", ""])
async def test_brevo_is_asked_nothing_of_an_id_that_it_never_gave(brevo_crm, brevo, odd):
    brevo_crm.requests.clear()
    [said] = await brevo.delete([deletion(odd)])
    assert (said.verdict, said.code) == (Verdict.REJECTED, "REJECTED")
    assert not brevo_crm.requests


# Mautic.


@pytest.fixture
async def mautic_crm():
    async with MauticSandbox(username=test_mautic.USER, password=test_mautic.PASSWORD) as sandbox:
        yield sandbox


@pytest.fixture
async def mautic(mautic_crm):
    async with test_mautic.client(mautic_crm.url) as client:
        yield client


@pytest.fixture
async def in_mautic(mautic):
    return [one.remote_id for one in await mautic.deliver([test_mautic.contact(email) for email in EMAILS])]


async def test_mautic_deletes_a_batch_in_one_request(mautic_crm, mautic, in_mautic):
    mautic_crm.requests.clear()
    assert await mautic.delete([deletion(one) for one in in_mautic]) == [DONE] * 3
    assert not mautic_crm.contacts
    [request] = mautic_crm.requests
    assert (request.method, request.path, request.query) == ("DELETE", "/api/contacts/batch/delete", {"ids": "1,2,3"})


async def test_mautic_deletes_one_and_is_shown_it_without_its_id(mautic_crm, mautic, in_mautic):
    assert await mautic.delete([deletion(in_mautic[0])]) == [DONE]
    assert mautic_crm.requests[-1].path == "/api/contacts/1/delete"
    assert len(mautic_crm.contacts) == 2


async def test_mautic_what_is_not_there_is_deleted(mautic, in_mautic):
    assert await mautic.delete([deletion("99"), deletion(in_mautic[0])]) == [DONE, DONE]
    assert await mautic.delete([deletion("99")]) == [DONE]


async def test_mautic_one_that_the_user_may_not_delete_is_told_from_the_others(mautic_crm, mautic, in_mautic):
    mautic_crm.account.denied_ids.add(2)
    first, second, third = await mautic.delete([deletion(one) for one in in_mautic])
    assert (first, third) == (DONE, DONE)
    assert isinstance(second, RefusedError)
    assert set(mautic_crm.contacts) == {2}


async def test_mautic_finds_by_address_and_does_not_guess_between_two(mautic_crm, mautic, in_mautic):
    mautic_crm.account.create({"email": EMAILS[1]})
    first, second, third = await mautic.find(["ADA@example.com", EMAILS[1], "josé@example.com"])
    assert (first, third) == (in_mautic[0], None)
    assert second.code == "AMBIGUOUS"


async def test_mautic_a_page_that_says_404_has_deleted_nothing(mautic_crm, mautic, in_mautic):
    answers(mautic_crm, PAGE)
    [said] = await mautic.delete([deletion(in_mautic[0])])
    assert isinstance(said, RefusedError)


# n8n.


@pytest.fixture
async def n8n_crm():
    async with N8nSandbox() as sandbox:
        yield sandbox


async def test_n8n_is_told_with_an_event_the_id_and_a_key(n8n_crm):
    async with test_n8n.client(n8n_crm.url) as n8n:
        assert not n8n.keeps_records
        [said] = await n8n.delete([deletion("exec-1", erase=True, contact_id="42")])
    assert said.verdict is Verdict.DELIVERED
    [told] = n8n_crm.workflow.deleted
    key = told.pop("idempotency_key")
    told.pop("sent_at")
    assert told == {
        "event": "deleted",
        "erase": True,
        "contact_id": "42",
        "n8n_workflow_id": "exec-1",
        "email": "ada@example.com",
    }
    assert len(key) == 32


async def test_n8n_gets_the_same_key_for_the_same_deletion_only(n8n_crm):
    async with test_n8n.client(n8n_crm.url) as n8n:
        await n8n.delete([deletion("1")])
        await n8n.delete([deletion("1")])
        assert n8n_crm.workflow.duplicates == 1
        await n8n.delete([deletion("1", contact_id="2")])
        await n8n.delete([deletion("1")._replace(deleted_at=datetime(2026, 11, 25, tzinfo=UTC))])
    assert len(n8n_crm.workflow.deleted) == 3


async def test_n8n_a_list_is_answered_one_by_one(n8n_crm):
    n8n_crm.workflow.refusing["bob@example.com"] = "unknown"
    async with test_n8n.client(n8n_crm.url, batch_limit=10) as n8n:
        assert n8n.delete_limit == 10
        first, second = await n8n.delete([deletion("1"), deletion("2", "bob@example.com", contact_id="2")])
    assert (first.verdict, second.verdict) == (Verdict.DELIVERED, Verdict.REJECTED)
    assert "bob@" not in second.reason


async def test_n8n_a_workflow_that_fails_is_tried_again(n8n_crm):
    n8n_crm.workflow.failing.add("ada@example.com")
    async with test_n8n.client(n8n_crm.url) as n8n:
        [said] = await n8n.delete([deletion("1")])
    assert (said.verdict, said.code) == (Verdict.FAILED, "WORKFLOW_FAILED")


def test_the_workflow_we_ship_leads_deleted_contacts_past_the_nodes_that_upsert():
    workflow = json.loads(CliRunner().invoke(n8n_workflow).output)
    ways = workflow["connections"]["Deleted?"]["main"]
    assert [[end["node"] for end in way] for way in ways] == [["YOUR NODES FOR DELETED CONTACTS"], ["YOUR NODES GO HERE"]]
    assert [end["node"] for end in workflow["connections"]["New"]["main"][0]] == ["Deleted?"]
    [node] = [node for node in workflow["nodes"] if node["name"] == "Deleted?"]
    [condition] = node["parameters"]["conditions"]["conditions"]
    assert condition["leftValue"] == "={{ $json.event === 'deleted' }}"
