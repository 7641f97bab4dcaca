"""Contacts without an address at Mautic: known by the unique identifier in MAUTIC_MATCH, or by the id in their row."""

from contextlib import asynccontextmanager

import pytest

from crm_sync.core import clearing
from crm_sync.core.codes import Code
from crm_sync.core.mode import Mode
from crm_sync.core.outcome import Contact, Outcome, Verdict
from crm_sync.crm.client import Record, problem_of
from crm_sync.crm.http import Http
from crm_sync.crm.mautic.client import Mautic
from crm_sync.crm.mautic.login import PasswordLogin
from crm_sync.sandbox.mautic.sandbox import MauticSandbox

ANA, BEN = "ana@example.com", "ben@example.com"
DELIVERED, REJECTED, FAILED = Verdict.DELIVERED, Verdict.REJECTED, Verdict.FAILED
SEARCH, EDIT, NEW = ("GET", "/api/contacts"), ("PATCH", "/api/contacts/batch/edit"), ("POST", "/api/contacts/batch/new")


def contact(app_id, remote_id=None, email=None, **fields):
    return Contact(f"{app_id} {email}", 1, 1, remote_id, email, None, {"app_id": app_id, **fields})


@asynccontextmanager
async def opened(match="app_id", **options):
    async with MauticSandbox(username="user", password="password") as crm, Http(crm.url, {}) as http:
        crm.account.fields["app_id"] = "text"
        crm.account.identifiers.add("app_id")
        yield crm, Mautic(PasswordLogin(http, "user", "password"), match=match, **options)


@pytest.fixture(params=["4.4.13", "5.1.1"], autouse=True)
def version(request, monkeypatch):
    """4.x merges two records where an edit gives one the identifier of the other, 5.x refuses that."""
    made = MauticSandbox.__init__

    def init(self, **options):
        made(self, **options)
        self.account.version = request.param

    monkeypatch.setattr(MauticSandbox, "__init__", init)


def asked(crm):
    """The requests since the last look."""
    found = [(request.method, request.path) for request in crm.requests]
    columns = [request.query["where[0][col]"] for request in crm.requests if request.method == "GET"]
    crm.requests.clear()
    return found, columns


def held(crm, *names):
    return {one.id: tuple(one.values[name] for name in ("email", "app_id", *names)) for one in crm.contacts.values()}


async def test_it_is_created_found_again_by_its_value_and_then_changed_by_its_id():
    async with opened() as (crm, client):
        assert await client.deliver([contact("X-7", firstname="Ana")]) == [Outcome.delivered("1")]
        assert asked(crm) == ([SEARCH, NEW], ["app_id"])
        assert await client.deliver([contact("x-7", firstname="Anna")]) == [Outcome.delivered("1")]
        assert asked(crm) == ([SEARCH, EDIT], ["app_id"])
        assert await client.deliver([contact("X-8", "1", firstname="Anne")]) == [Outcome.delivered("1")]
        assert held(crm, "firstname") == {1: (None, "X-8", "Anne")}


async def test_in_a_batch_with_others_each_is_found_by_what_it_has():
    async with opened() as (crm, client):
        crm.account.create({"app_id": "8"})
        crm.account.create({"email": BEN})
        people = [
            contact("7"),
            contact("8", firstname="Cleo"),
            contact(None, email=BEN, firstname="Ben"),
            contact("9", email=ANA),
        ]
        assert [entry.remote_id for entry in await client.deliver(people)] == ["3", "1", "2", "4"]
        assert asked(crm) == ([SEARCH, SEARCH, EDIT, NEW], ["app_id", "email"])
        assert held(crm, "firstname") == {
            1: (None, "8", "Cleo"),
            2: (BEN, None, "Ben"),
            3: (None, "7", None),
            4: (ANA, "9", None),
        }


async def test_an_address_that_the_row_has_lost_stays_at_mautic_and_one_that_it_gets_is_written():
    async with opened() as (crm, client):
        await client.deliver([contact("7", email=ANA)])
        sent = clearing.sent(1, {"phone": None}, (), {"phone": 1}, "1")
        lost = contact("7", "1", firstname="Anna", phone=None)._replace(sent=sent)
        asked(crm)
        assert await client.deliver([lost]) == [Outcome.delivered("1")]
        [body] = [request.body for request in crm.requests if request.method == "PATCH"]
        assert body == [{"id": 1, "app_id": "7", "firstname": "Anna", "phone": None, "overwriteWithBlank": True}]
        assert held(crm, "firstname") == {1: (ANA, "7", "Anna")}
        assert await client.deliver([contact("7", email=None, firstname="Ana")]) == [Outcome.delivered("1")]
        assert await client.deliver([contact("7", "1", email=BEN)]) == [Outcome.delivered("1")]
        assert held(crm, "firstname") == {1: (BEN, "7", "Ana")}


