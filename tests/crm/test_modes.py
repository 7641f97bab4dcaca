"""upsert, update and create in each CRM: missing and existing contacts have codes of their own."""

from contextlib import asynccontextmanager

import pytest

from crm_sync.core.clearing import Sent
from crm_sync.core.codes import Code
from crm_sync.core.mode import Mode
from crm_sync.core.outcome import Contact, Outcome, Verdict
from crm_sync.crm.brevo.client import Brevo
from crm_sync.crm.http import Http
from crm_sync.crm.hubspot.client import HubSpot
from crm_sync.crm.mautic.client import Mautic
from crm_sync.crm.mautic.login import PasswordLogin
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.credentials import MAUTIC_PASSWORD, MAUTIC_USERNAME
from crm_sync.sandbox.hubspot.sandbox import HubSpotSandbox
from crm_sync.sandbox.mautic.sandbox import MauticSandbox
from crm_sync.sandbox.server import Answer, Fault

KEY, TOKEN = "xkeysib-0123456789abcdef", "pat-eu1-0123456789abcdef"
ANA, BEN, CLEO = "ana@example.com", "ben@example.com", "cleo@example.com"
NAMES = {"hubspot": "firstname", "brevo": "FIRSTNAME", "mautic": "firstname"}


@asynccontextmanager
async def opened(crm):
    """Its sandbox, and a client for each mode."""
    match crm:
        case "hubspot":
            sandbox = HubSpotSandbox(token=TOKEN, requests_per_ten_seconds=None)
            headers, path = {"Authorization": f"Bearer {TOKEN}"}, ""
        case "brevo":
            sandbox = BrevoSandbox(key=KEY, contacts_per_second=None, contacts_per_hour=None)
            headers, path = {"api-key": KEY}, "/v3"
        case _:
            sandbox, headers, path = MauticSandbox(), {}, ""
    async with sandbox, Http(sandbox.url + path, headers) as http:
        made = {
            "hubspot": lambda mode: HubSpot(http, mode=mode),
            "brevo": lambda mode: Brevo(http, mode=mode),
            "mautic": lambda mode: Mautic(PasswordLogin(http, MAUTIC_USERNAME, MAUTIC_PASSWORD), mode),
        }
        yield sandbox, made[crm]


@pytest.fixture(params=NAMES)
async def crm(request):
    async with opened(request.param) as (sandbox, client):
        yield request.param, sandbox, client


def contact(crm, email, name, remote_id=None):
    return Contact(email, 1, 1, remote_id, email, None, {NAMES[crm]: name})


async def delivered(client, crm, *contacts):
    """In requests as large as it accepts."""
    entries = []
    for start in range(0, len(contacts), client.batch_limit):
        entries += await client.deliver([contact(crm, *one) for one in contacts[start : start + client.batch_limit]])
    return entries


def first_names(crm, sandbox):
    match crm:
        case "hubspot":
            return {one.properties["email"]: one.properties.get("firstname") for one in sandbox.contacts.values()}
        case "brevo":
            return {one.email: one.attributes.get("FIRSTNAME") for one in sandbox.contacts.values()}
    return {one.values["email"]: one.values.get("firstname") for one in sandbox.contacts.values()}


def codes(entries):
    return [(entry.verdict, entry.code) for entry in entries]


DELIVERED = (Verdict.DELIVERED, None)
NOT_THERE = (Verdict.REJECTED, Code.NOT_THERE)
ALREADY_THERE = (Verdict.DELIVERED, Code.ALREADY_THERE)


async def test_update_changes_who_is_there_and_makes_nobody(crm):
    name, sandbox, client = crm
    await delivered(client(Mode.UPSERT), name, (ANA, "Ana"))
    entries = await delivered(client(Mode.UPDATE), name, (ANA, "Eva"), (BEN, "Ben"))
    assert codes(entries) == [DELIVERED, NOT_THERE]
    assert "_MODE=update creates none" in entries[1].reason
    assert first_names(name, sandbox) == {ANA: "Eva"}


