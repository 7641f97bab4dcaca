"""Of whom a CRM may have stored values, after requests some of which it refused: by what each client sends for whom."""

from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import pytest

from crm_sync.core.outcome import Outcome
from crm_sync.crm.http import Http
from crm_sync.crm.trail import followed
from crm_sync.errors import LaneError, NotSentError
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.hubspot.beside import SCOPES
from crm_sync.sandbox.hubspot.sandbox import HubSpotSandbox
from crm_sync.sandbox.mautic.sandbox import MauticSandbox
from crm_sync.sandbox.server import Answer, Fault
from tests.crm import test_brevo, test_hubspot, test_mautic

NOBODY, FIRST, BOTH = set(), {1}, {1, 2}
REFUSALS = [400, 401, 403, 404, 413, 429, 302]


def brevo():
    sandbox = BrevoSandbox(key=test_brevo.KEY, list_ids={7}, **test_brevo.NO_LIMITS)
    return sandbox, lambda url: test_brevo.client(f"{url}/v3")


def hubspot():
    return HubSpotSandbox(token=test_hubspot.TOKEN, requests_per_ten_seconds=None, requests_per_day=None), test_hubspot.client


def mautic():
    return MauticSandbox(username=test_mautic.USER, password=test_mautic.PASSWORD), test_mautic.client


@asynccontextmanager
async def account(make):
    sandbox, client = make()
    async with sandbox, client(sandbox.url) as opened:
        yield sandbox, opened


def people(*remote_ids, **fields):
    return [
        test_brevo.contact(f"{number}@example.com", remote_id, **fields)._replace(id=number)
        for number, remote_id in enumerate(remote_ids, 1)
    ]


async def written(client, contacts):
    """By id, and what was said."""
    with followed("a CRM", "upsert") as trail:
        try:
            said = await client.deliver(contacts)
        except LaneError as error:
            said = [error] * len(contacts)
    return {one.id for one in contacts if trail.may_have_written(one)}, said


def writes(call):
    return call.method != "GET"


@pytest.mark.parametrize("make", [brevo, hubspot, mautic])
@pytest.mark.parametrize("status", REFUSALS)
async def test_of_nobody_where_the_write_is_refused_as_a_whole(make, status):
    async with account(make) as (sandbox, client):
        sandbox.standing_faults.append(Fault(writes, answer=Answer(status, {"message": "no"})))
        assert (await written(client, people(None)))[0] == NOBODY


@pytest.mark.parametrize("make", [brevo, hubspot, mautic])
@pytest.mark.parametrize(
    "fault",
    [{"answer": Answer(500)}, {"answer": Answer(503)}, {"answer": Answer(408)}, {"drop": True}, {"drop": True, "applies": True}],
)
async def test_of_all_where_the_crm_fails_or_does_not_answer(make, fault):
    async with account(make) as (sandbox, client):
        sandbox.standing_faults.append(Fault(writes, **fault))
        assert (await written(client, people(None)))[0] == FIRST


@pytest.mark.parametrize("make", [brevo, mautic])
async def test_of_nobody_where_only_the_look_before_it_failed(make):
    async with account(make) as (sandbox, client):
        sandbox.standing_faults.append(Fault(lambda call: call.method == "GET", drop=True))
        assert (await written(client, people("7")))[0] == NOBODY


async def test_at_hubspot_of_those_that_were_updated_before_the_others_were_refused():
    async with account(hubspot) as (sandbox, client):
        [known] = await client.deliver(people(None, firstname="Ada")[:1])
        sandbox.standing_faults.append(Fault(lambda call: "upsert" in call.path, answer=sandbox.throttled()))
        stored, said = await written(client, people(known.remote_id, None, firstname="Bo"))
    assert isinstance(said[0], Outcome)
    assert (stored, said[1].code) == (FIRST, "RATE_LIMITED")


async def test_at_hubspot_of_nobody_whose_record_is_gone_where_the_upsert_is_refused():
    async with account(hubspot) as (sandbox, client):
        [known] = await client.deliver(people(None, firstname="Ada")[:1])
        sandbox.standing_faults.append(Fault(lambda call: "upsert" in call.path, answer=sandbox.throttled()))
        stored, _ = await written(client, people(known.remote_id, "999", firstname="Bo"))
    assert stored <= FIRST


