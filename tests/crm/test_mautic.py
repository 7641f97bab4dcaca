"""Our Mautic client against the fake Mautic, and against prepared answers: the outcomes of contacts."""

import asyncio
import base64
import math
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from crm_sync.core.outcome import Contact, Outcome, Verdict
from crm_sync.crm import token_login
from crm_sync.crm.http import Http
from crm_sync.crm.limiter import UNLIMITED
from crm_sync.crm.mautic import client as module
from crm_sync.crm.mautic import lookup
from crm_sync.crm.mautic.client import DEFAULT_FIELDS, Mautic, account
from crm_sync.crm.mautic.login import PasswordLogin, TokenLogin
from crm_sync.errors import (
    BatchRefusedError,
    ConfigurationError,
    OutageError,
    RefusedError,
    StatusRefusedError,
    ThrottledError,
)
from crm_sync.sandbox.mautic.sandbox import MauticSandbox
from crm_sync.sandbox.server import Answer, Fault, Hold

USER, PASSWORD = "crm-sync", "pass/word-0123456789"
CLIENT, SECRET = "7_client", "secret/0123456789"
SEARCH, EDIT, NEW = ("GET", "/api/contacts"), ("PATCH", "/api/contacts/batch/edit"), ("POST", "/api/contacts/batch/new")
TOKEN = ("POST", "/oauth/v2/token")
CHECK = ("GET", "/api/contacts?limit=1&minimal=1")
VERSIONS = ["4.4.13", "5.1.1"]  # the former merges what shares an identifier, the latter refuses it
NOBODY = {"total": "0", "contacts": []}


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def crm(clock):
    options = {"username": USER, "password": PASSWORD, "client_id": CLIENT, "client_secret": SECRET}
    async with MauticSandbox(clock=clock, **options) as sandbox:
        yield sandbox


@pytest.fixture
async def mautic(crm):
    async with client(crm.url) as opened:
        yield opened


@pytest.fixture
async def by_token(crm):
    async with client(crm.url, TokenLogin, CLIENT, SECRET) as opened:
        yield opened


@pytest.fixture
async def alone(prepared):
    """Only the client: it is answered as the test says."""
    async with client(prepared.base_url) as opened:
        yield opened


@asynccontextmanager
async def client(url, login=PasswordLogin, name=USER, key=PASSWORD):
    async with Http(url, {}) as http:
        yield Mautic(login(http, name, key))


def contact(email="ada@example.com", remote_id=None, **fields):
    return Contact(id=1, token=1, attempts=1, remote_id=remote_id, email=email, flipped_at=None, fields=fields)


async def deliver(mautic, *args, **fields):
    [entry] = await mautic.deliver([contact(*args, **fields)])
    return entry


def verdicts(entries):
    return [(entry.verdict, entry.code, entry.remote_id) for entry in entries]


DELIVERED, REJECTED, FAILED = Verdict.DELIVERED, Verdict.REJECTED, Verdict.FAILED


def answers(crm, status, body=None, route=None, **headers):
    """The next request, or the next of this route, gets this answer, and takes no effect."""
    crm.next_faults.append(Fault(lambda call: route in (None, (call.method, call.path)), answer=Answer(status, body, headers)))


def search(*emails):
    """The request that searches for these."""
    where = "where%5B0%5D%5Bcol%5D=email&where%5B0%5D%5Bexpr%5D=in&where%5B0%5D%5Bval%5D="
    return ("GET", f"/api/contacts?{where}{','.join(emails)}&limit=50&minimal=1")


def asked(crm):
    return [(request.method, request.path) for request in crm.requests]


def bodies(crm, route):
    return [request.body for request in crm.requests if (request.method, request.path) == route]


def held(crm):
    """The existing records, by id: address and first name."""
    return {one.id: (one.values["email"], one.values["firstname"]) for one in crm.contacts.values()}


def there(crm, email, **values):
    """A record created by somebody else; created twice, there are two."""
    return crm.account.create({"email": email, **values}).id


# What it did not store.


async def test_a_zero_that_mautic_keeps_out_is_told_at_a_new_contact_and_at_an_edit(crm, mautic):
    told = "Mautic did not store zipcode: it takes 0 and false for empty"
    assert await deliver(mautic, zipcode=7) == Outcome.delivered("1")
    assert await deliver(mautic, zipcode=0) == Outcome.delivered("1", "FIELD_NOT_SENT", told, {"zipcode"})
    assert crm.contacts[1].values["zipcode"] == "7"
    assert await deliver(mautic, "bob@example.com", zipcode=0) == Outcome.delivered("2", "FIELD_NOT_SENT", told, {"zipcode"})


async def test_a_field_that_mautic_does_not_have_is_told_and_the_others_are_delivered(crm, mautic):
    people = [contact("a@example.com", Firstname="Ada", city="London"), contact("b@example.com", firstname="Bob")]
    entries = await mautic.deliver(people)
    told = "Mautic has no field Firstname (but firstname): create it there, or correct the mapping"
    assert entries == [Outcome.delivered("1", "FIELD_NOT_SENT", told, {"Firstname"}), Outcome.delivered("2")]
    assert crm.contacts[1].values["city"] == "London"


# New and known contacts.


async def test_new_contacts_are_one_search_and_one_request(crm, mautic):
    people = [contact(f"p{number}@example.com", firstname=f"P{number}") for number in range(25)]
    assert await mautic.deliver(people) == [Outcome.delivered(str(number)) for number in range(1, 26)]
    assert asked(crm) == [SEARCH, NEW]
    assert held(crm)[25] == ("p24@example.com", "P24")


