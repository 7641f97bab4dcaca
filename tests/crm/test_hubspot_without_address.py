"""Contacts without an address at HubSpot: by HubSpot's id, or by the property of HUBSPOT_MATCH."""

from contextlib import asynccontextmanager

import pytest

from crm_sync.core.clearing import Sent
from crm_sync.core.codes import Code
from crm_sync.core.mode import Mode
from crm_sync.core.outcome import Outcome, Verdict
from crm_sync.crm.client import problem_of
from crm_sync.crm.hubspot.inputs import known_by_id
from crm_sync.errors import BatchRefusedError, LaneError, OutageError
from crm_sync.sandbox.hubspot.beside import SCOPES
from crm_sync.sandbox.hubspot.sandbox import HubSpotSandbox
from crm_sync.sandbox.server import Answer, Fault
from tests.crm.test_hubspot import TOKEN, UPDATE, UPSERT, client, contact, error

ANA, BEN = "ana@example.com", "ben@example.com"
NONE = [None, "", " \t"]
NEWS, OFFERS, BATH = 5, 6, 7


@asynccontextmanager
async def hubspot(match="app_id", **options):
    async with (
        HubSpotSandbox(token=TOKEN, requests_per_ten_seconds=None) as crm,
        client(crm.url, match=match, **options) as opened,
    ):
        crm.account.define("app_id", "string", is_unique=True)
        crm.scopes |= {*SCOPES.values()}
        crm.account.subscriptions = {NEWS, OFFERS}
        crm.account.lists = {BATH: set()}
        yield crm, opened


def nobody(remote_id=None, **fields):
    return contact(None, remote_id, **fields)


def requests(crm):
    """The operation of each, and what it names its contacts by."""
    found = []
    for request in crm.requests:
        inputs = (request.body or {}).get("inputs") or [{}]
        by = {item.get("idProperty") for item in inputs if isinstance(item, dict)} or {None}
        found.append((request.path.rpartition("/")[2], request.body.get("idProperty") or by.pop(), len(inputs)))
    return found


def held(crm):
    return {one.id: one.properties for one in crm.contacts.values()}


def codes(entries):
    return [(entry.verdict, entry.code) for entry in entries]


DELIVERED = (Verdict.DELIVERED, None)
ALREADY_THERE = (Verdict.DELIVERED, Code.ALREADY_THERE)
NOT_THERE = (Verdict.REJECTED, Code.NOT_THERE)


# By the property of HUBSPOT_MATCH.


@pytest.mark.parametrize("email", NONE)
async def test_it_is_made_and_found_again_by_the_property_and_no_address_is_sent(email):
    async with hubspot() as (crm, client):
        for lastname in ("Byron", "King"):
            [entry] = await client.deliver([contact(email, app_id="7", firstname="Ana", lastname=lastname)])
            assert entry == Outcome.delivered("101")
        assert held(crm) == {"101": {"app_id": "7", "firstname": "Ana", "lastname": "King"}}
        assert requests(crm) == [("upsert", "app_id", 1)] * 2


async def test_with_and_without_an_address_they_share_a_request_and_each_gets_its_own_id():
    async with hubspot() as (crm, client):
        batch = [
            contact(None if number % 2 else f"{number}@example.com", app_id=str(number), firstname=f"P{number}")
            for number in range(100)
        ]
        entries = await client.deliver(batch)
        assert requests(crm) == [("upsert", "app_id", 100)]
        assert [crm.contacts[entry.remote_id].properties["firstname"] for entry in entries] == [f"P{n}" for n in range(100)]


async def test_a_row_that_lost_its_address_does_not_take_it_from_hubspot():
    async with hubspot() as (crm, client):
        [made] = await client.deliver([contact(ANA, app_id="7", firstname="Ana")])
        for row in (nobody(app_id="7", firstname="Eva"), nobody(made.remote_id, firstname="Eve")):
            assert codes(await client.deliver([row])) == [DELIVERED]
        assert held(crm)["101"] == {"app_id": "7", "email": ANA, "firstname": "Eve"}


async def test_a_row_that_gets_an_address_gives_it_to_its_record():
    async with hubspot() as (crm, client):
        await client.deliver([nobody(app_id="7", firstname="Ana")])
        assert codes(await client.deliver([contact(ANA, app_id="7")])) == [DELIVERED]
        assert held(crm) == {"101": {"app_id": "7", "email": ANA, "firstname": "Ana"}}


