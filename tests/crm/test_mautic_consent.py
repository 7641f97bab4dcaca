"""What Mautic takes next to the fields of a contact: consent, tags, and segments, which have separate requests."""

import pytest

from crm_sync.core.outcome import Outcome, Verdict
from crm_sync.errors import LaneError
from crm_sync.sandbox.mautic.sandbox import MauticSandbox
from crm_sync.sandbox.server import Answer, Fault
from tests.crm.test_mautic import PASSWORD, USER, client, contact

WEEKLY, DAILY, GONE = 7, 8, 99
OUT = [{"channel": "email", "reason": 3}]


@pytest.fixture
async def crm():
    async with MauticSandbox(username=USER, password=PASSWORD) as sandbox:
        sandbox.account.segments |= {WEEKLY: set(), DAILY: set()}
        yield sandbox


@pytest.fixture
async def mautic(crm):
    async with client(crm.url) as opened:
        yield opened


async def deliver(mautic, email="ada@example.com", remote_id=None, **fields):
    [outcome] = await mautic.deliver([contact(email, remote_id=remote_id, **fields)])
    return outcome


def asked(crm):
    return [(request.method, request.path) for request in crm.requests]


@pytest.mark.parametrize("is_known", [False, True])
async def test_who_opts_out_is_opted_out_new_or_known(crm, mautic, is_known):
    if is_known:
        await deliver(mautic, firstname="Ada")
    assert (await deliver(mautic, doNotContact=[*OUT, {"channel": "sms", "reason": 1}])).code is None
    assert crm.contacts[1].closed == {"email": 3, "sms": 1}
    await deliver(mautic, firstname="Bo")
    assert crm.contacts[1].closed == {"email": 3, "sms": 1}


async def test_only_the_reason_0_opens_a_channel_again(crm, mautic):
    await deliver(mautic, doNotContact=OUT)
    await deliver(mautic, donotcontact=[{"channel": "email", "reason": 0}])
    assert crm.contacts[1].closed == {}


async def test_tags_come_and_go(crm, mautic):
    assert (await deliver(mautic, tags=["customer", "berlin"])).code is None
    assert (await deliver(mautic, tags=["-berlin", "vip"])).code is None
    assert crm.contacts[1].tags == {"customer", "vip"}


async def test_a_segment_is_one_request_for_all_of_a_batch(crm, mautic):
    people = [contact(f"{number}@example.com", segmentIds=[WEEKLY, DAILY]) for number in range(5)]
    assert await mautic.deliver(people) == [Outcome.delivered(str(number)) for number in range(1, 6)]
    assert crm.account.segments == {WEEKLY: {1, 2, 3, 4, 5}, DAILY: {1, 2, 3, 4, 5}}
    assert asked(crm)[2:] == [("POST", f"/api/segments/{WEEKLY}/contacts/add"), ("POST", f"/api/segments/{DAILY}/contacts/add")]
    assert "segmentIds" not in str(crm.requests[1].body)


async def test_a_contact_leaves_a_segment(crm, mautic):
    await deliver(mautic, segmentIds=[WEEKLY, DAILY])
    assert (await deliver(mautic, unlinkSegmentIds=[WEEKLY])).code is None
    assert crm.account.segments == {WEEKLY: set(), DAILY: {1}}


async def test_without_segments_no_request_is_made_for_them(crm, mautic):
    await deliver(mautic, firstname="Ada")
    assert len(crm.requests) == 2


@pytest.mark.parametrize("fields", [{"segmentIds": [GONE, DAILY]}, {"segmentIds": [DAILY], "unlinkSegmentIds": [GONE]}])
async def test_a_segment_that_is_not_there_is_told_and_the_others_are_joined(crm, mautic, fields):
    outcome = await deliver(mautic, **fields)
    [name] = [name for name, segments in fields.items() if GONE in segments]
    reason = "Mautic has no segment 99: create it in Mautic, or correct the row"
    assert outcome == Outcome.delivered("1", "FIELD_NOT_SENT", reason, frozenset({name}))
    assert crm.account.segments[DAILY] == {1}


