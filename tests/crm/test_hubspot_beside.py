"""What HubSpot keeps next to the properties of a contact: subscriptions and static lists, with separate requests."""

from urllib.parse import quote

import pytest

from crm_sync.core.outcome import Verdict
from crm_sync.core.values import Kind, Shape, member_writer
from crm_sync.crm.values import HUBSPOT
from crm_sync.errors import LaneError, RefusedError, UnsendableError
from crm_sync.sandbox.hubspot.beside import SCOPES
from crm_sync.sandbox.hubspot.sandbox import HubSpotSandbox
from crm_sync.sandbox.server import Answer, Fault
from tests.crm.test_hubspot import TOKEN, client, contact

NEWS, OFFERS, GONE = 5, 6, 99
ADA, BOB = "ada@example.com", "bob@example.com"


@pytest.fixture
async def crm():
    async with HubSpotSandbox(token=TOKEN, requests_per_ten_seconds=None, requests_per_day=None) as sandbox:
        sandbox.scopes |= {*SCOPES.values()}
        sandbox.account.subscriptions = {NEWS, OFFERS}
        sandbox.account.lists = {7: set(), 8: set()}
        yield sandbox


@pytest.fixture
async def hubspot(crm):
    async with client(crm.url) as opened:
        yield opened


async def deliver(hubspot, email=ADA, remote_id=None, **fields):
    [entry] = await hubspot.deliver([contact(email, remote_id, **fields)])
    return entry


def asked(crm):
    return [(request.method, request.path) for request in crm.requests]


async def test_without_them_no_request_is_made_for_them(crm, hubspot):
    await deliver(hubspot, firstname="Ada")
    assert len(crm.requests) == 1


async def test_who_opts_out_of_everything_is_out_in_one_request_for_all(crm, hubspot):
    entries = await hubspot.deliver([contact(f"{n}@example.com", unsubscribeAll=True, firstname="Ada") for n in range(5)])
    assert {entry.code for entry in entries} == {None}
    assert crm.account.out_of_all == {f"{n}@example.com" for n in range(5)}
    assert len(crm.requests) == 2
    assert "unsubscribeAll" not in str(crm.requests[0].body)


async def test_single_subscriptions_go_with_their_legal_basis(crm, hubspot):
    basis = {"legalBasis": "CONSENT_WITH_NOTICE", "legalBasisExplanation": "asked by mail"}
    await deliver(hubspot, unsubscribeFrom=[NEWS, OFFERS], **basis)
    assert crm.account.statuses == {(ADA, NEWS): "UNSUBSCRIBED", (ADA, OFFERS): "UNSUBSCRIBED"}
    assert all(status.items() >= basis.items() for status in crm.requests[1].body["inputs"])


async def test_who_is_to_be_in_and_out_is_out(crm, hubspot):
    await deliver(hubspot, subscribeTo=[NEWS, OFFERS], unsubscribeFrom=[NEWS])
    assert crm.account.statuses == {(ADA, NEWS): "UNSUBSCRIBED", (ADA, OFFERS): "SUBSCRIBED"}


async def test_who_opted_out_of_everything_in_hubspot_is_not_opted_in_and_the_row_says_so(crm, hubspot):
    crm.account.out_of_all.add(ADA)
    outcome = await deliver(hubspot, subscribeTo=[NEWS])
    assert (outcome.verdict, outcome.code) == (Verdict.DELIVERED, "FIELD_NOT_SENT")
    assert crm.account.statuses == {}


async def test_a_legal_basis_that_the_account_requires_and_the_mapping_does_not_send_is_told(crm, hubspot):
    crm.account.needs_legal_basis = True
    outcome = await deliver(hubspot, unsubscribeFrom=[NEWS])
    assert outcome.code == "FIELD_NOT_SENT"
    assert "legalBasis and legalBasisExplanation are required" in outcome.reason