async def test_of_a_batch_only_the_one_that_hubspot_refuses_is_rejected():
    """Without an address a new contact needs a name."""
    async with hubspot() as (crm, client):
        batch = [
            nobody(app_id="7", firstname="Ana"),
            nobody(app_id="8"),
            contact(BEN, app_id="9"),
            nobody(app_id="10", lastname="X"),
        ]
        entries = await client.deliver(batch)
        assert codes(entries) == [DELIVERED, (Verdict.REJECTED, Code.REJECTED), DELIVERED, DELIVERED]
        assert "At least one of email, firstname or lastname is needed" in entries[1].reason
        assert [crm.contacts[entries[n].remote_id].properties["app_id"] for n in (0, 2, 3)] == ["7", "9", "10"]


async def test_an_address_that_the_account_requires_holds_up_nobody_else():
    async with hubspot() as (crm, client):
        crm.account.required, crm.account.enforces = {"email"}, True
        entries = await client.deliver([nobody(app_id="7", firstname="Ana"), contact(BEN, app_id="8", firstname="Ben")])
        assert codes(entries) == [(Verdict.REJECTED, Code.REJECTED), DELIVERED]
        assert "A value for email must be provided" in entries[0].reason


async def test_values_that_differ_in_case_are_two_contacts_and_not_in_one_request():
    async with hubspot() as (crm, client):
        ids = {}
        rows = [nobody(app_id="aB", firstname="Ana"), nobody(app_id="Ab", firstname="Ben")]
        assert len({client.key(row) for row in rows}) == 2
        first, second = await client.deliver(rows)
        assert codes([first, second]) == [DELIVERED, (Verdict.FAILED, Code.LOCKED)]
        [second] = await client.deliver(rows[1:])
        ids = {first.remote_id: "Ana", second.remote_id: "Ben"}
        assert {record: values["firstname"] for record, values in held(crm).items()} == ids


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_beside_one_with_an_address_and_the_same_value_it_comes_again(order):
    async with hubspot() as (crm, client):
        rows = [contact(ANA, app_id="7"), nobody(app_id="7", firstname="Ana")]
        said = await client.deliver([rows[place] for place in order])
        assert {order[place]: one for place, one in enumerate(codes(said))} == {0: DELIVERED, 1: (Verdict.FAILED, Code.LOCKED)}
        assert codes(await client.deliver(rows[1:])) == [DELIVERED]
        assert held(crm) == {"101": {"app_id": "7", "email": ANA, "firstname": "Ana"}}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (error("Contact already exists. Existing ID: 42", "CONFLICT"), (Verdict.FAILED, Code.TOO_EARLY)),
        (
            error("Cannot set PropertyValueCoordinates{propertyName=app_id, value=7} on 42. 42 already has that value."),
            (Verdict.FAILED, Code.TOO_EARLY),
        ),
        (
            error("Cannot set PropertyValueCoordinates{propertyName=member_no, value=9} on 7. 42 already has that value."),
            (Verdict.REJECTED, Code.DUPLICATE),
        ),
    ],
)
async def test_a_conflict_is_about_the_property_that_is_sent(prepared, said, expected):
    said["context"]["objectWriteTraceId"] = ["0"]
    prepared.answer(UPSERT, 207, {"results": [], "errors": [said]})
    async with client(prepared.base_url, match="app_id") as alone:
        assert codes(await alone.deliver([nobody(app_id="7", member_no="9", firstname="Ana")])) == [expected]


async def test_the_only_one_in_an_answer_is_understood_though_hubspot_writes_its_value_otherwise(prepared):
    prepared.answer(UPSERT, 200, {"results": [{"id": "9", "properties": {"app_id": "7", "email": None}}]})
    async with client(prepared.base_url, match="app_id") as alone:
        assert await alone.deliver([nobody(app_id="7.0", firstname="Ana")]) == [Outcome.delivered("9")]


async def test_an_answer_for_none_of_them_is_settled_by_halves(prepared):
    prepared.answer(UPSERT, 200, {"results": []})
    async with client(prepared.base_url, match="app_id") as alone:
        entries = await alone.deliver([nobody(app_id="7"), nobody(app_id="8")])
    assert [(type(entry), entry.code, entry.retried) for entry in entries] == [(BatchRefusedError, Code.NOT_ACCOUNTED, True)] * 2