def gone(*ids):
    context = {"ids": list(ids)}
    return {"status": "error", "category": "OBJECT_NOT_FOUND", "message": "gone", "context": context}


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([gone("777", "888")], NOBODY),
        ([gone("777")], {2}),
        ([gone("888")], FIRST),
        ([gone()], BOTH),
        ([], BOTH),
    ],
)
async def test_at_hubspot_of_those_that_an_update_s_answer_does_not_mention(errors, expected):
    """Only of those that HubSpot said are missing it is known that nothing was stored."""
    async with account(hubspot) as (sandbox, client):
        answer = Answer(207, {"status": "COMPLETE", "results": [], "errors": errors})
        sandbox.standing_faults.append(Fault(lambda call: "update" in call.path, answer=answer))
        sandbox.standing_faults.append(Fault(lambda call: "upsert" in call.path, answer=sandbox.throttled()))
        stored, said = await written(client, people("777", "888", firstname="Bo"))
    assert (stored, {one.code for one in said}) == (expected, {"RATE_LIMITED"})


async def test_at_hubspot_of_a_contact_whose_subscription_was_refused():
    async with account(hubspot) as (sandbox, client):
        sandbox.scopes |= {*SCOPES.values()}
        sandbox.standing_faults.append(Fault(lambda call: "unsubscribe-all" in call.path, answer=sandbox.throttled()))
        stored, said = await written(client, people(None, firstname="Ada", unsubscribeAll=True))
    assert (stored, said[0].code) == (FIRST, "RATE_LIMITED")


async def test_at_mautic_of_those_that_were_edited_before_the_new_ones_were_refused_and_of_one_whose_segment_was():
    async with account(mautic) as (sandbox, client):
        [known] = await client.deliver(people(None, firstname="Ada")[:1])
        sandbox.next_faults.append(Fault(lambda call: call.path.endswith("/new"), answer=sandbox.throttled()))
        assert (await written(client, people(known.remote_id, None, firstname="Bo")))[0] == FIRST
        sandbox.account.segments |= {7: set()}
        sandbox.standing_faults.append(Fault(lambda call: "segments" in call.path, answer=sandbox.throttled()))
        stored, said = await written(client, people(None, None, firstname="Bo", segmentIds=[7]))
    assert (stored, {one.code for one in said}) == (BOTH, {"RATE_LIMITED"})


async def test_at_mautic_of_nobody_who_was_not_sent_because_an_edit_before_failed():
    async with account(mautic) as (sandbox, client):
        [known] = await client.deliver(people(None, firstname="Ada")[:1])
        sandbox.standing_faults.append(Fault(lambda call: call.path.endswith("/edit"), answer=Answer(502)))
        assert (await written(client, people(known.remote_id, None, firstname="Bo")))[0] == FIRST


async def test_at_brevo_of_a_contact_that_was_written_but_not_taken_off_a_list():
    async with account(brevo) as (sandbox, client):
        await client.deliver(people(None, FIRSTNAME="Ada"))
        sandbox.standing_faults.append(Fault(lambda call: call.method == "PUT", answer=sandbox.throttled()))
        stored, said = await written(client, people(None, FIRSTNAME="Bo", unlinkListIds=[7]))
    assert stored == FIRST
    assert said[0].code == "RATE_LIMITED"


async def test_by_default_a_request_that_only_reads_or_logs_in_writes_nothing_and_others_write_all():
    async def answered(request):
        if request.url.path == "/away":
            raise NotSentError("UNREACHABLE", "no connection")
        return SimpleNamespace(status=200, headers={}, body=b"{}", flaw=None)

    async with Http("https://crm.example.com", {}, wire=answered) as http:

        async def stored(method, path="/contacts", **options):
            with followed("a CRM", "upsert") as trail, suppress(LaneError):
                await http.send(method, path, **options)
            return {one.id for one in people(None, None) if trail.may_have_written(one)}

        assert [await stored(method) for method in ("GET", "HEAD", "OPTIONS")] == [NOBODY] * 3
        assert [await stored(method) for method in ("POST", "PUT", "PATCH", "DELETE")] == [BOTH] * 4
        assert await stored("POST", login=True) == NOBODY
        assert await stored("POST", form={"grant_type": "client_credentials"}) == NOBODY
        assert await stored("POST", "/away") == NOBODY
        assert await stored("POST", writes=people(None)) == FIRST
        assert await stored("POST", writes=()) == NOBODY
