"""Of whom a CRM may have stored values where a delivery was cancelled, or a second try found no connection."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from crm_sync.core.outcome import Contact
from crm_sync.crm.account import over_http
from crm_sync.crm.connections import Connections
from crm_sync.crm.http import Http
from crm_sync.crm.limiter import UNLIMITED
from crm_sync.crm.trail import followed
from crm_sync.errors import NotSentError
from tests.harness import TIMEOUT_S, ScriptedCrm, account
from tests.keeping_server import GOOD, KeepingServer, end, reset

ADA = Contact(1, 1, 1, None, "ada@example.com", None, {})


class Mute:
    """Accepts connections, and says nothing: no handshake comes about. connected: set by the first."""

    def __init__(self):
        self.connected = asyncio.Event()
        self._end = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._end.set()
        self._server.close()

    async def _accept(self, _, writer):
        self.connected.set()
        await self._end.wait()
        writer.close()


@asynccontextmanager
async def delivering(http, **options):
    """A request under way. Yields the trail, and cancels it at the end."""
    with followed("a CRM", "upsert") as trail:
        task = asyncio.create_task(http.request("POST", "/contacts", {}, **options))
        async with asyncio.timeout(TIMEOUT_S):
            yield trail
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()


async def test_of_nobody_where_it_was_cancelled_before_there_was_a_connection():
    async with Mute() as crm, Http(crm.url, {}) as http, delivering(http) as trail:
        await crm.connected.wait()
    assert trail.requests == 1
    assert not trail.may_have_written(ADA)


@pytest.mark.parametrize("used", [False, True])
async def test_of_all_where_it_was_cancelled_after_the_crm_had_the_request(used):
    heard = asyncio.Event()

    def says(_, request):
        if used and request == 1:
            return GOOD
        heard.set()
        return None

    async with KeepingServer(says) as crm, Http(crm.url, {}) as http:
        if used:
            await http.request("GET", "/contacts")
        async with delivering(http) as trail:
            await heard.wait()
    assert trail.may_have_written(ADA)


async def test_of_nobody_where_an_earlier_request_of_the_delivery_had_a_connection_and_only_read():
    async with KeepingServer(lambda *_: GOOD) as reading, Mute() as mute, Http(reading.url, {}) as http:
        with followed("a CRM", "upsert") as trail:

            async def look_and_write():
                await http.request("GET", "/contacts")
                http._base_url = mute.url
                await http.request("POST", "/contacts", {})

            task = asyncio.create_task(look_and_write())
            async with asyncio.timeout(TIMEOUT_S):
                await mute.connected.wait()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    assert trail.requests == 2
    assert not trail.may_have_written(ADA)


@asynccontextmanager
async def broken_off(break_off):
    """An Http whose next request dies on a kept connection, and the server."""
    async with (
        KeepingServer(lambda _, request: GOOD if request == 1 else break_off) as crm,
        Http(crm.url, {}) as http,
    ):
        await http.request("GET", "/contacts")
        yield crm, http


@pytest.mark.parametrize("break_off", [end, reset])
async def test_of_all_where_the_second_try_finds_no_connection(break_off):
    """The first try may have arrived: a server that goes down closes its connections too."""
    async with broken_off(break_off) as (crm, http):
        crm._server.close()
        with followed("a CRM", "upsert") as trail, pytest.raises(NotSentError):
            await http.request("POST", "/contacts", {})
    assert crm.heard == [(1, 1), (1, 2)]
    assert trail.may_have_written(ADA)


async def test_of_all_where_the_second_try_is_cancelled_before_it_has_a_connection(monkeypatch):
    second = asyncio.Event()
    exchange = Connections._exchange

    async def never_connects(self, session, *arguments):
        if session is self._new:
            second.set()
            await asyncio.Event().wait()
        return await exchange(self, session, *arguments)

    async with broken_off(end) as (_, http):
        monkeypatch.setattr(Connections, "_exchange", never_connects)
        async with delivering(http) as trail:
            await second.wait()
    assert trail.may_have_written(ADA)


async def test_of_nobody_where_a_request_without_repetition_finds_no_connection():
    async with broken_off(end) as (crm, http):
        crm._server.close()
        with followed("a CRM", "upsert") as trail, pytest.raises(NotSentError):
            await http.request("POST", "/contacts", {}, once=True)
    assert not trail.may_have_written(ADA)


async def test_an_account_over_http_says_that_its_client_leaves_a_trail_and_another_does_not():
    url = "https://crm.example.com"
    spoken = over_http("crm", lambda _: ScriptedCrm(), url_setting="CRM_URL", base_url=url, headers={}, default_fields={})
    async with spoken.open(UNLIMITED) as client, account(ScriptedCrm()).open(UNLIMITED) as other:
        assert (client.leaves_trail, other.leaves_trail) == (True, False)