# By HubSpot's id.


async def test_by_hubspots_id_it_needs_no_property():
    async with hubspot("email") as (crm, client):
        made, other = await client.deliver([contact(ANA, firstname="Ana"), contact(BEN)])
        entries = await client.deliver([nobody(made.remote_id, firstname="Eva"), contact(BEN, other.remote_id)])
        assert codes(entries) == [DELIVERED] * 2
        assert requests(crm)[1:] == [("update", None, 2)]
        assert held(crm)[made.remote_id] == {"email": ANA, "firstname": "Eva"}


async def test_one_whose_record_is_gone_is_made_anew_by_the_property_or_told_what_to_do():
    async with hubspot() as (crm, client):
        made, lost = await client.deliver([nobody("777", app_id="7", firstname="Ana"), nobody("778", firstname="Ben")])
        assert made == Outcome.delivered("101")
        words = (
            "the contact has no email address, and HubSpot has no record 778 any more: "
            "add one or a value for app_id (HUBSPOT_MATCH) to the row, and queue it again"
        )
        assert lost == Outcome.rejected(Code.INVALID_EMAIL, words)
        assert requests(crm) == [("update", None, 2), ("upsert", "app_id", 1)]


@pytest.mark.parametrize("mode", [Mode.UPSERT, Mode.UPDATE])
async def test_one_whose_record_was_merged_is_found_by_the_property_or_comes_again(mode):
    async with hubspot(mode=mode) as (crm, client):
        for app_id in ("7", "8"):
            crm.account.apply(crm.account.plan(None, {"app_id": app_id, "firstname": "Ana"}, {}))
        crm.account.merge("102", into="101")
        found, lost = await client.deliver([nobody("102", app_id="7", firstname="Eva"), nobody("102", firstname="Eve")])
        assert codes([found, lost]) == [DELIVERED, (Verdict.FAILED, Code.LOCKED)]
        [lost] = await client.deliver([nobody("102", firstname="Eve")])
        assert (lost.verdict, lost.code) == (Verdict.FAILED, Code.NOT_ACCOUNTED)
        assert held(crm)["101"]["firstname"] == "Eva"


async def test_beside_one_with_an_address_and_the_same_record_it_comes_again_and_the_other_keeps_the_record():
    async with hubspot() as (crm, client):
        [made] = await client.deliver([contact(ANA)])
        rows = [nobody(made.remote_id, firstname="Ana"), contact(BEN, made.remote_id)]
        assert codes(await client.deliver(rows)) == [(Verdict.FAILED, Code.LOCKED), DELIVERED]
        assert held(crm) == {"101": {"email": BEN}}


@pytest.mark.parametrize(
    ("emails", "places"),
    [
        ((ANA, BEN), []),
        ((None, ANA), [1]),
        ((None, ANA, BEN), []),
        ((None, None), [0]),
        ((None, None, ANA), [2]),
    ],
)
def test_of_several_with_one_record_the_only_one_with_an_address_is_updated_by_it(emails, places):
    batch = [contact(email, "7") for email in emails]
    assert known_by_id([*batch, contact("cleo@example.com", "8")]) == [*places, len(batch)]


async def test_what_is_emptied_in_the_row_is_emptied_in_its_record():
    async with hubspot() as (crm, client):
        [made] = await client.deliver([nobody(app_id="7", firstname="Ana", city="Leeds")])
        emptied = Sent(3, 1, {"firstname": 1, "city": 2}, ("city",))
        row = nobody(made.remote_id, app_id="7", firstname="Ana", city=None)._replace(sent=emptied)
        assert codes(await client.deliver([row])) == [DELIVERED]
        assert held(crm)["101"] == {"app_id": "7", "firstname": "Ana", "city": ""}


# Who it is, and what is said of one that is nobody.