@pytest.mark.parametrize("remote_id", [None, "4711"])
async def test_where_its_id_is_gone_its_value_finds_it_and_else_it_is_created(remote_id):
    async with opened() as (crm, client):
        crm.account.create({"app_id": "7"})
        entries = await client.deliver([contact("7", remote_id), contact("8", remote_id and "4712")])
        assert [entry.remote_id for entry in entries] == ["1", "2"]
        assert held(crm) == {1: (None, "7"), 2: (None, "8")}


async def test_a_value_that_several_records_have_is_ambiguous():
    async with opened() as (crm, client):
        for _ in range(2):
            crm.account.create({"app_id": "7"})
        twice, well = await client.deliver([contact("7"), contact("8")])
        assert twice == Outcome.rejected(Code.AMBIGUOUS, "app_id: several records of Mautic have this value: 1, 2")
        assert well == Outcome.delivered("3")


async def test_of_several_records_with_its_value_none_is_written_and_nothing_is_merged():
    async with opened() as (crm, client):
        for _ in range(2):
            crm.account.create({"app_id": "7"})
        [entry] = await client.deliver([contact("7", "1", firstname="Ana")])
        assert (entry.verdict, entry.code) == (REJECTED, Code.DUPLICATE)
        assert held(crm, "firstname") == {1: (None, "7", None), 2: (None, "7", None)}


async def test_where_mautic_wants_all_identifiers_its_own_of_several_records_is_written():
    async with opened() as (crm, client):
        crm.account.matches_all = True
        for address in (ANA, BEN):
            crm.account.create({"email": address, "app_id": "7"})
        [entry] = await client.deliver([contact("7", "1", firstname="Ana")])
        if crm.account.merges_taken:  # it does not say what it wants
            assert (entry.verdict, entry.code) == (REJECTED, Code.DUPLICATE)
        else:
            assert entry == Outcome.delivered("1", left=frozenset({"app_id"}))
            assert held(crm, "firstname") == {1: (ANA, "7", "Ana"), 2: (BEN, "7", None)}
        assert len(crm.contacts) == 2


async def test_a_value_that_another_record_has_is_a_duplicate_and_merges_nothing():
    async with opened() as (crm, client):
        crm.account.create({"app_id": "6"})
        crm.account.create({"app_id": "7"})
        [entry] = await client.deliver([contact("7", "1")])
        assert entry == Outcome.rejected(Code.DUPLICATE, "app_id: record 2 of Mautic has this value, this contact is record 1")
        assert held(crm) == {1: (None, "6"), 2: (None, "7")}


@pytest.mark.parametrize("order", [1, -1])
async def test_two_of_one_request_that_find_the_same_record_are_written_one_after_the_other(order):
    async with opened() as (crm, client):
        crm.account.create({"email": ANA, "app_id": "7"})
        people = [contact("7", firstname="Ana"), contact(None, email=ANA, firstname="Anna")][::order]
        first, second = await client.deliver(people)
        assert first == Outcome.delivered("1")
        assert (second.verdict, second.code) == (FAILED, Code.LOCKED)
        assert await client.deliver(people[1:]) == [Outcome.delivered("1")]
        assert len(crm.contacts) == 1


async def test_a_mautic_that_wants_all_identifiers_is_served_the_same():
    async with opened() as (crm, client):
        crm.account.matches_all = True
        crm.account.create({"email": ANA, "app_id": "7"})
        entries = await client.deliver([contact("7"), contact("8")])
        assert entries == [Outcome.delivered("1"), Outcome.delivered("2")]


@pytest.mark.parametrize(
    ("mode", "there", "missing"),
    [
        (Mode.UPDATE, (DELIVERED, None), (REJECTED, Code.NOT_THERE)),
        (Mode.CREATE, (DELIVERED, Code.ALREADY_THERE), (DELIVERED, None)),
    ],
)
@pytest.mark.parametrize("remote_id", [None, "4711"])
async def test_modes_hold_for_it_too(mode, there, missing, remote_id):
    async with opened(mode=mode) as (crm, client):
        crm.account.create({"app_id": "7", "firstname": "Ana"})
        entries = await client.deliver([contact("7", remote_id, firstname="Eve")])
        entries += await client.deliver([contact("8")])
        assert [(entry.verdict, entry.code) for entry in entries] == [there, missing]
        assert entries[0].remote_id == "1"
        assert crm.contacts[1].values["firstname"] == ("Eve" if mode is Mode.UPDATE else "Ana")