async def test_without_the_scope_for_many_each_takes_a_request_and_that_is_found_out_once(crm, hubspot):
    """Only Marketing Hub Enterprise has that scope."""
    crm.scopes.discard(SCOPES["statuses"])
    for _ in range(2):
        people = [contact(ADA, unsubscribeAll=True, unsubscribeFrom=[NEWS, GONE]), contact(BOB, unsubscribeFrom=[NEWS])]
        entries = await hubspot.deliver(people)
        assert [entry.code for entry in entries] == ["FIELD_NOT_SENT", None]
        assert "Subscription 99 does not exist" in entries[0].reason
    assert crm.account.out_of_all == {ADA}
    assert crm.account.statuses == {(ADA, NEWS): "UNSUBSCRIBED", (BOB, NEWS): "UNSUBSCRIBED"}
    assert sum("/batch/unsubscribe-all" in path for _, path in asked(crm)) == 1
    assert sum("/statuses/batch/write" in path for _, path in asked(crm)) == 0
    assert ("POST", f"/communication-preferences/2026-03/statuses/{ADA}/unsubscribe-all") in asked(crm)


async def test_many_that_are_refused_together_are_opted_out_one_by_one(crm, hubspot):
    """Which of them HubSpot minds, the refusal does not say. One whose address another's contains is told nothing of it."""

    def refusal(message):
        return Answer(400, {"status": "error", "category": "VALIDATION_ERROR", "message": message, "correlationId": "c0ffee"})

    together = ("unsubscribe-all", "write")
    crm.standing_faults.append(
        Fault(
            lambda request: request.path.endswith(together) and "/batch/" in request.path, answer=Answer(400, {"message": "no"})
        )
    )
    refused = f"/{quote('a' + ADA, safe='@')}/unsubscribe-all"
    crm.standing_faults.append(
        Fault(lambda request: request.path.endswith(refused), answer=refusal(f"a{ADA} cannot be opted out"))
    )
    people = [contact(email, unsubscribeAll=True, unsubscribeFrom=[NEWS]) for email in (ADA, f"a{ADA}", BOB)]
    entries = await hubspot.deliver(people)
    assert [entry.code for entry in entries] == [None, "FIELD_NOT_SENT", None]
    assert crm.account.out_of_all == {ADA, BOB}
    assert crm.account.statuses[BOB, NEWS] == "UNSUBSCRIBED"


async def test_an_address_with_signs_that_a_url_does_not_take_opts_out_too(crm, hubspot):
    crm.scopes.discard(SCOPES["statuses"])
    odd = "ada+news%41/#1@example.com"
    assert (await deliver(hubspot, odd, unsubscribeAll=True)).code is None
    assert crm.account.out_of_all == {odd.lower()}


def test_nobody_is_opted_in_unless_the_mapping_says_so():
    ids = Shape(Kind.SMALL, is_list=True)
    assert member_writer(ids, HUBSPOT.members["subscribeTo"], subscribe=False)([NEWS]) is None
    assert member_writer(ids, HUBSPOT.members["subscribeTo"], subscribe=True)([NEWS]) == [NEWS]
    for subscribe in (False, True):
        assert member_writer(Shape(Kind.BOOLEAN), HUBSPOT.members["unsubscribeAll"], subscribe=subscribe)(False) is None
    with pytest.raises(UnsendableError, match="CONSENT_WITH_NOTICE"):
        member_writer(Shape(Kind.TEXT), HUBSPOT.members["legalBasis"], subscribe=False)("because")


async def test_a_subscription_that_is_not_there_is_told_of_those_that_name_it(crm, hubspot):
    entries = await hubspot.deliver([contact(ADA, unsubscribeFrom=[GONE]), contact(BOB, unsubscribeFrom=[NEWS])])
    assert [(entry.verdict, entry.code) for entry in entries] == [
        (Verdict.DELIVERED, "FIELD_NOT_SENT"),
        (Verdict.DELIVERED, None),
    ]
    assert "Subscription 99 does not exist" in entries[0].reason