async def test_update_by_its_id_takes_a_changed_address_along_and_makes_none_whose_record_is_gone(crm):
    name, sandbox, client = crm
    [made] = await delivered(client(Mode.UPSERT), name, (ANA, "Ana"))
    entries = await delivered(client(Mode.UPDATE), name, (CLEO, "Eva", made.remote_id), (BEN, "Ben", "777"))
    assert codes(entries) == [DELIVERED, NOT_THERE]
    assert first_names(name, sandbox) == {CLEO: "Eva"}


async def test_update_finds_one_by_the_address_whose_id_leads_nowhere(crm):
    name, sandbox, client = crm
    await delivered(client(Mode.UPSERT), name, (ANA, "Ana"))
    assert codes(await delivered(client(Mode.UPDATE), name, (ANA, "Eva", "777"))) == [DELIVERED]
    assert first_names(name, sandbox) == {ANA: "Eva"}


async def test_create_makes_who_is_not_there_leaves_the_others_as_they_are_and_says_their_ids(crm):
    name, sandbox, client = crm
    [made] = await delivered(client(Mode.UPSERT), name, (ANA, "Ana"))
    entries = await delivered(client(Mode.CREATE), name, (ANA, "Eva"), (BEN, "Ben"))
    assert codes(entries) == [ALREADY_THERE, DELIVERED]
    assert entries[0].remote_id == made.remote_id
    assert first_names(name, sandbox) == {ANA: "Ana", BEN: "Ben"}
    assert [entry.left for entry in entries] == [{NAMES[name]}, set()], "nothing of it counts as sent"


OPT_OUTS = {"hubspot": {"unsubscribeAll": True}, "brevo": {"emailBlacklisted": True}, "mautic": {"segmentIds": [777]}}


async def test_create_opts_nobody_out_and_changes_no_list_of_who_is_there(crm):
    name, sandbox, client = crm
    await delivered(client(Mode.UPSERT), name, (ANA, "Ana"))
    known = contact(name, ANA, "Eva")
    before = sandbox.request_count
    [entry] = await client(Mode.CREATE).deliver([known])
    asked = sandbox.request_count - before
    before = sandbox.request_count
    [again] = await client(Mode.CREATE).deliver([known._replace(fields={**known.fields, **OPT_OUTS[name]})])
    assert again == entry._replace(left=frozenset({*known.fields, *OPT_OUTS[name]}))
    assert sandbox.request_count - before == asked


@pytest.mark.parametrize("mode", [Mode.UPSERT, Mode.UPDATE])
@pytest.mark.parametrize("is_ours", [True, False])
async def test_only_the_record_that_the_row_names_is_emptied(crm, mode, is_ours):
    name, sandbox, client = crm
    [made] = await delivered(client(Mode.UPSERT), name, (ANA, "Ana"))
    field = NAMES[name]
    cleared = contact(name, ANA, None, made.remote_id if is_ours else "777")._replace(sent=Sent(1, 0, {field: 1}, (field,)))
    assert codes(await client(mode).deliver([cleared])) == [DELIVERED]
    assert (first_names(name, sandbox)[ANA] or None) == (None if is_ours else "Ana")


async def test_create_again_as_after_a_lost_answer_makes_no_second_record(crm):
    name, sandbox, client = crm
    [made] = await delivered(client(Mode.CREATE), name, (ANA, "Ana"))
    [again] = await delivered(client(Mode.CREATE), name, (ANA, "Ana"))
    assert (again.verdict, again.code, again.remote_id) == (*ALREADY_THERE, made.remote_id)
    assert len(sandbox.contacts) == 1


@pytest.mark.parametrize("crm_name", ["hubspot", "brevo"])
async def test_a_rehearsal_of_create_assumes_no_look_that_is_not_made(crm_name):
    async with opened(crm_name) as (_, client):
        known = contact(crm_name, ANA, "Ana", "101")
        assert client(Mode.UPSERT).assumptions(known)
        assert not client(Mode.CREATE).assumptions(known)


# Specific to each CRM.