async def test_a_contact_that_is_there_is_edited_by_the_id_that_was_found(crm, mautic):
    there(crm, "ada@example.com", firstname="Ada", lastname="Byron")
    assert await deliver(mautic, lastname="Lovelace") == Outcome.delivered("1")
    assert asked(crm) == [SEARCH, EDIT]
    assert bodies(crm, EDIT) == [[{"id": 1, "lastname": "Lovelace"}]]
    assert (crm.contacts[1].values["firstname"], crm.contacts[1].values["lastname"]) == ("Ada", "Lovelace")


async def test_known_and_new_contacts_of_one_call_keep_their_order(crm, mautic):
    there(crm, "bob@example.com")
    people = [contact("ada@example.com"), contact("bob@example.com", firstname="Bob"), contact("cy@example.com")]
    assert await mautic.deliver(people) == [Outcome.delivered("2"), Outcome.delivered("1"), Outcome.delivered("3")]
    assert held(crm) == {1: ("bob@example.com", "Bob"), 2: ("ada@example.com", None), 3: ("cy@example.com", None)}


async def test_a_contact_known_by_its_id_keeps_it_when_its_address_changes(crm, mautic):
    there(crm, "ada@example.com", firstname="Ada")
    assert await deliver(mautic, "lovelace@example.com", "1", lastname="Lovelace") == Outcome.delivered("1")
    assert bodies(crm, EDIT) == [[{"id": 1, "email": "lovelace@example.com", "lastname": "Lovelace"}]]
    assert held(crm) == {1: ("lovelace@example.com", "Ada")}


async def test_a_contact_deleted_in_mautic_is_made_anew_in_the_same_call(crm, mautic):
    assert await deliver(mautic, "ada@example.com", "41", firstname="Ada") == Outcome.delivered("1")
    assert asked(crm) == [SEARCH, EDIT, NEW]
    assert held(crm) == {1: ("ada@example.com", "Ada")}


async def test_a_contact_deleted_in_mautic_and_made_anew_there_is_found_by_its_address(crm, mautic):
    there(crm, "ada@example.com")
    assert await deliver(mautic, "ada@example.com", "41", firstname="Ada") == Outcome.delivered("1")
    assert held(crm) == {1: ("ada@example.com", "Ada")}


async def test_a_record_deleted_between_the_look_and_the_edit_is_made_anew(crm, mautic):
    record = there(crm, "ada@example.com")
    hold = Hold()
    crm.next_faults.append(Fault(lambda call: call.method == "PATCH", hold=hold))
    delivery = asyncio.create_task(deliver(mautic, firstname="Ada"))
    await hold.reached.wait()
    crm.account.delete(crm.contacts[record])
    hold.release()
    assert await delivery == Outcome.delivered("2")


@pytest.mark.parametrize("remote_id", ["", "0", "rubbish", "-1", "1e3", "9" * 30])
async def test_what_is_no_id_of_mautics_is_none(crm, mautic, remote_id):
    assert await deliver(mautic, "ada@example.com", remote_id) == Outcome.delivered("1")
    assert asked(crm) == [SEARCH, NEW]


async def test_the_spelling_of_an_address_makes_no_second_record(crm, mautic):
    there(crm, "Ada@Example.com")
    assert await deliver(mautic, "  ADA@example.com\t") == Outcome.delivered("1")
    assert len(crm.contacts) == 1


@pytest.mark.parametrize("email", ["o'brien+crm@example.com", "50%25@example.com", "?q#f&g=h@example.com", "a{|}~`^@example.com"])
async def test_an_address_with_letters_that_mean_something_in_a_url_is_looked_up_as_it_is(crm, mautic, email):
    there(crm, email)
    assert await deliver(mautic, email) == Outcome.delivered("1")
    assert asked(crm) == [SEARCH, EDIT]


async def test_what_is_empty_is_not_sent_and_stays_as_it_is_there(crm, mautic):
    there(crm, "ada@example.com", firstname="Ada", lastname="Lovelace", phone="+33639980001")
    await deliver(mautic, "ada@example.com", "1", firstname=None, lastname="", phone=" \t", city="London")
    assert bodies(crm, EDIT) == [[{"id": 1, "city": "London"}]]
    assert held(crm) == {1: ("ada@example.com", "Ada")}


async def test_a_list_is_sent_as_it_is(crm, mautic):
    crm.account.fields["interests"] = "multiselect"
    await deliver(mautic, interests=["sailing", "chess"])
    assert crm.contacts[1].values["interests"] == "sailing|chess"


async def test_a_mapping_that_names_the_id_or_the_address_changes_neither(crm, mautic):
    there(crm, "ada@example.com")
    there(crm, "bob@example.com")
    await mautic.deliver([contact("ada@example.com", "1")._replace(fields={"id": 2, "email": "bob@example.com"})])
    assert len(crm.contacts) == 2
    assert bodies(crm, EDIT) == [[{"id": 1}]]


async def test_nothing_is_ever_put(crm, mautic):
    there(crm, "ada@example.com")
    await mautic.deliver([contact("ada@example.com", "1"), contact("bob@example.com", "77"), contact("cy@example.com")])
    assert {method for method, _ in asked(crm)} == {"GET", "PATCH", "POST"}


# What would need a guess.


async def test_an_address_that_several_records_have_is_rejected_with_their_ids(crm, mautic):
    there(crm, "ada@example.com", firstname="Old")
    there(crm, "ada@example.com", firstname="New")
    entry = await deliver(mautic, firstname="Ada")
    assert verdicts([entry]) == [(REJECTED, "AMBIGUOUS", None)]
    assert entry.reason == "email: several records of Mautic have this address: 1, 2"
    assert held(crm) == {1: ("ada@example.com", "Old"), 2: ("ada@example.com", "New")}


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_new_address_that_another_record_has_is_rejected_and_nothing_is_merged(crm, mautic, version):
    crm.account.version = version
    there(crm, "ada@example.com", firstname="Ada")
    there(crm, "bob@example.com", firstname="Bob")
    entry = await deliver(mautic, "ada@example.com", "2", firstname="Robert")
    assert verdicts([entry]) == [(REJECTED, "DUPLICATE", None)]
    assert entry.reason == "email: record 1 of Mautic has this address, this contact is record 2"
    assert held(crm) == {1: ("ada@example.com", "Ada"), 2: ("bob@example.com", "Bob")}
    assert asked(crm) == [SEARCH, SEARCH]