async def test_a_list_is_one_request_for_all_of_a_batch_whether_they_join_or_leave(crm, hubspot):
    crm.account.lists[7] = {"101"}
    await deliver(hubspot, ADA)
    entries = await hubspot.deliver([contact(ADA, unlinkListIds=[7], listIds=[8]), contact(BOB, listIds=[7, 8])])
    assert [entry.code for entry in entries] == [None, None]
    assert crm.account.lists == {7: {"102"}, 8: {"101", "102"}}
    assert sorted(asked(crm)[2:]) == [("PUT", f"/crm/v3/lists/{number}/memberships/add-and-remove") for number in (7, 8)]


async def test_a_list_that_is_not_there_is_told_and_the_others_are_joined(crm, hubspot):
    outcome = await deliver(hubspot, listIds=[GONE, 8])
    assert (outcome.verdict, outcome.code, outcome.remote_id) == (Verdict.DELIVERED, "FIELD_NOT_SENT", "101")
    assert "HubSpot has no list 99: create a static list there, or correct the row (404, " in outcome.reason
    assert crm.account.lists[8] == {"101"}


async def test_a_list_that_hubspot_fills_itself_is_told(crm, hubspot):
    crm.account.dynamic_lists = {7}
    outcome = await deliver(hubspot, listIds=[7])
    assert outcome.reason.startswith("HubSpot does not change who is on list 7: name a static list in the row, ")
    assert "List 7 is not MANUAL or SNAPSHOT." in outcome.reason


async def test_a_record_that_hubspot_did_not_put_on_the_list_is_told(crm, hubspot):
    missing = {"recordsIdsAdded": ["101"], "recordIdsRemoved": [], "recordIdsMissing": ["102"]}
    crm.next_faults.append(Fault(lambda call: "/memberships/" in call.path, answer=Answer(200, missing, {})))
    entries = await hubspot.deliver([contact(ADA, listIds=[7]), contact(BOB, listIds=[7])])
    assert [entry.code for entry in entries] == [None, "FIELD_NOT_SENT"]
    assert entries[1].reason == "HubSpot did not add the contact to list 7"


async def test_in_a_version_with_a_date_the_requests_have_that_date():
    path = "/crm/objects/2026-09/contacts"
    async with HubSpotSandbox(token=TOKEN, path=path) as crm, client(crm.url, path=path) as hubspot:
        crm.scopes |= {*SCOPES.values()}
        crm.account.lists = {8: set()}
        entry = await deliver(hubspot, unsubscribeAll=True, listIds=[8])
    assert entry.code is None
    assert [path for _, path in asked(crm)[1:]] == [
        "/communication-preferences/2026-09/statuses/batch/unsubscribe-all",
        "/crm/lists/2026-09/8/memberships/add-and-remove",
    ]


@pytest.mark.parametrize(("fields", "scope"), [({"listIds": [7]}, "list"), ({"unsubscribeAll": True}, "status")])
async def test_a_missing_scope_is_named_and_nobody_counts_as_delivered(crm, hubspot, fields, scope):
    crm.scopes -= {SCOPES[scope], SCOPES["statuses"]}
    entry = await deliver(hubspot, **fields)
    assert isinstance(entry, RefusedError)
    assert SCOPES[scope] in entry.reason


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_one_of_whom_it_is_not_known_whether_it_is_out_comes_again(crm, hubspot, status):
    crm.next_faults.append(Fault(lambda call: "unsubscribe-all" in call.path, answer=Answer(status, None, {})))
    entries = await hubspot.deliver([contact(ADA, unsubscribeAll=True), contact(BOB)])
    assert isinstance(entries[0], LaneError)
    assert entries[1].verdict is Verdict.DELIVERED
    assert (await deliver(hubspot, ADA, unsubscribeAll=True)).code is None
    assert crm.account.out_of_all == {ADA}
