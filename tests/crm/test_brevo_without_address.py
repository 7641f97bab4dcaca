"""Contacts without an address at Brevo: sent by their ext_id, with BREVO_PHONE_ONLY by their phone number, or by their id."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from crm_sync.core.clearing import Sent
from crm_sync.core.codes import Code
from crm_sync.core.mode import Mode
from crm_sync.core.outcome import Contact, Deletion, Outcome, Verdict
from crm_sync.crm.brevo.client import Brevo
from crm_sync.crm.brevo.identifiers import digits
from crm_sync.crm.client import Record, problem_of
from crm_sync.crm.http import Http
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.server import Answer, Fault

KEY = "xkeysib-0123456789abcdef"
PHONE, OTHER = "+33639980001", "+33639980002"
DIGITS, OTHER_DIGITS = PHONE[1:], OTHER[1:]
ANA = "ana@example.com"
EXT_ID, SMS = {"match": "ext_id"}, {"phone_only": True}
BOTH = EXT_ID | SMS
KNOWN_BY = [(EXT_ID, {"EXT_ID": "x/7"}), (SMS, {"SMS": PHONE})]
IDS = ["ext_id", "phone"]


@pytest.fixture
async def crm():
    async with BrevoSandbox(key=KEY, list_ids={7, 8}, contacts_per_second=None, contacts_per_hour=None) as sandbox:
        yield sandbox


@asynccontextmanager
async def client(crm, **options):
    async with Http(f"{crm.url}/v3", {"api-key": KEY}) as http:
        yield Brevo(http, **options)


def contact(email=None, remote_id=None, sent=None, **fields):
    return Contact(1, 1, 1, remote_id, email, datetime(2026, 11, 3, tzinfo=UTC), fields, sent=sent)


async def deliver(brevo, email=None, remote_id=None, sent=None, **fields):
    [outcome] = await brevo.deliver([contact(email, remote_id, sent, **fields)])
    return outcome


def asked(crm):
    """What came since the last look."""
    requests = [(request.method, request.path, request.query.get("identifierType"), request.status) for request in crm.requests]
    crm.requests.clear()
    return requests


def held(crm):
    return {number: (one.email, one.attributes) for number, one in crm.contacts.items()}


# What it is known by.


@pytest.mark.parametrize(
    ("options", "fields", "remote_id", "key"),
    [
        (EXT_ID, {"EXT_ID": "x/7"}, None, "EXT_ID x/7"),
        (EXT_ID, {"ext_id": 7}, "41", "EXT_ID 7"),
        (EXT_ID, {"EXT_ID": " ", "SMS": PHONE}, None, None),
        (EXT_ID, {"EXT_ID": ".."}, None, None),
        (SMS, {"SMS": PHONE}, "41", f"SMS {DIGITS}"),
        (SMS, {"sms": "0033 6 39-98.00(01)"}, None, f"SMS {DIGITS}"),
        (SMS, {"SMS": int(DIGITS)}, None, f"SMS {DIGITS}"),
        (SMS, {"EXT_ID": "x/7"}, None, None),
        (SMS, {"SMS": "06 39 98 00 01"}, "41", "contact 41"),
        (BOTH, {"EXT_ID": "x/7", "SMS": PHONE}, None, "EXT_ID x/7"),
        (BOTH, {"EXT_ID": None, "SMS": PHONE}, None, f"SMS {DIGITS}"),
        ({}, {"EXT_ID": "x/7", "SMS": PHONE}, None, None),
        ({}, {}, "41", "contact 41"),
        ({}, {}, "../account", None),
    ],
)
async def test_the_key(crm, options, fields, remote_id, key):
    async with client(crm, **options) as brevo:
        assert brevo.key(contact(None, remote_id, **fields)) == key


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *((form, "447771234567") for form in ("+44 (0)7771234567", "0044 7771 234567", "447771234567", "+44-7771-234567")),
        ("+1 (206) 123-4567", "12061234567"),
        *((other, None) for other in ("0639980001", "12345", "1" * 20, "", None, "n/a", "+", "٣٣٦٣٩٩٨٠", "+33639980001 x2")),
    ],
)
def test_the_digits_of_a_number(text, number):
    assert digits(text) == number


@pytest.mark.parametrize(
    ("options", "what_to_do"),
    [
        ({}, "add one to the row, and queue it again; BREVO_MATCH=ext_id or BREVO_PHONE_ONLY=true sends contacts without one"),
        (EXT_ID, "add one or an EXT_ID to the row, and queue it again"),
        (SMS, "add one or a phone number with its country code (SMS) to the row, and queue it again"),
        (BOTH, "add one, an EXT_ID or a phone number with its country code (SMS) to the row, and queue it again"),
    ],
)
async def test_without_any_the_reason_says_what_to_do(crm, options, what_to_do):
    async with client(crm, **options) as brevo:
        assert problem_of(brevo, contact(" ")) == f"the contact has no email address: {what_to_do}"
        assert problem_of(brevo, contact("ana@", EXT_ID="7", SMS=PHONE)) == "the email address is malformed"


# New and known contacts.


async def test_one_with_an_ext_id_is_created_and_then_updated_by_it(crm):
    async with client(crm, **EXT_ID) as brevo:
        assert await deliver(brevo, EXT_ID="x/7", FIRSTNAME="Ana", SMS=PHONE) == Outcome.delivered("1")
        body = {"ext_id": "x/7", "attributes": {"FIRSTNAME": "Ana", "SMS": PHONE}, "updateEnabled": False, "getId": True}
        assert crm.requests[-1].body == body
        assert asked(crm) == [("GET", "/v3/contacts/x/7", "ext_id", 404), ("POST", "/v3/contacts", None, 201)]
        assert await deliver(brevo, EXT_ID="x/7", FIRSTNAME="Eva", SMS=OTHER) == Outcome.delivered("1")
        assert asked(crm) == [("GET", "/v3/contacts/x/7", "ext_id", 200), ("PUT", "/v3/contacts/1", "contact_id", 204)]
    assert held(crm) == {1: (None, {"EXT_ID": "x/7", "FIRSTNAME": "Eva", "SMS": OTHER_DIGITS})}


async def test_one_with_a_phone_is_created_and_then_updated_by_it(crm):
    async with client(crm, **SMS) as brevo:
        assert await deliver(brevo, SMS=PHONE, FIRSTNAME="Ana") == Outcome.delivered("1")
        body = {"attributes": {"FIRSTNAME": "Ana", "SMS": DIGITS}, "updateEnabled": False, "getId": True}
        assert crm.requests[-1].body == body
        assert asked(crm) == [("GET", f"/v3/contacts/{DIGITS}", "phone_id", 404), ("POST", "/v3/contacts", None, 201)]
        assert await deliver(brevo, SMS="0033 6 39 98 00 01", FIRSTNAME="Eva") == Outcome.delivered("1")
        assert asked(crm) == [("GET", f"/v3/contacts/{DIGITS}", "phone_id", 200), ("PUT", "/v3/contacts/1", "contact_id", 204)]
    assert held(crm) == {1: (None, {"FIRSTNAME": "Eva", "SMS": DIGITS})}


@pytest.mark.parametrize(("options", "known_by"), KNOWN_BY, ids=IDS)
@pytest.mark.parametrize("placeholders", [True, False])
async def test_one_with_an_id_is_updated_by_that_whatever_else_changed(crm, options, known_by, placeholders):
    crm.account.placeholders = placeholders
    async with client(crm, **options) as brevo:
        await deliver(brevo, FIRSTNAME="Ana", **known_by)
        asked(crm)
        changed = {name: "x/8" if name == "EXT_ID" else OTHER for name in known_by}
        assert await deliver(brevo, None, "1", **changed) == Outcome.delivered("1")
        assert asked(crm) == [("GET", "/v3/contacts/1", "contact_id", 200), ("PUT", "/v3/contacts/1", "contact_id", 204)]
        assert crm.contacts[1].email is None
        assert await deliver(brevo, ANA, "1", FIRSTNAME="Ana") == Outcome.delivered("1")
    assert crm.contacts[1].email == ANA, "an address that comes later is the record's"
    assert len(crm.contacts) == 1


async def test_who_wants_no_mail_is_not_subscribed_by_a_first_address(crm):
    async with client(crm, **SMS) as brevo:
        await deliver(brevo, SMS=PHONE, emailBlacklisted=True)
        await deliver(brevo, ANA, "1", SMS=PHONE)
    assert (crm.contacts[1].email, crm.contacts[1].is_blocklisted) == (ANA, True)


@pytest.mark.parametrize("options", [{}, EXT_ID, SMS])
async def test_an_address_that_was_removed_from_the_row_stays_in_brevo(crm, options):
    async with client(crm, **options) as brevo:
        await deliver(brevo, ANA, FIRSTNAME="Ana")
        asked(crm)
        assert await deliver(brevo, "  ", "1", FIRSTNAME="Eva") == Outcome.delivered("1")
        assert crm.requests[-1].body == {"attributes": {"FIRSTNAME": "Eva"}}
    assert held(crm) == {1: (ANA, {"FIRSTNAME": "Eva"})}


@pytest.mark.parametrize(("options", "known_by"), KNOWN_BY, ids=IDS)
async def test_one_whose_id_brevo_no_longer_has_is_found_or_created_by_what_it_is_known_by(crm, options, known_by):
    async with client(crm, **options) as brevo:
        assert await deliver(brevo, None, "41", **known_by) == Outcome.delivered("1")
        assert await deliver(brevo, None, "41", FIRSTNAME="Ana", **known_by) == Outcome.delivered("1")
    assert [one.attributes["FIRSTNAME"] for one in crm.contacts.values()] == ["Ana"]


async def test_one_with_only_an_id_that_brevo_no_longer_has_cannot_be_created(crm):
    async with client(crm) as brevo:
        outcome = await deliver(brevo, None, "41", FIRSTNAME="Ana")
        assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, Code.INVALID_EMAIL)
        assert outcome.reason.startswith("the contact has no email address, and Brevo has no contact 41: add one to the row")
        crm.account.save({"email": ANA})
        crm.next_faults.append(Fault(lambda call: call.method == "PUT" and not crm.account.delete(crm.contacts[1])))
        outcome = await deliver(brevo, None, "1", FIRSTNAME="Ana")
        assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, Code.INVALID_EMAIL)
    assert not crm.contacts


@pytest.mark.parametrize(("options", "known_by"), KNOWN_BY, ids=IDS)
async def test_one_deleted_between_the_look_and_the_update_is_created_again(crm, options, known_by):
    async with client(crm, **options) as brevo:
        await deliver(brevo, **known_by)
        crm.next_faults.append(Fault(lambda call: call.method == "PUT" and not crm.account.delete(crm.contacts[1])))
        assert await deliver(brevo, None, "1", FIRSTNAME="Ana", **known_by) == Outcome.delivered("2")
    assert crm.contacts[2].attributes["FIRSTNAME"] == "Ana"


@pytest.mark.parametrize("code", ["duplicate_parameter", "invalid_parameter"])
@pytest.mark.parametrize(("options", "known_by"), KNOWN_BY, ids=IDS)
async def test_one_that_somebody_else_created_meanwhile_is_updated(crm, options, known_by, code):
    crm.account.duplicate_code = code
    body = {"attributes": dict(known_by)}
    crm.next_faults.append(Fault(lambda call: call.method == "POST" and not crm.account.save(body)))
    async with client(crm, **options) as brevo:
        assert await deliver(brevo, FIRSTNAME="Ana", **known_by) == Outcome.delivered("1")
    assert [method for method, *_ in asked(crm)] == ["GET", "POST", "GET", "PUT"]
    assert [one.attributes["FIRSTNAME"] for one in crm.contacts.values()] == ["Ana"]


@pytest.mark.parametrize(("options", "known_by"), KNOWN_BY, ids=IDS)
async def test_one_that_brevo_has_and_does_not_find_yet_is_tried_again(crm, options, known_by):
    async with client(crm, **options) as brevo:
        await deliver(brevo, **known_by)
        missing = Answer(404, {"code": "document_not_found", "message": "Contact does not exist"})
        crm.standing_faults.append(Fault(lambda call: call.method == "GET", answer=missing))
        outcome = await deliver(brevo, **known_by)
    assert (outcome.verdict, outcome.code) == (Verdict.FAILED, Code.TOO_EARLY)


async def test_one_with_an_address_is_not_looked_up_by_its_phone(crm):
    async with client(crm, **SMS) as brevo:
        await deliver(brevo, SMS=PHONE)
        asked(crm)
        outcome = await deliver(brevo, ANA, SMS=PHONE)
    assert (outcome.code, outcome.remote_id) == (Code.FIELD_NOT_SENT, "2")
    assert asked(crm)[0] == ("POST", "/v3/contacts", None, 400)


# A phone number that somebody else has.


@pytest.mark.parametrize("mode", Mode)
async def test_a_contact_with_an_address_is_never_overwritten_for_its_number(crm, mode):
    crm.account.save({"email": ANA, "attributes": {"SMS": PHONE, "FIRSTNAME": "Ana"}})
    async with client(crm, **SMS, mode=mode) as brevo:
        outcome = await deliver(brevo, SMS=PHONE, FIRSTNAME="Ben")
    assert (outcome.verdict, outcome.code, outcome.remote_id) == (Verdict.REJECTED, Code.DUPLICATE, None)
    assert outcome.reason == (
        "contact 1 in Brevo has the same phone number (SMS), and an address, so it may be another person: add an address to the "
        "row, or correct its number"
    )
    assert held(crm) == {1: (ANA, {"SMS": DIGITS, "FIRSTNAME": "Ana"})}


async def test_nor_is_one_that_got_it_between_the_look_and_the_write(crm):
    body = {"email": ANA, "attributes": {"SMS": PHONE}}
    crm.next_faults.append(Fault(lambda call: call.method == "POST" and not crm.account.save(body)))
    async with client(crm, **SMS) as brevo:
        assert (await deliver(brevo, SMS=PHONE, FIRSTNAME="Ben")).code == Code.DUPLICATE
    assert held(crm) == {1: (ANA, {"SMS": DIGITS})}


async def test_nor_is_one_with_an_ext_id_where_they_are_matched_by_it(crm):
    crm.account.save({"ext_id": "x/7", "attributes": {"SMS": PHONE}})
    async with client(crm, **BOTH) as brevo:
        outcome = await deliver(brevo, SMS=PHONE, FIRSTNAME="Ben")
        assert (outcome.code, "and an ext_id" in outcome.reason) == (Code.DUPLICATE, True)
    async with client(crm, **SMS) as brevo:
        assert await deliver(brevo, SMS=PHONE, FIRSTNAME="Ben") == Outcome.delivered("1")


async def test_one_known_by_its_ext_id_goes_without_a_number_that_another_has(crm):
    crm.account.save({"attributes": {"SMS": PHONE}})
    async with client(crm, **BOTH) as brevo:
        outcome = await deliver(brevo, EXT_ID="x/7", SMS=PHONE, FIRSTNAME="Ben")
    assert (outcome.verdict, outcome.code, outcome.remote_id) == (Verdict.DELIVERED, Code.FIELD_NOT_SENT, "2")
    assert held(crm) == {1: (None, {"SMS": DIGITS}), 2: (None, {"EXT_ID": "x/7", "FIRSTNAME": "Ben"})}


async def test_one_known_by_its_id_does_too(crm):
    async with client(crm, **SMS) as brevo:
        await deliver(brevo, SMS=PHONE)
        await deliver(brevo, SMS=OTHER)
        outcome = await deliver(brevo, None, "2", SMS=PHONE, FIRSTNAME="Ben")
    assert (outcome.code, outcome.remote_id, outcome.left) == (Code.FIELD_NOT_SENT, "2", {"SMS"})
    assert crm.contacts[2].attributes == {"SMS": OTHER_DIGITS, "FIRSTNAME": "Ben"}


async def test_a_number_that_brevo_refuses_is_the_contacts_error_and_another_bad_number_is_left_out(crm):
    async with client(crm, **SMS) as brevo:
        outcome = await deliver(brevo, SMS=PHONE, WHATSAPP="n/a")
        assert (outcome.verdict, outcome.code, outcome.left) == (Verdict.DELIVERED, Code.FIELD_NOT_SENT, {"WHATSAPP"})
        refused = Answer(400, {"code": "invalid_parameter", "message": "Invalid phone number"})
        crm.standing_faults.append(Fault(lambda call: call.method == "POST", answer=refused))
        outcome = await deliver(brevo, SMS=OTHER)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, Code.REJECTED)


# Modes.


@pytest.mark.parametrize(("options", "known_by"), KNOWN_BY, ids=IDS)
async def test_update_creates_none(crm, options, known_by):
    async with client(crm, **options, mode=Mode.UPDATE) as brevo:
        assert (await deliver(brevo, **known_by)).code == Code.NOT_THERE
        assert (await deliver(brevo, None, "41", **known_by)).code == Code.NOT_THERE
        crm.account.save({"attributes": dict(known_by)})
        assert await deliver(brevo, FIRSTNAME="Ana", **known_by) == Outcome.delivered("1")
        assert await deliver(brevo, None, "1", LASTNAME="Ruiz") == Outcome.delivered("1")
    assert {"FIRSTNAME": "Ana", "LASTNAME": "Ruiz"}.items() <= crm.contacts[1].attributes.items()


@pytest.mark.parametrize(("options", "known_by"), KNOWN_BY, ids=IDS)
async def test_create_changes_none(crm, options, known_by):
    async with client(crm, **options, mode=Mode.CREATE) as brevo:
        assert await deliver(brevo, FIRSTNAME="Ana", **known_by) == Outcome.delivered("1")
        for remote_id in (None, "1"):
            outcome = await deliver(brevo, None, remote_id, FIRSTNAME="Eva", **known_by)
            assert (outcome.verdict, outcome.code, outcome.remote_id) == (Verdict.DELIVERED, Code.ALREADY_THERE, "1")
        assert (await deliver(brevo, None, "1", FIRSTNAME="Eva")).code == Code.ALREADY_THERE
        assert (await deliver(brevo, None, "41", FIRSTNAME="Eva")).code == Code.INVALID_EMAIL
    assert crm.contacts[1].attributes["FIRSTNAME"] == "Ana"
    assert len(crm.contacts) == 1


# Lists, consent, fields that others fill in, clearing.


@pytest.mark.parametrize(("options", "known_by"), KNOWN_BY, ids=IDS)
async def test_lists_and_consent(crm, options, known_by):
    async with client(crm, **options, list_id=7) as brevo:
        await deliver(brevo, listIds=[8], smsBlacklisted=True, **known_by)
        assert (crm.contacts[1].list_ids, crm.contacts[1].is_sms_blocklisted) == ({7, 8}, True)
        assert await deliver(brevo, unlinkListIds=[8], **known_by) == Outcome.delivered("1")
    assert crm.contacts[1].list_ids == {7}


@pytest.mark.parametrize(("options", "known_by"), KNOWN_BY, ids=IDS)
async def test_a_field_that_is_sent_only_where_it_is_empty(crm, options, known_by):
    async with client(crm, **options) as brevo:
        brevo.if_empty = ["FIRSTNAME"]
        assert await deliver(brevo, FIRSTNAME="Ana", **known_by) == Outcome.delivered("1")
        outcome = await deliver(brevo, FIRSTNAME="Eva", LASTNAME="Ruiz", **known_by)
        assert (outcome.verdict, outcome.remote_id, outcome.theirs) == (Verdict.DELIVERED, "1", {"FIRSTNAME"})
    assert {"FIRSTNAME": "Ana", "LASTNAME": "Ruiz"}.items() <= crm.contacts[1].attributes.items()


def clearing(*names, record="1"):
    bits = {name: 1 << place for place, name in enumerate(names)}
    return Sent(before=sum(bits.values()), now=0, bits=bits, emptied=names, record=record)


@pytest.mark.parametrize(("options", "known_by"), KNOWN_BY, ids=IDS)
async def test_a_field_is_cleared(crm, options, known_by):
    async with client(crm, **options) as brevo:
        await deliver(brevo, FIRSTNAME="Ana", **known_by)
        assert await deliver(brevo, None, "1", clearing("FIRSTNAME"), FIRSTNAME=None, **known_by) == Outcome.delivered("1")
    assert "FIRSTNAME" not in crm.contacts[1].attributes


@pytest.mark.parametrize("remote_id", ["1", None])
async def test_the_number_of_a_contact_without_an_address_cannot_be_cleared_and_the_row_says_so(crm, remote_id):
    async with client(crm, **EXT_ID) as brevo:
        await deliver(brevo, EXT_ID="x/7", SMS=PHONE, FIRSTNAME="Ana")
        sent = clearing("SMS", "FIRSTNAME", record=remote_id)
        outcome = await deliver(brevo, None, remote_id, sent, EXT_ID="x/7", SMS=None, FIRSTNAME=None)
        assert (outcome.verdict, outcome.code, outcome.left) == (Verdict.DELIVERED, Code.FIELD_NOT_SENT, {"SMS"})
        assert outcome.reason == "SMS: Brevo keeps it for a contact that has no address"
        assert held(crm) == {1: (None, {"EXT_ID": "x/7", "SMS": DIGITS})}
        crm.account.update(crm.contacts[1], {"attributes": {"EMAIL": ANA}})
        assert await deliver(brevo, None, "1", clearing("SMS"), EXT_ID="x/7", SMS=None) == Outcome.delivered("1")
    assert held(crm) == {1: (ANA, {"EXT_ID": "x/7"})}


# Reading and deleting.


@pytest.mark.parametrize("remote_id", ["1", "41", None])
@pytest.mark.parametrize(("options", "known_by"), KNOWN_BY, ids=IDS)
async def test_it_is_read_for_comparing_without_the_address_that_brevo_made(crm, options, known_by, remote_id):
    async with client(crm, **options) as brevo:
        await deliver(brevo, FIRSTNAME="Ana", **known_by)
        [record] = await brevo.read([contact(None, remote_id, FIRSTNAME="Ana", **known_by)], ["FIRSTNAME"])
        assert record == Record(frozenset(), {"FIRSTNAME": "Ana"})
        [record] = await brevo.read([contact(None, None, FIRSTNAME="Ana")], ["FIRSTNAME"])
        assert record is None


async def test_another_persons_contact_is_not_read_for_its_number(crm):
    crm.account.save({"email": ANA, "attributes": {"SMS": PHONE}})
    async with client(crm, **SMS) as brevo:
        assert await brevo.read([contact(SMS=PHONE)], ["SMS"]) == [None]


async def test_it_is_deleted_by_its_id(crm):
    async with client(crm, **SMS) as brevo:
        await deliver(brevo, SMS=PHONE)
        [outcome] = await brevo.delete([Deletion("7", "1", None, False, datetime(2026, 11, 3, tzinfo=UTC))])
    assert outcome == Outcome.delivered(None)
    assert not crm.contacts