async def test_a_refused_contact_joins_nothing(crm, mautic):
    entries = await mautic.deliver([contact("a@example.com", points="many", segmentIds=[WEEKLY]), contact("b@example.com")])
    assert [entry.verdict for entry in entries] == [Verdict.REJECTED, Verdict.DELIVERED]
    assert crm.account.segments[WEEKLY] == set()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_one_of_whom_it_is_not_known_whether_it_has_joined_comes_again(crm, mautic, status):
    crm.next_faults.append(Fault(lambda call: "/segments/" in call.path, answer=Answer(status, None, {})))
    [entry, other] = await mautic.deliver([contact("a@example.com", segmentIds=[WEEKLY]), contact("b@example.com")])
    assert isinstance(entry, LaneError)
    assert other == Outcome.delivered("2")
    assert await deliver(mautic, "a@example.com", segmentIds=[WEEKLY]) == Outcome.delivered("1")
    assert crm.account.segments[WEEKLY] == {1}


@pytest.mark.parametrize("name", ["segmentIds", "unlinkSegmentIds"])
async def test_a_segment_that_is_not_published_or_that_the_role_may_not_see_is_told(crm, mautic, name):
    crm.account.closed_segments = {WEEKLY}
    outcome = await deliver(mautic, **{name: [WEEKLY]})
    assert (outcome.verdict, outcome.code, outcome.left) == (Verdict.DELIVERED, "FIELD_NOT_SENT", {name})
    assert f"segment {WEEKLY} (403: You do not have access" in outcome.reason
    assert "publish it, or let the role of the API user" in outcome.reason


# What a comparison reads.


async def compared(mautic, **fields):
    """Of each field that was sent, whether Mautic has it like that. None where it does not show it."""
    [record] = await mautic.read([contact("ada@example.com", remote_id="1", **fields)], [*fields])
    return {name: mautic.same(None, name, sent, record.values[name]) for name, sent in fields.items() if name in record.values}


ALL = [{"channel": "email", "reason": 3}, {"channel": "sms", "reason": 1}]


@pytest.mark.parametrize("fields", [{"doNotContact": OUT}, {"donotcontact": ALL, "TAGS": ["Ada", "-b"]}, {"tags": ["-a"]}])
async def test_consent_and_tags_that_were_just_delivered_do_not_differ(mautic, fields):
    await deliver(mautic, **fields)
    assert await compared(mautic, **fields) == dict.fromkeys(fields, True)


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        ({"doNotContact": OUT}, lambda one: one.closed.clear()),
        ({"doNotContact": ALL}, lambda one: one.closed.pop("sms")),
        ({"doNotContact": [{"channel": "email", "reason": 0}]}, lambda one: one.closed.update(email=1)),
        ({"tags": ["a", "b"]}, lambda one: one.tags.discard("b")),
        ({"tags": ["-b"]}, lambda one: one.tags.add("b")),
    ],
)
async def test_what_a_person_changed_of_them_differs(crm, mautic, fields, change):
    await deliver(mautic, **fields)
    change(crm.contacts[1])
    assert await compared(mautic, **fields) == dict.fromkeys(fields, False)


async def test_more_than_was_sent_does_not_differ(crm, mautic):
    await deliver(mautic, doNotContact=OUT, tags=["a"])
    crm.contacts[1].closed["sms"] = 1
    crm.contacts[1].tags.add("z")
    assert await compared(mautic, doNotContact=OUT, tags=["a"]) == {"doNotContact": True, "tags": True}


async def test_a_record_that_does_not_show_them_has_no_value_of_them(crm, mautic, monkeypatch):
    await deliver(mautic, tags=["a"])
    shown = crm._details
    monkeypatch.setattr(crm, "_details", lambda one: {name: value for name, value in shown(one).items() if name != "tags"})
    assert await compared(mautic, tags=["a"]) == {}