# The id in the row.


@pytest.mark.parametrize("match", ["email", "app_id"])
async def test_without_a_value_it_is_changed_by_its_id_which_needs_no_search(match):
    async with opened(match=match) as (crm, client):
        crm.account.create({"email": ANA})
        assert problem_of(client, contact(None, "1")) is None
        assert await client.deliver([contact(None, "1", firstname="Ana")]) == [Outcome.delivered("1")]
        assert asked(crm) == ([EDIT], [])
        assert held(crm, "firstname") == {1: (ANA, None, "Ana")}


@pytest.mark.parametrize(
    ("mode", "code"), [(Mode.UPSERT, Code.INVALID_EMAIL), (Mode.UPDATE, Code.NOT_THERE), (Mode.CREATE, Code.ALREADY_THERE)]
)
async def test_where_its_id_is_gone_nothing_says_who_it_is_and_nobody_is_created(mode, code):
    async with opened(mode=mode) as (crm, client):
        entry, other = await client.deliver([contact(None, "4711"), contact("7")])
        assert entry.code == code
        if mode is Mode.UPSERT:
            assert entry.reason.startswith(
                "the contact has no email address, and Mautic has no record 4711: add one to the row, or"
            )
        assert (other.verdict is DELIVERED, len(crm.contacts)) == (mode is not Mode.UPDATE,) * 2


@pytest.mark.parametrize("address", [ANA, BEN])
@pytest.mark.parametrize("value", [None, "7"])
async def test_with_another_row_of_the_same_record_it_comes_after_the_one_that_has_an_address(value, address):
    async with opened() as (crm, client):
        crm.account.create({"email": ANA, "app_id": value})
        without, having = contact(value, "1", firstname="Ana"), contact(value, "1", email=address)
        second, first = await client.deliver([without, having])
        assert (second.code, first) == (Code.LOCKED, Outcome.delivered("1"))
        assert await client.deliver([without]) == [Outcome.delivered("1")]
        assert held(crm, "firstname") == {1: (address, value, "Ana")}


async def test_a_field_is_set_by_its_id_only_where_mautic_has_none():
    async with opened() as (crm, client):
        client.if_empty = {"phone"}
        crm.account.create({"phone": "1"})
        [entry] = await client.deliver([contact(None, "1", phone="2", firstname="Ana")])
        assert (entry.left, crm.contacts[1].values["phone"]) == ({"phone"}, "1")
        assert asked(crm) == ([SEARCH, EDIT], ["id"])
        there, missing = client.assumptions(contact(None, "1", phone="2"))
        assert there.words == "if record 1 of Mautic has a value of phone"
        assert missing.words == "if record 1 of Mautic has no value of phone"
        client.if_empty = ()
        assert client.assumptions(contact(None, "1", phone="2")) == ()


@pytest.mark.parametrize("remote_id", ["", "x7", "0", "7.0"])
async def test_what_is_no_id_of_mautic_says_nothing(remote_id):
    async with opened() as (_, client):
        assert client.key(contact(None, remote_id)) is None


# Values by which Mautic would know another, or nobody.


@pytest.mark.parametrize("value", ["josé", "a&b", "<7>", "7\x01"])
async def test_a_value_that_mautic_would_take_for_anothers_is_not_sent(value):
    async with opened() as (crm, client):
        entry, other = await client.deliver([contact(value, "1"), contact("8")])
        assert (entry.verdict, entry.code) == (REJECTED, Code.INVALID_EMAIL)
        assert "its app_id has accents, which Mautic ignores, or characters that Mautic changes" in entry.reason
        assert value.lower() not in [request.query.get("where[0][val]") for request in crm.requests]
        assert other == Outcome.delivered("1")


@pytest.mark.parametrize("email", [None, ANA])
async def test_a_record_whose_value_differs_only_in_accents_is_not_taken(email):
    async with opened() as (crm, client):
        crm.account.create({"app_id": "José"})
        [entry] = await client.deliver([contact("jose", email=email, firstname="Joe")])
        assert (entry.verdict, entry.code) == (REJECTED, Code.AMBIGUOUS)
        assert entry.reason == "app_id: a record of Mautic has a value that differs only in accents, which Mautic ignores"
        assert held(crm, "firstname") == {1: (None, "José", None)}


