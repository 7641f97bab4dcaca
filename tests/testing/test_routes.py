"""A fake CRM made of routes."""

import aiohttp
import pytest

from crm_sync.testing import Answer, Fault, Limit, RoutedSandbox, TokenDesk, Window, route
from tests.crm.talk import Clock, Talk


class People(RoutedSandbox):
    @route("GET", "/people/{number}")
    def one(self, call, number):
        return Answer(200, {"number": number, "asked": call.query})

    @route("GET", "/people/me")
    def me(self, call):
        return Answer(200, {"me": True})

    @route("PUT", "/people/{number}")
    @route("PATCH", "/people/{number}")
    def change(self, call, number):
        return Answer(200, {number: call.body})


class Newer(People):
    @route("GET", "/people/{number}")
    def newest(self, call, number):
        return Answer(200, {"newer": number})


@pytest.fixture
async def crm():
    async with People() as sandbox:
        yield sandbox


@pytest.fixture
async def talk(crm):
    async with aiohttp.ClientSession(crm.url) as session:
        yield Talk(session)


async def said(sandbox, method, path, **options):
    async with sandbox, aiohttp.ClientSession(sandbox.url) as session:
        reply = await Talk(session).ask(method, path, **options)
        return reply.status, reply.body


async def test_a_route_is_given_what_stands_in_its_path_and_the_first_that_fits_answers(talk):
    assert (await talk.ask("GET", "/people/7?a=1")).body == {"number": "7", "asked": {"a": "1"}}
    assert (await talk.ask("GET", "/people/me")).body == {"number": "me", "asked": {}}
    assert (await talk.ask("PUT", "/people/a%20b", {"x": 1})).body == {"a b": {"x": 1}}
    assert (await talk.ask("PATCH", "/people/7", {"x": 1})).body == {"7": {"x": 1}}


async def test_what_has_no_route_is_not_there(talk):
    assert await talk.ask("GET", "/people/7/friends") == (404, {"message": "Not Found"}, *(await talk.ask("GET", "/x"))[2:])
    assert (await talk.ask("DELETE", "/people/7")).status == 405


async def test_a_subclass_has_routes_of_its_own_before_those_it_inherits():
    assert await said(Newer(), "GET", "/people/7") == (200, {"newer": "7"})
    assert await said(Newer(), "PUT", "/people/7", json=1) == (200, {"7": 1})


async def test_it_may_be_filled_with_routes_without_a_class():
    sandbox = RoutedSandbox()
    sandbox.add("POST", "/a.b", lambda call: Answer(201, {"got": call.body}))
    assert await said(sandbox, "POST", "/a.b", json=1) == (201, {"got": 1})
    assert await said(sandbox, "POST", "/acb", json=1) == (404, {"message": "Not Found"})


async def test_who_is_not_let_in_costs_nothing_of_the_limit():
    clock = Clock()
    sandbox = People(limit=Limit(Window(1, 60)), clock=clock)
    sandbox.admits = lambda call: sandbox.error(401, "who?") if call.headers.get("x-key") != "k" else None
    async with sandbox, aiohttp.ClientSession(sandbox.url) as session:
        talk = Talk(session)
        assert (await talk.ask("GET", "/people/7")).status == 401
        assert (await talk.ask("GET", "/people/7", headers={"x-key": "k"})).status == 200
        clock.now_s += 20
        throttled = await talk.ask("GET", "/people/7", headers={"x-key": "k"})
        assert (throttled.status, throttled.headers["Retry-After"], sandbox.limit.breaches) == (429, "40", 1)
        clock.now_s += 40
        assert (await talk.ask("GET", "/people/7", headers={"x-key": "k"})).status == 200


async def test_it_goes_wrong_and_refuses_as_every_sandbox_does(crm, talk):
    crm.next_faults.append(Fault(mangles=lambda own: Answer(own.status, {"was": own.body})))
    assert (await talk.ask("GET", "/people/7")).body == {"was": {"number": "7", "asked": {}}}
    crm.refuse("poison")
    assert (await talk.ask("PUT", "/people/7", {"a": "poison"})).status == 400
    assert [one["status"] for one in (await talk.ask("GET", "/_sandbox/requests")).body] == [200, 400]


async def test_it_knows_how_many_connections_are_open(crm):
    assert RoutedSandbox().connections == 0
    async with aiohttp.ClientSession(crm.url) as session:
        await Talk(session).ask("GET", "/people/7")
        assert crm.connections == 1


async def test_a_token_is_good_for_its_life_and_until_it_is_revoked():
    clock = Clock()
    desk = TokenDesk({"user": "ada"}, life_s=60, clock=clock)
    sandbox = RoutedSandbox()
    sandbox.add("POST", "/token", desk.login)
    sandbox.add("GET", "/me", lambda call: Answer(200 if desk.admits(call) else 401))
    async with sandbox, aiohttp.ClientSession(sandbox.url) as session:
        talk = Talk(session)
        assert (await talk.ask("POST", "/token", {"user": "eve"})).status == 401
        granted = (await talk.ask("POST", "/token", {"user": "ada"})).body
        assert (granted["expires_in"], desk.logins) == (60, 2)
        headers = {"Authorization": f"Bearer {granted['access_token']}"}
        assert (await talk.ask("GET", "/me", headers=headers)).status == 200
        clock.now_s += 60
        assert (await talk.ask("GET", "/me", headers=headers)).status == 401
        again = (await talk.ask("POST", "/token", {"user": "ada"})).body["access_token"]
        desk.revoke()
        assert (await talk.ask("GET", "/me", headers={"Authorization": f"Bearer {again}"})).status == 401
        assert (await talk.ask("GET", "/me")).status == 401