@pytest.mark.parametrize("version", VERSIONS)
async def test_of_several_records_with_its_address_none_is_written_and_nothing_is_merged(crm, mautic, version):
    """4.x would merge them whatever is changed, 5.x would refuse it."""
    crm.account.version = version
    there(crm, "ada@example.com", firstname="Old")
    there(crm, "ada@example.com", firstname="New")
    entry, other = await mautic.deliver([contact("ada@example.com", "1", firstname="Ada"), contact("bob@example.com")])
    assert (verdicts([entry]), other) == ([(REJECTED, "DUPLICATE", None)], Outcome.delivered("3"))
    assert held(crm) == {
        1: ("ada@example.com", "Old"),
        2: ("ada@example.com", "New"),
        3: ("bob@example.com", None),
    }


async def test_a_mautic_that_does_not_say_its_version_is_taken_for_one_that_merges(crm, mautic):
    crm.account.version = "4.4.13"
    crm.standing_faults.append(Fault(mangles=lambda answer: Answer(answer.status, answer.body)))
    for _ in range(2):
        there(crm, "ada@example.com")
    entry = await deliver(mautic, "ada@example.com", "2")
    assert entry == Outcome.rejected("DUPLICATE", "email: record 1 of Mautic has this address, this contact is record 2")
    assert len(crm.contacts) == 2


async def test_a_new_address_that_leaves_the_one_of_several_records_is_written(crm, mautic):
    crm.account.version = "4.4.13"
    for name in ("Old", "New"):
        there(crm, "ada@example.com", firstname=name)
    assert await deliver(mautic, "cy@example.com", "1") == Outcome.delivered("1")
    assert held(crm) == {1: ("cy@example.com", "Old"), 2: ("ada@example.com", "New")}


async def test_a_deleted_contact_whose_address_several_records_have_is_rejected(crm, mautic):
    there(crm, "ada@example.com")
    there(crm, "ada@example.com")
    assert verdicts([await deliver(mautic, "ada@example.com", "41")]) == [(REJECTED, "AMBIGUOUS", None)]


@pytest.mark.parametrize(("email", "victim"), [("josé@example.com", "jos@example.com"), ("a/b@example.com", "ab@example.com")])
async def test_an_address_that_mautic_would_make_somebody_elses_is_not_sent(crm, mautic, email, victim):
    there(crm, victim, firstname="Victim")
    entry, other = await mautic.deliver([contact(email, firstname="Me"), contact("cy@example.com")])
    assert verdicts([entry]) == [(REJECTED, "INVALID_EMAIL", None)]
    assert "email: Mautic would remove characters from this address" in entry.reason
    assert other == Outcome.delivered("2")
    assert held(crm)[1] == (victim, "Victim")


async def test_only_unholdable_addresses_ask_nothing(crm, mautic):
    await deliver(mautic, "josé@example.com", "1")
    assert asked(crm) == []


async def test_two_contacts_with_one_id_are_two_records_and_the_one_whose_address_it_has_keeps_it(crm, mautic):
    there(crm, "bob@example.com")
    people = [contact("ada@example.com", "1", firstname="Ada"), contact("bob@example.com", "1", firstname="Bob")]
    assert await mautic.deliver(people) == [Outcome.delivered("2"), Outcome.delivered("1")]
    assert held(crm) == {1: ("bob@example.com", "Bob"), 2: ("ada@example.com", "Ada")}


async def test_of_two_contacts_with_one_id_and_new_addresses_the_first_keeps_it(crm, mautic):
    there(crm, "old@example.com")
    people = [contact("ada@example.com", "1", firstname="Ada"), contact("bob@example.com", "1", firstname="Bob")]
    assert await mautic.deliver(people) == [Outcome.delivered("1"), Outcome.delivered("2")]
    assert held(crm) == {1: ("ada@example.com", "Ada"), 2: ("bob@example.com", "Bob")}


async def test_of_two_contacts_with_one_id_the_other_is_delivered_to_the_record_with_its_own_address(crm, mautic):
    there(crm, "ada@example.com")
    there(crm, "bob@example.com")
    people = [contact("ada@example.com", "1"), contact("bob@example.com", "1", firstname="Bob")]
    assert await mautic.deliver(people) == [Outcome.delivered("1"), Outcome.delivered("2")]
    assert held(crm)[2] == ("bob@example.com", "Bob")


async def test_an_address_of_another_record_is_a_duplicate_though_its_own_record_is_written_for_another_contact(crm, mautic):
    there(crm, "ada@example.com")
    there(crm, "bob@example.com")
    entry, other = await mautic.deliver([contact("bob@example.com", "1"), contact("ada@example.com", firstname="Ada")])
    assert (verdicts([entry]), other) == ([(REJECTED, "DUPLICATE", None)], Outcome.delivered("1"))
    assert held(crm) == {1: ("ada@example.com", "Ada"), 2: ("bob@example.com", None)}


@pytest.mark.parametrize("remote_id", [None, "2"])
async def test_a_contact_that_gets_an_address_which_another_is_just_leaving_comes_again(crm, mautic, remote_id):
    there(crm, "shared@example.com", firstname="Ada")
    there(crm, "bob@example.com", firstname="Bob")
    people = [contact("shared@example.com", remote_id, firstname="Robert"), contact("ada@example.com", "1")]
    first = await mautic.deliver(people)
    assert verdicts(first) == [(FAILED, "LOCKED", None), (DELIVERED, None, "1")]
    assert held(crm) == {1: ("ada@example.com", "Ada"), 2: ("bob@example.com", "Bob")}
    again = await mautic.deliver(people)
    assert verdicts(again) == [(DELIVERED, None, remote_id or "3"), (DELIVERED, None, "1")]


