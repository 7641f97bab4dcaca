"""set = "if_empty": a field is sent only where the CRM has no value. What is there stays, and is not ours."""

from contextlib import asynccontextmanager

import pytest

from crm_sync.core.clearing import sent
from crm_sync.core.codes import Code
from crm_sync.core.mode import Mode
from crm_sync.core.outcome import Contact, Verdict
from crm_sync.core.retry import RetryPolicy
from crm_sync.crm.brevo.client import Brevo
from crm_sync.crm.http import Http
from crm_sync.crm.mautic.client import Mautic
from crm_sync.crm.mautic.login import PasswordLogin
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.credentials import BREVO_KEY, MAUTIC_PASSWORD, MAUTIC_USERNAME
from crm_sync.sandbox.mautic.sandbox import MauticSandbox
from crm_sync.sandbox.server import Answer, Fault

ADA, BEN, CLEO = "ada@example.com", "ben@example.com", "cleo@example.com"
OURS, OF_SALES = "+33639980001", "+33639980009"
PHONE = {"brevo": "SMS", "mautic": "phone"}
NAME = {"brevo": "FIRSTNAME", "mautic": "firstname"}
MISSING = {"code": "document_not_found", "message": "Contact does not exist"}
SEARCH = f"/api/contacts?where%5B0%5D%5Bcol%5D=email&where%5B0%5D%5Bexpr%5D=in&where%5B0%5D%5Bval%5D={ADA}&limit=50"
POLICY = RetryPolicy(3, 60.0)


class Crm:
    """A sandbox, and a client that sends the phone number only where there is none."""

    def __init__(self, name, sandbox, client):
        self.name, self.sandbox, self.client = name, sandbox, client
        self.phone, self.first_name = PHONE[name], NAME[name]
        client.if_empty = {self.phone}

    def put(self, email, **fields):
        """By sales. The id of the record."""
        if self.name == "brevo":
            return str(self.sandbox.account.save({"email": email, "attributes": fields})[0].id)
        return str(self.sandbox.account.create({"email": email, **fields}).id)

    def type(self, record, **fields):
        """By sales, into a record that is there."""
        there = self.sandbox.contacts[int(record)]
        if self.name == "brevo":
            self.sandbox.account.update(there, {"attributes": fields})
        else:
            self.sandbox.account.edit(there, fields)

    def held(self, email):
        [there] = [self._values(one) for one in self.sandbox.contacts.values() if self._email(one) == email]
        return there.get(self.first_name), (there.get(self.phone) or "").lstrip("+") or None

    def _email(self, one):
        return one.email if self.name == "brevo" else one.values["email"]

    def _values(self, one):
        return one.attributes if self.name == "brevo" else one.values

    def contact(self, email, remote_id=None, phone=OURS, first_name="Ada", **fields):
        return Contact(email, 1, 1, remote_id, email, None, {self.first_name: first_name, self.phone: phone, **fields})

    async def deliver(self, *contacts):
        size = self.client.batch_limit
        entries = []
        for start in range(0, len(contacts), size):
            entries += await self.client.deliver(contacts[start : start + size])
        return entries

    @property
    def requests(self):
        return [request.method for request in self.sandbox.requests]


@asynccontextmanager
async def opened(name, mode=Mode.UPSERT, match="email"):
    if name == "brevo":
        sandbox = BrevoSandbox(contacts_per_second=None, contacts_per_hour=None)
        async with sandbox, Http(f"{sandbox.url}/v3", {"api-key": BREVO_KEY}) as http:
            yield Crm(name, sandbox, Brevo(http, mode=mode, match=match))
    else:
        async with MauticSandbox() as sandbox, Http(sandbox.url, {}) as http:
            sandbox.account.fields |= {"app_id": "text"}
            login = PasswordLogin(http, MAUTIC_USERNAME, MAUTIC_PASSWORD)
            yield Crm(name, sandbox, Mautic(login, mode, match=match))


@pytest.fixture(params=PHONE)
async def crm(request):
    async with opened(request.param) as made:
        yield made


def digits(text):
    return text.lstrip("+")


async def test_a_new_contact_gets_the_field(crm):
    [said] = await crm.deliver(crm.contact(ADA))
    assert (said.verdict, said.left, crm.held(ADA)) == (Verdict.DELIVERED, frozenset(), ("Ada", digits(OURS)))


@pytest.mark.parametrize("known", [True, False])
async def test_what_is_there_stays_and_other_fields_are_sent(crm, known):
    record = crm.put(ADA, **{crm.phone: OF_SALES})
    [said] = await crm.deliver(crm.contact(ADA, record if known else None))
    assert (said.verdict, said.code, said.remote_id) == (Verdict.DELIVERED, None, record)
    assert said.left == said.theirs == {crm.phone}
    assert crm.held(ADA) == ("Ada", digits(OF_SALES))


@pytest.mark.parametrize("known", [True, False])
async def test_what_is_empty_there_is_set(crm, known):
    record = crm.put(ADA)
    [said] = await crm.deliver(crm.contact(ADA, record if known else None))
    assert (said.left, crm.held(ADA)) == (frozenset(), ("Ada", digits(OURS)))


