"""Members next to the attributes of a contact in Brevo: consent, and lists that a row names."""

import pytest

from crm_sync.crm.members import BREVO as MEMBERS
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.server import Answer, Fault
from tests.crm.test_brevo import KEY, NO_LIMITS, bodies, client, contact

WEEKLY, DAILY, GONE = 7, 8, 99


@pytest.fixture
async def crm():
    async with BrevoSandbox(key=KEY, list_ids={WEEKLY, DAILY}, **NO_LIMITS) as sandbox:
        yield sandbox


@pytest.fixture
async def brevo(crm):
    async with client(f"{crm.url}/v3") as opened:
        yield opened


async def deliver(brevo, remote_id=None, email="ada@example.com", **fields):
    [outcome] = await brevo.deliver([contact(email, remote_id, **fields)])
    return outcome


def there(crm):
    [one] = crm.contacts.values()
    return one


# Consent.


@pytest.mark.parametrize("remote_id", [None, "1"])
async def test_who_opts_out_is_opted_out_new_or_known(crm, brevo, remote_id):
    if remote_id:
        await deliver(brevo, FIRSTNAME="Ada")
    assert (await deliver(brevo, remote_id, emailBlacklisted=True, smsBlacklisted=True)).code is None
    assert (there(crm).is_blocklisted, there(crm).is_sms_blocklisted) == (True, True)
    assert "EMAILBLACKLISTED" not in there(crm).attributes
    # A later delivery that says nothing of it leaves it.
    await deliver(brevo, "1", FIRSTNAME="Ada")
    assert there(crm).is_blocklisted


async def test_who_opted_out_in_brevo_stays_so_with_a_new_address(crm, brevo):
    await deliver(brevo, FIRSTNAME="Ada")
    there(crm).is_blocklisted = True
    await deliver(brevo, "1", "new@example.com", FIRSTNAME="Ada")
    assert (there(crm).email, there(crm).is_blocklisted) == ("new@example.com", True)


async def test_opting_in_in_so_many_words_outweighs_it(crm, brevo):
    await deliver(brevo, emailBlacklisted=True)
    await deliver(brevo, "1", "new@example.com", emailBlacklisted=False)
    assert not there(crm).is_blocklisted


def test_what_does_not_say_so_opts_nobody_in():
    for name in ("emailBlacklisted", "smsBlacklisted"):
        assert MEMBERS[name].opt_outs(MEMBERS[name].form(False)) is None
        assert MEMBERS[name].opt_outs(MEMBERS[name].form(True)) is True


# Lists.


async def test_a_contact_joins_lists_and_leaves_them(crm, brevo):
    assert (await deliver(brevo, listIds=[WEEKLY, DAILY])).code is None
    assert there(crm).list_ids == {WEEKLY, DAILY}
    assert (await deliver(brevo, "1", listIds=[DAILY], unlinkListIds=[WEEKLY])).code is None
    assert there(crm).list_ids == {DAILY}
    assert len(bodies(crm)) == 3  # new, the look, and the update: lists cost no request


@pytest.mark.parametrize("remote_id", [None, "1"])
async def test_a_row_that_leaves_the_list_of_all_outweighs_the_setting(crm, remote_id):
    async with client(f"{crm.url}/v3", list_id=WEEKLY) as brevo:
        await deliver(brevo, FIRSTNAME="Ada")
        assert there(crm).list_ids == {WEEKLY}
        await deliver(brevo, remote_id, listIds=[DAILY], unlinkListIds=[WEEKLY])
        assert there(crm).list_ids == {DAILY}


async def test_one_whose_id_is_not_known_leaves_them_too(crm, brevo):
    await deliver(brevo, listIds=[WEEKLY])
    assert (await deliver(brevo, unlinkListIds=[WEEKLY])).code is None
    assert there(crm).list_ids == set()


async def test_the_list_of_the_setting_is_joined_as_well(crm):
    async with client(f"{crm.url}/v3", list_id=WEEKLY) as brevo:
        await deliver(brevo, listIds=[DAILY, WEEKLY])
    assert there(crm).list_ids == {WEEKLY, DAILY}
    assert bodies(crm)[0]["listIds"] == [WEEKLY, DAILY]


@pytest.mark.parametrize("remote_id", [None, "1"])
@pytest.mark.parametrize("fields", [{"listIds": [GONE, DAILY]}, {"listIds": [DAILY], "unlinkListIds": [GONE]}])
async def test_a_list_that_is_not_there_is_left_out_and_told(crm, brevo, remote_id, fields):
    if remote_id:
        await deliver(brevo, FIRSTNAME="Ada")
    outcome = await deliver(brevo, remote_id, FIRSTNAME="Bo", **fields)
    told = remote_id is not None or "unlinkListIds" not in fields  # a new contact is on no list
    assert (outcome.code, outcome.remote_id) == ("FIELD_NOT_SENT" if told else None, "1")
    if told:
        assert outcome.reason == "Brevo has no list 99: create it in Brevo, or correct the row"
    assert (there(crm).list_ids, there(crm).attributes["FIRSTNAME"]) == ({DAILY}, "Bo")