async def test_at_hubspot_an_update_by_another_of_its_addresses_leaves_the_primary_one():
    async with opened("hubspot") as (sandbox, client):
        [made] = await delivered(client(Mode.UPSERT), "hubspot", (ANA, "Ana"))
        sandbox.account.add_email(made.remote_id, BEN)
        entries = await delivered(client(Mode.UPDATE), "hubspot", (BEN, "Eva"))
        assert entries == [Outcome.delivered(made.remote_id)]
        assert first_names("hubspot", sandbox) == {ANA: "Eva"}


async def test_at_hubspot_two_of_one_record_are_not_in_one_request():
    async with opened("hubspot") as (sandbox, client):
        [made] = await delivered(client(Mode.UPSERT), "hubspot", (ANA, "Ana"))
        sandbox.account.add_email(made.remote_id, BEN)
        entries = await delivered(client(Mode.UPDATE), "hubspot", (ANA, "Eva"), (BEN, "Eve"))
        assert sorted(codes(entries)) == sorted([DELIVERED, (Verdict.FAILED, Code.LOCKED)])


async def test_at_hubspot_a_hundred_are_updated_by_their_addresses_in_two_requests():
    async with opened("hubspot") as (sandbox, client):
        people = [(f"{number}@example.com", "Ana") for number in range(100)]
        await delivered(client(Mode.UPSERT), "hubspot", *people)
        sandbox.requests.clear()
        assert codes(await delivered(client(Mode.UPDATE), "hubspot", *people)) == [DELIVERED] * 100
        assert [request.path.rpartition("/")[2] for request in sandbox.requests] == ["read", "update"]


async def test_at_hubspot_a_bad_value_is_its_contacts_in_each_mode():
    async with opened("hubspot") as (sandbox, client):
        sandbox.account.define("firstname", "number")
        for mode in (Mode.UPSERT, Mode.CREATE):
            bad, good = await delivered(client(mode), "hubspot", (f"{mode}1@example.com", "x"), (f"{mode}2@example.com", "7"))
            assert codes([bad, good]) == [(Verdict.REJECTED, Code.REJECTED), DELIVERED]


async def test_at_brevo_a_phone_number_that_another_has_is_left_out_in_each_mode():
    async with opened("brevo") as (sandbox, client):
        for mode in (Mode.UPSERT, Mode.CREATE):
            one = Contact(1, 1, 1, None, f"{mode}@example.com", None, {"SMS": "+33639980001"})
            [entry] = await client(mode).deliver([one])
        assert entry.code == Code.FIELD_NOT_SENT
        assert len(sandbox.contacts) == 2


@pytest.mark.parametrize("code", ["duplicate_parameter", "invalid_parameter"])
async def test_at_brevo_create_understands_that_somebody_is_there_who_is_not_named(code):
    """`Contact already exist` came without saying by which identifier."""
    answer = Answer(400, {"code": code, "message": "Contact already exist"})
    async with opened("brevo") as (sandbox, client):
        [made] = await delivered(client(Mode.UPSERT), "brevo", (ANA, "Ana"))
        for email, expected in ((ANA, (*ALREADY_THERE, made.remote_id)), (BEN, None)):
            sandbox.next_faults.append(Fault(lambda call: call.method == "POST", answer=answer))
            [entry] = await delivered(client(Mode.CREATE), "brevo", (email, "Eva"))
            if expected:
                assert (entry.verdict, entry.code, entry.remote_id) == expected
            else:
                assert entry.verdict == Verdict.REJECTED, "it may be somebody else, with the same number"


async def test_at_brevo_one_that_is_deleted_after_the_look_is_not_made_by_an_update():
    async with opened("brevo") as (sandbox, client):
        await delivered(client(Mode.UPSERT), "brevo", (ANA, "Ana"))
        update = sandbox.account.update

        def gone(contact, body):
            sandbox.account.delete(contact)
            sandbox.account.update = update
            return update(sandbox.account.find(str(contact.id), "contact_id"), body)

        sandbox.account.update = gone
        assert codes(await delivered(client(Mode.UPDATE), "brevo", (ANA, "Eva"))) == [NOT_THERE]
        assert not sandbox.contacts