async def test_so_many_records_that_they_do_not_fit_one_answer_are_not_half_read(crm, mautic, monkeypatch):
    monkeypatch.setattr(lookup, "PAGE", 3)
    for _ in range(3):
        there(crm, "ada@example.com")
    with pytest.raises(BatchRefusedError, match="AMBIGUOUS: email: 3 records of Mautic or more") as caught:
        await mautic.deliver([contact("ada@example.com"), contact("bob@example.com")])
    assert not caught.value.retried


async def test_a_search_that_is_not_heeded_is_not_believed(crm, mautic, monkeypatch):
    monkeypatch.setattr(lookup, "PAGE", 3)
    for name in ("x", "y", "z"):
        there(crm, f"{name}@example.com")
    answers(crm, 200, {"total": "3", "contacts": crm.table("contacts")}, SEARCH)
    with pytest.raises(OutageError, match="BROKEN_ANSWER"):
        await deliver(mautic, "ada@example.com")
    assert len(crm.contacts) == 3


# What an answer says about each.


async def test_an_item_that_is_refused_is_rejected_with_its_words_and_the_others_are_delivered(crm, mautic):
    crm.account.fields["score"] = "number"
    people = [contact("a@example.com"), contact("b@example.com", score="high"), contact("c@example.com")]
    entries = await mautic.deliver(people)
    assert verdicts(entries) == [(DELIVERED, None, "1"), (REJECTED, "REJECTED", None), (DELIVERED, None, "2")]
    assert entries[1].reason == "Mautic refused the contact (400 in an answer of 201: score: This value is not valid.)"


async def test_a_batch_of_failures_is_a_201_too(crm, mautic):
    crm.account.fields["score"] = "number"
    entries = await mautic.deliver([contact("a@example.com", score="x"), contact("b@example.com", score="y")])
    assert verdicts(entries) == [(REJECTED, "REJECTED", None)] * 2


async def test_an_edit_that_failed_is_none_though_its_record_is_in_the_answer(crm, mautic):
    crm.account.fields["score"] = "number"
    there(crm, "a@example.com")
    assert verdicts([await deliver(mautic, "a@example.com", "1", score="high")]) == [(REJECTED, "REJECTED", None)]


async def test_an_address_taken_meanwhile_is_a_duplicate_where_mautic_says_so(crm, mautic):
    there(crm, "bob@example.com")
    hold = Hold()
    crm.next_faults.append(Fault(lambda call: call.method == "PATCH", hold=hold))
    delivery = asyncio.create_task(deliver(mautic, "ada@example.com", "1"))
    await hold.reached.wait()
    there(crm, "ada@example.com")
    hold.release()
    entry = await delivery
    assert verdicts([entry]) == [(REJECTED, "DUPLICATE", None)]
    assert "the same email (422 in an answer of 200: email: This field must be unique.)" in entry.reason


def item(record, email):
    return {"id": record, "fields": {"all": {"email": email}}}


A, B, C = item(7, "a@example.com"), item("8", "B@example.com"), item(9, "c@example.com")
LATE = {"message": "late", "code": 500, "type": "api"}


@pytest.mark.parametrize(
    "body",
    [
        {"contacts": [A, B, C], "statusCodes": [201, 200, 201]},
        {"contacts": {"0": A, "1": B, "2": C}, "statusCodes": {"0": 201, "1": 200, "2": 201}},
        {"contacts": [A, B, C], "statusCodes": ["201", "200", "201"], "errors": []},
        {"contacts": [A, B, C], "statusCodes": [201, 200, 201], "errors": None},
        {"contacts": [{"id": 7}, {"id": 8, "fields": None}, {"id": 9, "fields": {"all": []}}], "statusCodes": [201, 200, 201]},
    ],
)
async def test_lists_come_as_lists_or_as_objects(prepared, alone, body):
    prepared.answer(search("a@example.com", "b@example.com", "c@example.com"), 200, NOBODY)
    prepared.answer(NEW, 201, body)
    entries = await alone.deliver([contact(f"{name}@example.com") for name in "abc"])
    assert entries == [Outcome.delivered("7"), Outcome.delivered("8"), Outcome.delivered("9")]


@pytest.mark.parametrize(
    "body",
    [
        {"contacts": {"0": A, "2": C}, "statusCodes": [201, 500, 201], "errors": {"1": LATE}},
        {"contacts": {"0": A, "2": C}, "statusCodes": {"0": 201, "2": 201}, "errors": {"1": LATE}},
        {"contacts": {"0": A, "2": C}, "statusCodes": [201, 500, 201], "errors": [None, LATE]},
    ],
)
async def test_gaps_leave_everybody_where_they_were(prepared, alone, body):
    prepared.answer(search("a@example.com", "b@example.com", "c@example.com"), 200, NOBODY)
    prepared.answer(NEW, 201, body)
    entries = await alone.deliver([contact(f"{name}@example.com") for name in "abc"])
    assert verdicts(entries) == [(DELIVERED, None, "7"), (FAILED, "CRM_ERROR", None), (DELIVERED, None, "9")]
    assert entries[1].reason == "Mautic failed with this contact (500 in an answer of 201: late)"