async def test_what_sales_typed_over_it_stays(crm):
    [first] = await crm.deliver(crm.contact(ADA))
    crm.type(first.remote_id, **{crm.phone: OF_SALES})
    await crm.deliver(crm.contact(ADA, first.remote_id))
    assert crm.held(ADA) == ("Ada", digits(OF_SALES))


async def test_what_sales_emptied_is_set_again(crm):
    [first] = await crm.deliver(crm.contact(ADA))
    crm.type(first.remote_id, **{crm.phone: "", "overwriteWithBlank": True})
    await crm.deliver(crm.contact(ADA, first.remote_id))
    assert crm.held(ADA) == ("Ada", digits(OURS))


async def test_a_contact_whose_address_changes_keeps_what_is_there(crm):
    """Nobody is found by the new address, so the record is looked at by its id."""
    record = crm.put(ADA, **{crm.phone: OF_SALES})
    [said] = await crm.deliver(crm.contact(BEN, record))
    assert (said.left, crm.held(BEN)) == ({crm.phone}, ("Ada", digits(OF_SALES)))


async def test_a_record_that_is_gone_is_made_with_the_field(crm):
    [said] = await crm.deliver(crm.contact(ADA, "77"))
    assert (said.left, crm.held(ADA)) == (frozenset(), ("Ada", digits(OURS)))


async def test_a_record_that_is_gone_while_another_has_the_address_keeps_what_that_has(crm):
    record = crm.put(ADA, **{crm.phone: OF_SALES})
    [said] = await crm.deliver(crm.contact(ADA, "77"))
    assert (said.remote_id, said.left, crm.held(ADA)) == (record, {crm.phone}, ("Ada", digits(OF_SALES)))


async def test_of_several_contacts_each_is_asked_for_itself(crm):
    crm.put(ADA, **{crm.phone: OF_SALES})
    record = crm.put(BEN)
    other = "+33639980003"
    said = await crm.deliver(crm.contact(ADA), crm.contact(BEN, record, other), crm.contact(CLEO, None, None))
    assert [one.left for one in said] == [{crm.phone}, frozenset(), frozenset()]
    assert [crm.held(one)[1] for one in (ADA, BEN, CLEO)] == [digits(OF_SALES), digits(other), None]


async def test_a_lost_answer_is_no_reason_to_send_it_over_what_is_there(crm):
    """The first request has landed. Then sales types, then it is sent again."""
    [first] = await crm.deliver(crm.contact(ADA))
    crm.type(first.remote_id, **{crm.phone: OF_SALES})
    [again] = await crm.deliver(crm.contact(ADA))
    assert (again.remote_id, crm.held(ADA)) == (first.remote_id, ("Ada", digits(OF_SALES)))


# Requests.


@pytest.mark.parametrize("is_used", [True, False])
@pytest.mark.parametrize("name", PHONE)
async def test_a_contact_costs_no_more_requests_unless_it_has_such_a_field(name, is_used):
    """is_used: the mapping has such a field, but the row has nothing for it."""
    phone = None if is_used else OURS
    async with opened(name) as crm:
        crm.client.if_empty = {crm.phone} if is_used else frozenset()
        [first] = await crm.deliver(crm.contact(ADA, None, phone))
        await crm.deliver(crm.contact(ADA, first.remote_id, phone, "Eva"))
        assert crm.requests == (["POST", "GET", "PUT"] if name == "brevo" else ["GET", "POST", "GET", "PATCH"])


async def test_one_that_has_it_costs_a_look(crm):
    await crm.deliver(crm.contact(ADA))
    await crm.deliver(crm.contact(ADA, next(iter(map(str, crm.sandbox.contacts)))))
    # Mautic is searched anyway.
    assert crm.requests == (["GET", "POST", "GET", "PUT"] if crm.name == "brevo" else ["GET", "POST", "GET", "PATCH"])


async def test_where_nothing_else_is_to_be_written_brevo_is_only_asked():
    async with opened("brevo") as crm:
        record = crm.put(ADA, SMS=OF_SALES)
        [said] = await crm.deliver(crm.contact(ADA, record, OURS, None))
        assert (said.verdict, said.remote_id, crm.requests) == (Verdict.DELIVERED, record, ["GET"])


# Races.


async def test_a_contact_that_sales_make_between_look_and_write_keeps_what_they_typed():
    async with opened("brevo") as crm:
        record = crm.put(ADA, SMS=OF_SALES)
        crm.sandbox.next_faults += [Fault(lambda call: call.method == "GET", answer=Answer(404, MISSING))]
        [said] = await crm.deliver(crm.contact(ADA))
        assert (said.remote_id, said.left, crm.held(ADA)) == (record, {"SMS"}, ("Ada", digits(OF_SALES)))
        assert crm.requests == ["GET", "POST", "GET", "PUT"]


