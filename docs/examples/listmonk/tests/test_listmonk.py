"""What is specific to listmonk: what a PUT would remove, what it refuses, and how."""

import asyncio
from datetime import UTC, datetime

import pytest

from crm_sync.core.outcome import Contact, Outcome, Verdict
from crm_sync.crm.http import Http
from crm_sync.errors import RefusedError
from crm_sync.testing import Answer, Fault
from crm_sync_listmonk.client import Listmonk
from crm_sync_listmonk.sandbox import TOKEN, USERNAME, ListmonkSandbox


def contact(email="ada@example.com", remote_id=None, **fields):
    return Contact(1, 1, 1, remote_id, email, datetime(2026, 1, 31, tzinfo=UTC), fields)


def run(check, *, list_id=None, token=TOKEN):
    async def whole():
        async with ListmonkSandbox() as sandbox, Http(sandbox.url, {"Authorization": f"token {USERNAME}:{token}"}) as http:
            await check(sandbox, Listmonk(http, list_id=list_id))

    asyncio.run(whole())


def test_a_new_subscriber_is_put_on_the_list_and_takes_one_request():
    async def check(sandbox, client):
        assert await client.deliver([contact(name="Ada", city="London")]) == [Outcome.delivered("1")]
        [one] = sandbox.subscribers.values()
        assert (one["name"], one["attribs"], one["lists"]) == ("Ada", {"city": "London"}, {1: "unconfirmed"})
        assert [(request.method, request.path) for request in sandbox.requests] == [("POST", "/api/subscribers")]

    run(check, list_id=1)


def test_what_others_have_written_is_kept():
    async def check(sandbox, client):
        await client.deliver([contact(name="Ada")])
        sandbox.lists[2] = "News"
        theirs = {"status": "blocklisted", "attribs": {"plan": {"seats": 3}}, "lists": {1: "unsubscribed", 2: "confirmed"}}
        sandbox.subscribers[1] |= theirs
        assert await client.deliver([contact("ADA@example.com", city="London")]) == [Outcome.delivered("1")]
        [one] = sandbox.subscribers.values()
        assert one["name"] == "Ada"
        assert one["attribs"] == {"plan": {"seats": 3}, "city": "London"}
        assert (one["status"], one["lists"]) == (theirs["status"], theirs["lists"])

    run(check, list_id=1)


def test_whoever_has_left_the_list_is_not_put_on_it_again():
    async def check(sandbox, client):
        await client.deliver([contact(name="Ada")])
        sandbox.subscribers[1]["lists"] = {}
        await client.deliver([contact(remote_id="1", name="Augusta")])
        assert sandbox.subscribers[1]["lists"] == {}

    run(check, list_id=1)


@pytest.mark.parametrize("email", ["a+b@example.com", "a.b@example.com", "[a]{2}|$@example.com"])
def test_an_address_is_looked_for_as_it_stands(email):
    async def check(sandbox, client):
        for other in ("aab@example.com", "axb@example.com", "ada@example.com"):
            await client.deliver([contact(other, name=email)])
        await client.deliver([contact(email, name="Ada")])
        assert await client.deliver([contact(email, name="Augusta")]) == [Outcome.delivered("4")]
        assert await client.find([email]) == ["4"]

    run(check)


def test_the_address_of_another_subscriber_is_a_duplicate_although_listmonk_says_500():
    async def check(sandbox, client):
        await client.deliver([contact("ada@example.com", name="Ada")])
        await client.deliver([contact("eve@example.com", name="Eve")])
        [outcome] = await client.deliver([contact("ada@example.com", "2", name="Eve")])
        assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "DUPLICATE")
        assert "ada@" not in outcome.reason

    run(check)


def test_an_address_that_exists_and_is_not_shown_says_which_permission_lacks():
    async def check(sandbox, client):
        await client.deliver([contact(name="Ada")])
        nobody = Answer(200, {"data": {"results": [], "total": 0}})
        sandbox.standing_faults.append(Fault(matches=lambda call: "search" in call.query, answer=nobody))
        [outcome] = await client.deliver([contact(name="Augusta")])
        assert (outcome.code, "subscribers:get_all" in outcome.reason) == ("DUPLICATE", True)

    run(check)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"token": "another-token-0123"}, "REFUSED.*LISTMONK_TOKEN"), ({"list_id": 7}, "no list 7: check LISTMONK_LIST_ID")],
)
def test_check_says_what_is_wrong(options, words):
    async def check(sandbox, client):
        with pytest.raises(RefusedError, match=words):
            await client.check()

    run(check, **options)


def test_check_finds_the_list():
    async def check(sandbox, client):
        assert await client.check() == "token accepted, list 1 is there"

    run(check, list_id=1)