@pytest.mark.parametrize(
    "body",
    [
        {"contacts": [], "statusCodes": [201]},
        {"contacts": {}, "statusCodes": {"0": 201}},
        {"contacts": [A], "statusCodes": []},
        {"contacts": [A], "statusCodes": [None]},
        {"contacts": [A], "statusCodes": ["created"]},
        {"contacts": [None], "statusCodes": [201]},
        {"contacts": [{"id": None}], "statusCodes": [201]},
        {"contacts": [{"id": True}], "statusCodes": [201]},
        {"contacts": "a", "statusCodes": [201], "errors": "b"},
        {"contacts": [B], "statusCodes": [201]},
    ],
)
async def test_a_contact_that_the_answer_does_not_account_for_is_not_delivered(prepared, alone, body):
    prepared.answer(search("a@example.com"), 200, NOBODY)
    prepared.answer(NEW, 201, body)
    assert verdicts([await deliver(alone, "a@example.com")]) == [(FAILED, "NOT_ACCOUNTED", None)]


@pytest.mark.parametrize(
    "body", [None, b"", b"no JSON", b"[]", {}, {"contacts": [A]}, {"errors": [{"message": "No", "code": 400}]}]
)
async def test_an_answer_that_makes_no_sense_is_an_outage(prepared, alone, body):
    prepared.answer(search("a@example.com"), 200, NOBODY)
    prepared.answer(NEW, 201, body)
    entry = await deliver(alone, "a@example.com")
    assert (type(entry), entry.code) == (OutageError, "BROKEN_ANSWER")


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"no JSON",
        {},
        {"total": "1"},
        {"contacts": None},
        {"contacts": [1]},
        {"contacts": [{"id": "x"}]},
        {"contacts": [{"id": 1}]},
    ],
)
async def test_a_search_that_makes_no_sense_is_an_outage_and_nothing_is_written(prepared, alone, body):
    prepared.answer(search("a@example.com"), 200, body)
    with pytest.raises(OutageError, match="BROKEN_ANSWER"):
        await deliver(alone, "a@example.com")


@pytest.mark.parametrize("contacts", [{}, []])
async def test_nobody_found_is_an_empty_object_or_an_empty_list(crm, mautic, contacts):
    answers(crm, 200, {"total": "0", "contacts": contacts}, SEARCH)
    assert await deliver(mautic) == Outcome.delivered("1")


@pytest.mark.parametrize(
    "fields",
    [
        {"all": {"email": "ada@example.com"}},
        {"core": {"email": {"value": "Ada@Example.com"}}},
        {"core": [], "personal": {"email": {"value": "ada@example.com"}}, "all": {"id": 7}},
    ],
)
async def test_an_address_is_found_flat_or_in_its_group(crm, mautic, fields):
    there(crm, "ada@example.com")
    answers(crm, 200, {"total": "1", "contacts": {"1": {"id": 1, "fields": fields}}}, SEARCH)
    assert await deliver(mautic) == Outcome.delivered("1")


async def test_a_user_who_may_edit_no_contact_is_a_refusal_of_everybody_with_one_reason(crm, mautic):
    crm.account.denied_ids = {there(crm, "a@example.com"), there(crm, "b@example.com")}
    first, second, new = await mautic.deliver([contact(f"{name}@example.com") for name in "abc"])
    assert first is second is new
    assert (type(first), first.code) == (StatusRefusedError, "REFUSED")
    assert "may not edit contacts (403" in first.reason
    assert "may edit other contacts, but not this one (403" in first.blamed
    assert first.operation.served_at == -math.inf, "that one is denied says nothing about others"
    assert there(crm, "d@example.com") == 3
    assert await deliver(mautic, "d@example.com") == Outcome.delivered("3")
    assert first.operation.served_at > 0


async def test_a_contact_that_is_somebody_elses_is_rejected_where_the_user_may_edit_others(crm, mautic):
    crm.account.denied_ids = {there(crm, "a@example.com")}
    there(crm, "b@example.com")
    entries = await mautic.deliver([contact("a@example.com"), contact("b@example.com")])
    assert verdicts(entries) == [(REJECTED, "REJECTED", None), (DELIVERED, None, "2")]
    assert "may edit other contacts, but not this one (403" in entries[0].reason


async def test_a_user_who_may_not_create_refuses_only_what_is_new(crm, mautic):
    crm.may_create = False
    there(crm, "a@example.com")
    known, new = await mautic.deliver([contact("a@example.com"), contact("b@example.com")])
    assert known == Outcome.delivered("1")
    assert (type(new), new.code) == (RefusedError, "REFUSED")
    assert "You do not have access" in new.reason


# Limits.


async def test_a_limit_below_our_batch_is_learnt_from_the_500_and_remembered(crm, mautic):
    crm.batch_limit = 10
    people = [contact(f"p{number}@example.com") for number in range(25)]
    assert await mautic.deliver(people) == [Outcome.delivered(str(number)) for number in range(1, 26)]
    assert [len(body) for body in bodies(crm, NEW)] == [25, 10, 10, 5]
    crm.requests.clear()
    assert await mautic.deliver(people) == [Outcome.delivered(str(number)) for number in range(1, 26)]
    assert [len(body) for body in bodies(crm, EDIT)] == [10, 10, 5]


@pytest.mark.parametrize(
    "text", ["A max of zero entities are supported at a time.", "Maximal 10 Elemente.", "A max of 900 entities"]
)
async def test_a_limit_that_cannot_be_read_halves_the_batch(prepared, alone, text):
    prepared.answer(search("a@example.com", "b@example.com"), 200, NOBODY)
    prepared.answer(NEW, 500, {"errors": [{"code": 500, "message": text, "details": [], "type": None}]})
    first, second = await alone.deliver([contact("a@example.com"), contact("b@example.com")])
    assert first is second
    assert (type(first), first.code, first.retried) == (BatchRefusedError, "CRM_ERROR", True)