@pytest.mark.parametrize(
    ("match", "mode", "row", "key"),
    [
        ("app_id", Mode.UPSERT, nobody(app_id="7"), "app_id 7"),
        ("app_id", Mode.UPSERT, nobody("101", app_id=" 7 "), "app_id 7"),
        ("app_id", Mode.UPDATE, nobody("101", app_id=" "), "record 101"),
        ("app_id", Mode.CREATE, nobody("101", app_id=None), None),
        ("app_id", Mode.CREATE, nobody(app_id="7"), "app_id 7"),
        ("app_id", Mode.UPSERT, nobody(), None),
        ("app_id", Mode.UPSERT, nobody("no id of HubSpot's"), None),
        ("email", Mode.UPSERT, nobody("101"), "record 101"),
        ("email", Mode.UPSERT, nobody(app_id="7"), None),
    ],
)
async def test_its_key(match, mode, row, key):
    async with client("https://crm.example.com", match=match, mode=mode) as hubspot:
        assert hubspot.key(row) == key
        assert (problem_of(hubspot, row) is None) == (key is not None)


@pytest.mark.parametrize(
    ("match", "remedy"),
    [
        (
            "email",
            "add one to the row, and queue it again; HUBSPOT_MATCH sends contacts without one by a property of unique values",
        ),
        ("app_id", "add one or a value for app_id (HUBSPOT_MATCH) to the row, and queue it again"),
    ],
)
async def test_the_reason_says_what_to_do(match, remedy):
    async with client("https://crm.example.com", match=match) as hubspot:
        assert problem_of(hubspot, nobody()) == f"the contact has no email address: {remedy}"


# The other modes.


async def test_update_finds_it_by_the_property_and_makes_nobody():
    async with hubspot(mode=Mode.UPDATE) as (crm, client):
        crm.account.apply(crm.account.plan(None, {"app_id": "7", "firstname": "Ana"}, {}))
        entries = await client.deliver([nobody(app_id="7", firstname="Eva"), nobody(app_id="8", firstname="Ben"), nobody("777")])
        assert codes(entries) == [DELIVERED, NOT_THERE, NOT_THERE]
        assert held(crm) == {"101": {"app_id": "7", "firstname": "Eva"}}
        assert requests(crm) == [("update", None, 1), ("update", "app_id", 2)]


async def test_update_matches_those_with_an_address_by_the_property_too_and_else_by_the_address():
    async with hubspot(mode=Mode.UPDATE) as (crm, client):
        for values in ({"app_id": "7", "email": ANA}, {"email": BEN}):
            crm.account.apply(crm.account.plan(None, values, {}))
        rows = [contact("ana@new.example", app_id="7"), contact(BEN, app_id="8"), contact("cleo@example.com", app_id="9")]
        assert codes(await client.deliver(rows)) == [DELIVERED, DELIVERED, NOT_THERE]
        assert held(crm) == {"101": {"app_id": "7", "email": "ana@new.example"}, "102": {"app_id": "8", "email": BEN}}


@pytest.mark.parametrize("status", [400, 404])
async def test_update_understands_a_refusal_of_all_for_one_that_is_not_there(prepared, status):
    prepared.answer(UPDATE, status, error("gone", "OBJECT_NOT_FOUND", ids=["8"]))
    async with client(prepared.base_url, match="app_id", mode=Mode.UPDATE) as alone:
        there, gone = await alone.deliver([nobody(app_id="7"), nobody(app_id="8")])
    assert isinstance(there, BatchRefusedError)
    assert (gone.verdict, gone.code) == NOT_THERE


async def test_create_makes_it_once_and_leaves_it_as_it_is():
    async with hubspot(mode=Mode.CREATE) as (crm, client):
        [made] = await client.deliver([nobody(app_id="7", firstname="Ana")])
        entries = await client.deliver([nobody(app_id="7", firstname="Eva"), nobody(app_id="8", firstname="Ben"), contact(ANA)])
        assert codes(entries) == [ALREADY_THERE, DELIVERED, DELIVERED]
        assert entries[0].remote_id == made.remote_id
        assert [held(crm)[entry.remote_id].get("app_id") for entry in entries] == ["7", "8", None]
        assert codes(await client.deliver([nobody(app_id="7", firstname="Eva")])) == [ALREADY_THERE]
        assert held(crm)[made.remote_id]["firstname"] == "Ana"


async def test_create_knows_one_with_another_address_by_the_property():
    async with hubspot(mode=Mode.CREATE) as (_, client):
        await client.deliver([contact(ANA, app_id="7")])
        [entry] = await client.deliver([contact(BEN, app_id="7")])
        assert (entry.verdict, entry.code, entry.remote_id) == (*ALREADY_THERE, "101")