async def test_one_whose_id_is_not_known_leaves_the_lists_that_there_are_and_the_row_names_the_other(crm, brevo):
    await deliver(brevo, listIds=[WEEKLY])
    outcome = await deliver(brevo, unlinkListIds=[GONE, WEEKLY])
    assert there(crm).list_ids == set()
    assert outcome.reason == "Brevo has no list 99: create it in Brevo, or correct the row"


async def test_a_list_that_brevo_does_not_take_a_contact_off_is_told(crm, brevo):
    await deliver(brevo, listIds=[WEEKLY])
    refusal = Answer(400, {"code": "invalid_parameter", "message": "unlinkListIds is not valid"}, {})
    crm.next_faults.append(Fault(lambda call: call.method == "PUT", answer=refusal))
    outcome = await deliver(brevo, unlinkListIds=[WEEKLY])
    assert outcome.code == "FIELD_NOT_SENT"
    assert outcome.reason.startswith("Brevo did not take the contact off list 7 (400: ")


async def test_it_is_asked_for_once_a_while(crm, brevo):
    await deliver(brevo, listIds=[GONE])
    before = crm.request_count
    for number in range(3):
        assert (await deliver(brevo, email=f"{number}@example.com", listIds=[GONE])).code == "FIELD_NOT_SENT"
    assert crm.request_count - before == 3


async def test_a_list_of_the_setting_that_is_not_there_still_holds_the_lane(crm):
    async with client(f"{crm.url}/v3", list_id=GONE) as brevo:
        with pytest.raises(Exception, match="Brevo has no list 99: check BREVO_LIST_ID"):
            await deliver(brevo, listIds=[DAILY])


# What a comparison reads.


async def compared(brevo, **fields):
    """Of each field that was sent, whether Brevo has it like that."""
    [record] = await brevo.read([contact("ada@example.com", "1", **fields)], [*fields])
    return {name: brevo.same(None, name, sent, record.values[name]) for name, sent in fields.items()}


FIELDS = {"emailBlacklisted": True, "SMSBLACKLISTED": False, "listids": [WEEKLY], "unlinkListIds": [DAILY], "FIRSTNAME": "Ada"}


async def test_consent_and_lists_that_were_just_delivered_do_not_differ(brevo):
    await deliver(brevo, **FIELDS)
    assert await compared(brevo, **FIELDS) == dict.fromkeys(FIELDS, True)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("emailBlacklisted", {"is_blocklisted": False}),
        ("SMSBLACKLISTED", {"is_sms_blocklisted": True}),
        ("listids", {"list_ids": set()}),
        ("unlinkListIds", {"list_ids": {WEEKLY, DAILY}}),
    ],
)
async def test_what_a_person_changed_of_them_differs(crm, brevo, name, change):
    await deliver(brevo, **FIELDS)
    for attribute, value in change.items():
        setattr(there(crm), attribute, value)
    assert await compared(brevo, **FIELDS) == dict.fromkeys(FIELDS, True) | {name: False}


async def test_more_lists_than_were_sent_do_not_differ(crm, brevo):
    await deliver(brevo, listIds=[WEEKLY])
    there(crm).list_ids.add(GONE)
    assert await compared(brevo, listIds=[WEEKLY]) == {"listIds": True}


@pytest.mark.parametrize("fields", [{"listIds": [GONE, DAILY]}, {"LISTIDS": [DAILY], "unlinklistids": [GONE]}])
async def test_a_list_that_is_left_out_is_named_by_its_field(brevo, fields):
    await deliver(brevo, FIRSTNAME="Ada")
    outcome = await deliver(brevo, "1", **fields)
    assert outcome.left == {name for name, lists in fields.items() if GONE in lists}


@pytest.mark.parametrize(
    ("row", "joined"), [({}, {"listIds": [7]}), ({"unlinklistids": [7]}, {}), ({"listIds": [8]}, {"listIds": [7]})]
)
async def test_for_a_comparison_the_client_says_which_list_every_delivery_joins(row, joined):
    """A row that leaves it outweighs the setting, as in a delivery."""
    async with client("http://127.0.0.1:1/v3", list_id=7) as brevo:
        assert brevo.joined(contact(**row)) == joined
    async with client("http://127.0.0.1:1/v3") as brevo:
        assert brevo.joined(contact(**row)) == {}