async def test_a_crash_is_an_outage_and_teaches_no_limit(crm, mautic):
    crm.next_faults.append(Fault(lambda call: call.method == "POST", answer=crm.crashed()))
    first, second = await mautic.deliver([contact("a@example.com"), contact("b@example.com")])
    assert first is second
    assert (type(first), first.code) == (OutageError, "CRM_ERROR")
    assert "error #500" in first.reason
    await mautic.deliver([contact("a@example.com"), contact("b@example.com")])
    assert [len(body) for body in bodies(crm, NEW)] == [2, 2]


async def test_a_request_refused_as_a_whole_is_left_to_the_lane_to_halve(crm, mautic):
    there(crm, "a@example.com")
    crm.refuse("b@example.com")
    known, bad, good = await mautic.deliver([contact("a@example.com"), contact("b@example.com"), contact("c@example.com")])
    assert known == Outcome.delivered("1")
    assert bad is good
    assert (type(bad), bad.code, bad.retried) == (BatchRefusedError, "REJECTED", False)
    assert "This is a bad request." in bad.reason


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 406, 413, 414, 421, 451])
@pytest.mark.parametrize("body", [b"<html>Not <i>acceptable</i>: ada@example.com</html>", None, {"message": "Forbidden"}])
async def test_a_refusal_in_words_that_are_not_mautics_is_by_status_alone(prepared, alone, status, body):
    prepared.answer(search("ada@example.com"), status, body)
    with pytest.raises(StatusRefusedError, match=rf"{status}.*check MAUTIC_BASE_URL") as caught:
        await deliver(alone)
    assert caught.value.said.startswith(f"{status}: ")
    assert "ada" not in caught.value.reason


async def test_a_search_that_mautic_itself_refuses_is_halved_and_tried_again(prepared, alone):
    refusal = {"errors": [{"code": 400, "message": "Bad request: ada@example.com", "details": [], "type": None}]}
    prepared.answer(search("ada@example.com"), 400, refusal)
    with pytest.raises(BatchRefusedError, match=r"the search was refused \(400: Bad request: \*\*\*\)") as caught:
        await deliver(alone)
    assert caught.value.retried


async def test_a_token_refused_in_words_that_are_not_mautics_is_no_contacts(crm, by_token):
    answers(crm, 403, b"<html>Blocked</html>", TOKEN)
    with pytest.raises(RefusedError, match=r"403: Blocked.*check MAUTIC_BASE_URL") as caught:
        await deliver(by_token)
    assert type(caught.value) is RefusedError


async def test_an_answer_to_a_search_that_makes_no_sense_is_quoted_by_how_it_begins(prepared, alone):
    notice = b'<br /><b>Deprecated</b>: strlen() of ada@example.com {"total": "0", "contacts": {}}'
    prepared.answer(search("ada@example.com"), 200, notice)
    with pytest.raises(OutageError, match=r"without saying what it found: Deprecated : strlen\(\) of \*\*\* \{"):
        await deliver(alone)


async def test_what_was_delivered_before_an_outage_is_not_lost(crm, mautic):
    there(crm, "a@example.com")
    answers(crm, 502, b"<html>Bad gateway</html>", NEW)
    known, new = await mautic.deliver([contact("a@example.com"), contact("b@example.com")])
    assert known == Outcome.delivered("1")
    assert isinstance(new, OutageError)


async def test_an_outage_ends_the_call(crm, mautic):
    there(crm, "a@example.com")
    answers(crm, 503, b"", EDIT)
    first, second = await mautic.deliver([contact("a@example.com"), contact("b@example.com")])
    assert first is second
    assert asked(crm) == [SEARCH, EDIT]


async def test_a_chunk_that_fails_does_not_lose_those_before(crm, mautic):
    crm.batch_limit = 1
    crm.next_faults.append(Fault(lambda call: "p1@" in str(call.body) and len(call.body) == 1, answer=Answer(502)))
    entries = await mautic.deliver([contact(f"p{number}@example.com") for number in range(3)])
    assert entries[0] == Outcome.delivered("1")
    assert entries[1] is entries[2]
    assert isinstance(entries[1], OutageError)


@pytest.mark.parametrize("first", ["ada@bücher.example", "ada@xn--bcher-kva.example"])
@pytest.mark.parametrize("second", ["Ada@Bücher.example", "ADA@XN--BCHER-KVA.EXAMPLE"])
async def test_a_domain_in_letters_of_its_own_is_sent_as_dns_has_it_and_found_again(crm, mautic, first, second):
    assert await deliver(mautic, first) == Outcome.delivered("1")
    assert crm.contacts[1].values["email"] == "ada@xn--bcher-kva.example"
    assert await deliver(mautic, second) == Outcome.delivered("1")
    assert await deliver(mautic, second, "1") == Outcome.delivered("1")
    assert await mautic.find([second]) == ["1"]
    assert await deliver(mautic, "ada@उदाहरण.example", "1") == Outcome.delivered("1")
    assert crm.contacts[1].values["email"] == "ada@xn--p1b6ci4b4b3a.example"
    assert len(crm.contacts) == 1


async def test_a_lost_answer_is_an_outage_and_sending_again_makes_no_second_record(crm, mautic):
    # The first on the search's connection, so it is sent once more.
    crm.next_faults += [Fault(lambda call: call.method == "POST", applies=True, drop=True)] * 2
    assert isinstance(await deliver(mautic), OutageError)
    assert await deliver(mautic) == Outcome.delivered("1")
    assert len(crm.contacts) == 1


async def test_too_many_requests_pause_until_the_hour_is_over(clock):
    async with (
        MauticSandbox(username=USER, password=PASSWORD, requests_per_hour=2, clock=clock) as crm,
        client(crm.url) as mautic,
    ):
        assert await deliver(mautic, "a@example.com") == Outcome.delivered("1")
        clock.now_s += 3000
        with pytest.raises(ThrottledError, match="You exceeded the rate limit of 2 API calls per hour") as caught:
            await deliver(mautic, "b@example.com")
        assert caught.value.pause_s == pytest.approx(600, abs=5)