@pytest.mark.parametrize("mode", [Mode.UPSERT, Mode.CREATE])
async def test_an_answer_that_is_lost_makes_no_second_record(mode):
    async with hubspot(mode=mode) as (crm, client):
        crm.next_faults.append(Fault(applies=True, drop=True))
        [entry] = await client.deliver([nobody(app_id="7", firstname="Ana")])
        assert isinstance(entry, OutageError)
        [entry] = await client.deliver([nobody(app_id="7", firstname="Ana")])
        assert (entry.verdict, entry.remote_id) == (Verdict.DELIVERED, "101")
        assert len(crm.contacts) == 1


# What HubSpot keeps by address, and what by record.


async def test_it_is_put_on_lists_and_taken_off_them():
    async with hubspot() as (crm, client):
        [made] = await client.deliver([nobody(app_id="7", firstname="Ana", listIds=[BATH])])
        assert (made.code, crm.account.lists) == (None, {BATH: {"101"}})
        await client.deliver([nobody(made.remote_id, app_id="7", unlinkListIds=[BATH])])
        assert crm.account.lists == {BATH: set()}


async def test_it_is_opted_out_by_the_address_that_hubspot_has_and_opted_in_to_nothing():
    async with hubspot() as (crm, client):
        [made] = await client.deliver([contact(ANA, app_id="7")])
        lost = {"unsubscribeAll": True, "unsubscribeFrom": [NEWS], "subscribeTo": [OFFERS]}
        entries = await client.deliver([nobody(made.remote_id, app_id="7", **lost), contact(BEN, subscribeTo=[NEWS])])
        assert codes(entries) == [(Verdict.DELIVERED, Code.FIELD_NOT_SENT), DELIVERED]
        assert entries[0].reason == "subscribeTo not sent: HubSpot keeps subscriptions by address, and the contact has none"
        assert crm.account.out_of_all == {ANA}
        assert crm.account.statuses == {(ANA, NEWS): "UNSUBSCRIBED", (BEN, NEWS): "SUBSCRIBED"}


async def test_where_hubspot_has_no_address_either_the_row_says_so_and_its_fields_and_lists_are_written():
    async with hubspot() as (crm, client):
        [entry] = await client.deliver(
            [nobody(app_id="7", firstname="Ana", unsubscribeAll=True, unsubscribeFrom=[NEWS], listIds=[BATH])]
        )
        assert (entry.verdict, entry.code) == (Verdict.DELIVERED, Code.FIELD_NOT_SENT)
        words = "unsubscribeAll, unsubscribeFrom not sent: HubSpot keeps subscriptions by address, and the contact has none"
        assert entry.reason == words
        assert (crm.account.out_of_all, crm.account.statuses) == (set(), {})
        assert crm.account.lists == {BATH: {"101"}}


async def test_without_an_opt_out_nothing_is_looked_up():
    async with hubspot() as (crm, client):
        [entry] = await client.deliver([nobody(app_id="7", firstname="Ana", subscribeTo=[NEWS])])
        assert entry.code == Code.FIELD_NOT_SENT
        assert [operation for operation, *_ in requests(crm)] == ["upsert"]


async def test_if_the_look_for_its_address_fails_it_comes_again_and_the_others_do_not():
    async with hubspot() as (crm, client):
        crm.standing_faults.append(Fault(lambda call: call.path.endswith("/read"), answer=Answer(503)))
        rows = [nobody(app_id="7", firstname="Ana", unsubscribeAll=True), contact(BEN, unsubscribeAll=True)]
        lost, other = await client.deliver(rows)
        assert isinstance(lost, LaneError)
        assert codes([other]) == [DELIVERED]
        assert crm.account.out_of_all == {BEN}


# Reading and deleting.


async def test_it_is_read_by_its_id_or_else_by_the_property():
    async with hubspot() as (crm, client):
        await client.deliver([nobody(app_id="7", firstname="Ana"), contact(BEN, app_id="8", firstname="Ben")])
        rows = [nobody("101", app_id="7"), nobody("777", app_id="8"), nobody("777", app_id="9"), contact(BEN, "778", app_id="8")]
        found = await client.read(rows, ["email", "firstname"])
        assert [record and record.values["firstname"] for record in found] == ["Ana", "Ben", None, "Ben"]
        assert [record and record.addresses for record in found] == [set(), {BEN}, None, {BEN}]
        assert [by for _, by, _ in requests(crm)[1:]] == [None, "app_id"]