@pytest.mark.parametrize("value", [None, "", " ", 0, "0", "0.5", False, ["7"] * 0])
async def test_what_mautic_takes_for_empty_identifies_nobody_and_the_reason_says_what_to_do(value):
    async with opened() as (_, client):
        assert client.key(contact(value)) is None
        assert problem_of(client, contact(value)) == (
            "the contact has no email address: add one to the row, or a value of app_id, by which Mautic knows a contact (not 0, "
            "which it takes for empty), and queue it again"
        )
        assert problem_of(client, contact(value, email=ANA)) is None


async def test_without_a_field_to_match_by_the_reason_names_the_setting():
    async with opened(match="email") as (_, client):
        assert problem_of(client, contact("7")) == (
            "the contact has no email address: add one to the row, or set MAUTIC_MATCH to a unique identifier of Mautic that the "
            "mapping sends, and queue it again"
        )


async def test_a_value_that_mautic_stores_in_a_form_of_its_own_is_told_and_makes_one_record_only():
    async with opened(match="number") as (crm, client):
        crm.account.fields["number"] = "number"
        crm.account.identifiers.add("number")
        for _ in range(2):
            [entry] = await client.deliver([contact(None, number="007")])
            assert (entry.verdict, entry.code) == (FAILED, Code.NOT_ACCOUNTED)
            assert entry.reason.endswith("send number in the form in which Mautic stores it")
        assert len(crm.contacts) == 1
        assert await client.deliver([contact(None, number=7)]) == [Outcome.delivered("1")]


def test_the_same_value_is_the_same_person_whatever_its_case_or_type():
    client = Mautic(None, match="app_id")
    assert client.key(contact("X-7")) == client.key(contact(" x-7 ", "5")) == "app_id x-7"
    assert client.key(contact(7)) == client.key(contact("7"))


# What else is done for contacts.


async def test_a_field_is_set_only_where_mautic_has_none_with_one_search():
    async with opened() as (crm, client):
        client.if_empty = {"phone"}
        crm.account.create({"app_id": "7", "phone": "1"})
        crm.account.create({"app_id": "8"})
        entries = await client.deliver([contact("7", phone="2"), contact("8", phone="2"), contact("9", phone="2")])
        assert held(crm, "phone") == {1: (None, "7", "1"), 2: (None, "8", "2"), 3: (None, "9", "2")}
        assert entries[0].left == {"phone"}
        assert asked(crm) == ([SEARCH, EDIT, NEW], ["app_id"])


async def test_tags_segments_and_consent_are_those_of_the_contact_and_need_no_address():
    closed = {"channel": "email", "reason": 3, "comments": ""}
    async with opened() as (crm, client):
        crm.account.segments[5] = set()
        [made] = await client.deliver([contact("7", tags=["vip"], segmentIds=[5], doNotContact=[closed])])
        assert made == Outcome.delivered("1")
        assert (crm.contacts[1].tags, crm.contacts[1].closed, crm.account.segments[5]) == ({"vip"}, {"email": 3}, {1})
        await client.deliver([contact("7", made.remote_id, tags=["-vip"], unlinkSegmentIds=[5])])
        assert (crm.contacts[1].tags, crm.contacts[1].closed, crm.account.segments[5]) == (set(), {"email": 3}, set())


async def test_it_is_read_by_its_id_or_else_by_its_value():
    async with opened() as (crm, client):
        for app_id in ("7", "8", "9", "9"):
            crm.account.create({"app_id": app_id, "firstname": f"N{app_id}"})
        people = [contact("7", "1"), contact("8", "4711"), contact("9", "4712"), contact("10", "4713")]
        by_id, by_value, several, missing = await client.read(people, ["firstname"])
        assert (by_id, by_value) == (Record(frozenset(), {"firstname": "N7"}), Record(frozenset(), {"firstname": "N8"}))
        assert (several.code, missing) == (Code.AMBIGUOUS, None)


async def test_a_preview_assumes_what_a_search_for_its_value_may_find():
    async with opened() as (_, client):
        there, missing = client.assumptions(contact("7", "5"))
        assert (there.words, missing.words) == (
            "if record 5 of Mautic has its app_id",
            "if no record of Mautic has its app_id",
        )
        assert there.answers[0].json["contacts"]["5"]["fields"]["all"] == {"email": None, "app_id": "7"}
        assert client.assumptions(contact("josé")) == ()