@pytest.mark.parametrize(
    "headers", [{}, {"X-RateLimit-Reset": "17"}, {"X-RateLimit-Reset": "soon"}, {"X-RateLimit-Reset": "nan"}]
)
async def test_a_429_that_says_no_end_pauses_for_the_usual_time(prepared, alone, headers):
    prepared.answer(search("ada@example.com"), 429, {"errors": [{"code": 429, "message": "slow", "details": []}]}, **headers)
    with pytest.raises(ThrottledError, match="slow") as caught:
        await deliver(alone)
    assert caught.value.pause_s == 10


async def test_a_retry_after_counts_first(prepared, alone):
    prepared.answer(search("ada@example.com"), 429, None, **{"Retry-After": "7", "X-RateLimit-Reset": "99999999999"})
    with pytest.raises(ThrottledError) as caught:
        await deliver(alone)
    assert caught.value.pause_s == 7


# Refusals of all contacts.


async def test_a_wrong_password_is_refused_with_a_word_on_hosts_that_strip_it(crm):
    async with client(crm.url, key="wrong-password") as mautic:
        with pytest.raises(RefusedError, match=r"REFUSED: .*401: Authorization denied, invalid credentials.*strip") as caught:
            await deliver(mautic)
        assert "wrong-password" not in caught.value.reason


async def test_a_host_that_strips_the_header_asks_for_no_second_token(crm, by_token):
    crm.logins.strips_header = True
    with pytest.raises(RefusedError, match="API authorization denied"):
        await deliver(by_token)
    assert asked(crm) == [TOKEN, SEARCH]


@pytest.mark.parametrize(("switch", "words"), [("api_enabled", "API disabled"), ("basic_enabled", "Basic Auth disabled")])
async def test_what_is_turned_off_is_named(crm, mautic, switch, words):
    setattr(crm.logins, switch, False)
    with pytest.raises(RefusedError, match=f"API_DISABLED: .*403: {words}"):
        await deliver(mautic)


async def test_a_disabled_api_is_named_where_a_token_is_asked_for(crm, by_token):
    crm.logins.api_enabled = False
    with pytest.raises(RefusedError, match="API_DISABLED"):
        await by_token.check()


async def test_a_wrong_base_url_is_refused_by_the_name_of_its_setting(crm):
    async with client(f"{crm.url}/api") as mautic:
        with pytest.raises(RefusedError, match=r"NOT_FOUND: .*404.* check MAUTIC_BASE_URL, .* without /api"):
            await deliver(mautic)


@pytest.mark.parametrize(
    "page", [b"<!DOCTYPE html><title>ada@example.com</title>", b"\xef\xbb\xbf\n<HTML lang=en>ada@example.com"]
)
async def test_a_page_is_not_mautics_api_and_is_not_quoted(prepared, alone, page):
    prepared.answer(search("ada@example.com"), 200, page)
    with pytest.raises(RefusedError, match=r"NOT_FOUND: .*MAUTIC_BASE_URL") as caught:
        await deliver(alone)
    assert "ada" not in caught.value.reason


async def test_a_redirect_is_not_followed(crm, mautic):
    answers(crm, 302, None, Location="/s/login")
    with pytest.raises(RefusedError, match="REDIRECTED"):
        await deliver(mautic)


async def test_an_outage_quotes_neither_the_person_nor_the_key(prepared, alone):
    header = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    prepared.answer(search("ada@example.com"), 200, NOBODY)
    prepared.answer(NEW, 500, {"errors": [{"message": f"Ada ada@example.com {PASSWORD} {header}", "code": 500, "type": None}]})
    entry = await deliver(alone, firstname="Ada")
    assert "(500: *** *** *** ***)" in entry.reason


# Tokens.


async def test_a_token_is_asked_for_once_and_used_for_all(crm, by_token):
    await deliver(by_token, "a@example.com")
    await deliver(by_token, "b@example.com")
    assert asked(crm) == [TOKEN, SEARCH, NEW, SEARCH, NEW]


async def test_deliveries_at_a_time_share_one_token(crm, by_token):
    await asyncio.gather(deliver(by_token, "a@example.com"), deliver(by_token, "b@example.com"))
    assert asked(crm).count(TOKEN) == 1
    crm.logins.revoke()
    entries = await asyncio.gather(deliver(by_token, "a@example.com"), deliver(by_token, "b@example.com"))
    assert {entry.verdict for entry in entries} == {DELIVERED}
    assert asked(crm).count(TOKEN) == 2


async def test_a_token_that_mautic_does_not_take_any_more_is_renewed_once(crm, by_token):
    await by_token.check()
    crm.logins.revoke()
    assert await deliver(by_token) == Outcome.delivered("1")
    assert asked(crm) == [TOKEN, SEARCH, SEARCH, TOKEN, SEARCH, NEW]


async def test_a_token_that_ended_is_renewed(crm, by_token, clock):
    await by_token.check()
    clock.now_s += 3600
    assert await deliver(by_token) == Outcome.delivered("1")


@pytest.mark.parametrize(
    ("life_s", "good_until_s"),
    [(3600, 3540), ("3600", 3540), (100, 50), (0, 0), (None, math.inf), ("long", math.inf), (-5, math.inf), ("nan", math.inf)],
)
async def test_a_token_is_renewed_before_it_ends(crm, by_token, life_s, good_until_s, monkeypatch):
    now_s = 1000.0
    monkeypatch.setattr(token_login, "time", SimpleNamespace(monotonic=lambda: now_s))
    token = crm.logins.grant(crm.clock())
    answers(crm, 200, {"access_token": token, "expires_in": life_s, "token_type": "bearer"}, TOKEN)
    await by_token.check()
    now_s += min(good_until_s, 1e6) - 1
    await by_token.check()
    assert asked(crm).count(TOKEN) == 1
    now_s += 1
    await by_token.check()
    assert asked(crm).count(TOKEN) == (1 if good_until_s == math.inf else 2)