async def test_one_that_brevo_has_and_does_not_find_comes_again():
    async with opened("brevo") as crm:
        crm.put(ADA, SMS=OF_SALES)
        crm.sandbox.next_faults += [Fault(lambda call: call.method == "GET", answer=Answer(404, MISSING))] * 2
        [said] = await crm.deliver(crm.contact(ADA))
        assert (said.verdict, said.code) == (Verdict.FAILED, Code.TOO_EARLY)
        assert crm.held(ADA) == (None, digits(OF_SALES))


# Modes and matches.


@pytest.mark.parametrize("name", PHONE)
async def test_update_leaves_what_is_there_too_and_makes_nobody(name):
    async with opened(name, Mode.UPDATE) as crm:
        crm.put(ADA, **{crm.phone: OF_SALES})
        said = await crm.deliver(crm.contact(ADA), crm.contact(BEN))
        assert [one.code for one in said] == [None, Code.NOT_THERE]
        assert crm.held(ADA) == ("Ada", digits(OF_SALES))


@pytest.mark.parametrize("name", PHONE)
async def test_create_sends_it_with_a_new_contact_and_changes_no_other(name):
    async with opened(name, Mode.CREATE) as crm:
        crm.put(ADA)
        said = await crm.deliver(crm.contact(ADA), crm.contact(BEN))
        assert [one.code for one in said] == [Code.ALREADY_THERE, None]
        assert [crm.held(one)[1] for one in (ADA, BEN)] == [None, digits(OURS)]


@pytest.mark.parametrize(("name", "key", "match"), [("brevo", "EXT_ID", "ext_id"), ("mautic", "app_id", "app_id")])
async def test_a_contact_that_is_found_by_its_key_keeps_what_is_there(name, key, match):
    async with opened(name, match=match) as crm:
        record = crm.put(ADA, **{crm.phone: OF_SALES, key: "a-1"})
        [said] = await crm.deliver(crm.contact(BEN, **{key: "a-1"}))
        assert (said.remote_id, said.left, crm.held(BEN)) == (record, {crm.phone}, ("Ada", digits(OF_SALES)))


# What the row says was sent.


def finished(crm, record, number, said_of):
    """The bits of a row after a delivery. number: those before."""
    one = crm.contact(ADA, record)
    one = one._replace(sent=sent(number, one.fields, one.filled, {crm.phone: 1}))
    ending = POLICY.finish(one, said_of, 0.5).sent_fields
    return ((number or 0) | one.sent.new) & ~ending.gone


async def test_a_field_that_was_left_alone_was_not_sent_by_us(crm):
    record = crm.put(ADA, **{crm.phone: OF_SALES})
    [said] = await crm.deliver(crm.contact(ADA, record))
    assert finished(crm, record, None, said) == 0


async def test_what_sales_typed_over_ours_is_not_ours_any_more(crm):
    [first] = await crm.deliver(crm.contact(ADA))
    assert finished(crm, None, None, first) == 1
    crm.type(first.remote_id, **{crm.phone: OF_SALES})
    [said] = await crm.deliver(crm.contact(ADA, first.remote_id))
    assert finished(crm, first.remote_id, 1, said) == 0


async def test_what_is_there_as_we_sent_it_is_still_ours(crm):
    """A phone number comes back in another form."""
    [first] = await crm.deliver(crm.contact(ADA))
    [said] = await crm.deliver(crm.contact(ADA, first.remote_id))
    assert (said.left, said.theirs) == ({crm.phone}, frozenset())
    assert finished(crm, first.remote_id, 1, said) == 1


async def test_it_is_emptied_if_it_is_ours(crm):
    [first] = await crm.deliver(crm.contact(ADA))
    one = crm.contact(ADA, first.remote_id, None)
    [said] = await crm.deliver(one._replace(sent=sent(1, one.fields, one.filled, {crm.phone: 1})))
    assert (said.code, crm.held(ADA)) == (None, ("Ada", None))


# What is there, in the vendors' forms.


@pytest.mark.parametrize("value", [0, False, "0"])
async def test_zero_and_false_are_values(value):
    async with opened("brevo") as crm:
        crm.sandbox.account.attributes["POINTS"] = {int: "float", bool: "boolean", str: "text"}[type(value)]
        record = crm.put(ADA, POINTS=value)
        crm.client.if_empty = {"points"}
        [said] = await crm.deliver(crm.contact(ADA, record, points=7))
        assert said.left == {"points"}


async def test_an_owner_in_mautic_is_left_too(prepared):
    """It is no field: it stands next to them."""
    values = {"email": ADA, "firstname": None}
    there = {"id": 7, "owner": {"id": 2}, "fields": {"all": values}}
    prepared.answer(("GET", SEARCH), body={"total": "1", "contacts": {"7": there}})
    prepared.answer(("PATCH", "/api/contacts/batch/edit"), body={"contacts": [there], "statusCodes": [200]})
    async with Http(prepared.base_url, {}) as http:
        client = Mautic(PasswordLogin(http, MAUTIC_USERNAME, MAUTIC_PASSWORD))
        client.if_empty = {"owner", "firstname"}
        await client.deliver([Contact(1, 1, 1, "7", ADA, None, {"firstname": "Ada", "owner": 5})])
    assert prepared.sent[-1].body == [{"id": 7, "firstname": "Ada"}]