async def test_a_new_token_that_is_refused_too_is_a_refusal(crm, by_token):
    crm.logins.token_life_s = 0
    with pytest.raises(RefusedError, match=r"REFUSED: .*401: The access token provided has expired"):
        await deliver(by_token)
    assert asked(crm) == [TOKEN, SEARCH, TOKEN, SEARCH]


async def test_a_wrong_client_is_refused_by_the_name_of_its_settings(crm):
    async with client(crm.url, TokenLogin, CLIENT, "wrong-secret") as mautic:
        with pytest.raises(
            RefusedError, match=r"REFUSED: .*400: The client credentials are invalid.*MAUTIC_CLIENT_SECRET"
        ) as caught:
            await deliver(mautic)
        assert "wrong-secret" not in caught.value.reason


@pytest.mark.parametrize("body", [b"", {}, {"access_token": None}, {"access_token": 7}, b"[]"])
async def test_an_answer_without_a_token_is_an_outage(crm, by_token, body):
    answers(crm, 200, body, TOKEN)
    with pytest.raises(OutageError, match="BROKEN_ANSWER"):
        await deliver(by_token)


async def test_a_token_is_hidden_where_an_answer_quotes_it(crm, by_token):
    await by_token.check()
    [token] = crm.logins.tokens
    answers(crm, 500, {"errors": [{"message": f"Bearer {token} {SECRET}", "code": 500, "type": None}]})
    with pytest.raises(OutageError, match=r"\(500: Bearer \*\*\* \*\*\*\)"):
        await deliver(by_token)


# Check.


async def test_the_check_names_the_version_and_changes_nothing(crm, mautic, by_token):
    assert await mautic.check() == await by_token.check() == "credentials accepted by Mautic 5.1.1"
    assert crm.requests[0].query == {"limit": "1", "minimal": "1"}
    assert crm.contacts == {}


async def test_a_check_without_a_version_succeeds_too(prepared, alone):
    prepared.answer(CHECK, 200, {"total": "0", "contacts": {}})
    assert await alone.check() == "credentials accepted"


async def test_a_check_that_is_answered_with_anything_else_fails(prepared, alone):
    prepared.answer(CHECK, 200, {"hello": "world"})
    with pytest.raises(OutageError, match="BROKEN_ANSWER"):
        await alone.check()


# Settings.

BASE = {"MAUTIC_BASE_URL": "https://mautic.example"}
BY_PASSWORD = {"MAUTIC_USERNAME": "u", "MAUTIC_PASSWORD": "top secret"}
BY_TOKEN = {"MAUTIC_CLIENT_ID": "c", "MAUTIC_CLIENT_SECRET": "top secret"}


@pytest.fixture
def environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # no .env here
    for name in (*BASE, *BY_PASSWORD, *BY_TOKEN):
        monkeypatch.delenv(name, raising=False)
    return lambda values: [monkeypatch.setenv(*pair) for pair in values.items()]


def test_without_a_base_url_there_is_no_account_and_with_a_login_it_is_missed(environment):
    assert account() is None
    environment(BY_PASSWORD)
    with pytest.raises(ConfigurationError, match=r"^MAUTIC_BASE_URL: not set, but MAUTIC_PASSWORD, MAUTIC_USERNAME are: "):
        account()


@pytest.mark.parametrize("way", [BY_PASSWORD, BY_TOKEN])
def test_either_way_to_log_in_makes_an_account(environment, way):
    environment(BASE | way)
    assert account().default_fields == DEFAULT_FIELDS


@pytest.mark.parametrize(("way", "login"), [(BY_PASSWORD, PasswordLogin), (BY_TOKEN, TokenLogin)])
async def test_an_account_opens_a_client_that_logs_in_that_way(environment, way, login):
    environment(BASE | way)
    async with account().open(UNLIMITED) as opened:
        assert isinstance(opened, Mautic)
        assert isinstance(opened._login, login)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "MAUTIC_USERNAME, MAUTIC_PASSWORD, MAUTIC_CLIENT_ID, MAUTIC_CLIENT_SECRET: none is set"),
        (BY_PASSWORD | BY_TOKEN, "MAUTIC_CLIENT_SECRET: contradict each other"),
        (BY_PASSWORD | {"MAUTIC_CLIENT_ID": "c"}, "MAUTIC_CLIENT_SECRET: contradict each other"),
        ({"MAUTIC_USERNAME": "u"}, "^MAUTIC_PASSWORD: not set"),
        ({"MAUTIC_PASSWORD": "top secret"}, "^MAUTIC_USERNAME: not set"),
        ({"MAUTIC_CLIENT_ID": "c"}, "^MAUTIC_CLIENT_SECRET: not set"),
        ({"MAUTIC_CLIENT_SECRET": "top secret"}, "^MAUTIC_CLIENT_ID: not set"),
        (BY_PASSWORD | {"MAUTIC_BASE_URL": "http://mautic.example"}, "^MAUTIC_BASE_URL: expected https"),
    ],
)
def test_settings_that_are_half_there_or_contradict_are_named_without_their_values(environment, values, problem):
    environment(BASE | values)
    with pytest.raises(ConfigurationError, match=problem) as caught:
        account()
    assert "top secret" not in str(caught.value)


def test_its_limits_are_those_of_an_installation():
    assert (Mautic.batch_limit, Mautic.concurrency, module.TIMEOUT_S) == (25, 8, 60)
