"""Kept connections: a request that dies on one that the server has closed meanwhile is not a failure of the CRM."""

import asyncio
from contextlib import closing, suppress

import pytest
from yarl import URL

from crm_sync.crm.connections import KEEP_ALIVE_S, Connections, _Line
from crm_sync.crm.exchange import Request
from crm_sync.crm.http import Http
from crm_sync.crm.trail import followed
from crm_sync.errors import HeldBackError, OutageError
from tests.harness import TIMEOUT_S
from tests.keeping_server import GOOD, KeepingServer, end, reset

METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE"]


class Limiter:
    def __init__(self):
        self.slots = 0

    async def slot(self):
        self.slots += 1

    async def correct(self, _):
        pass


@pytest.mark.parametrize("break_off", [end, reset])
@pytest.mark.parametrize("method", METHODS)
async def test_what_dies_on_a_used_connection_goes_out_once_more_on_a_new_one(method, break_off):
    limiter = Limiter()
    body = None if method in ("GET", "DELETE") else {"email": "ada@example.com"}
    async with (
        KeepingServer(lambda connection, request: break_off if (connection, request) == (1, 2) else GOOD) as server,
        Http(server.url, {}, limiter=limiter) as http,
    ):
        for _ in range(2):
            assert (await http.request(method, "/contacts", body)).get("id") == 7
    assert server.heard == [(1, 1), (1, 2), (2, 1)]
    assert server.bodies[1] == server.bodies[2], "the same request"
    assert limiter.slots == 2, "one of each request"


@pytest.mark.parametrize("break_off", [end, reset])
async def test_what_would_make_a_second_record_has_a_new_connection_and_is_not_repeated(break_off):
    def says(connection, _):
        return GOOD if connection == 1 else break_off

    async with KeepingServer(says) as server, Http(server.url, {}) as http:
        await http.request("GET", "/people")
        with pytest.raises(OutageError, match="BROKEN_ANSWER"):
            await http.request("POST", "/people", {}, once=True)
        await http.request("GET", "/people")
    assert server.heard == [(1, 1), (2, 1), (1, 2)]


@pytest.mark.parametrize("break_off", [end, reset])
@pytest.mark.parametrize("method", METHODS)
async def test_on_a_new_connection_nothing_is_repeated(method, break_off):
    async with KeepingServer(lambda *_: break_off) as server, Http(server.url, {}) as http:
        with pytest.raises(OutageError, match="BROKEN_ANSWER"):
            await http.request(method, "/contacts")
    assert server.heard == [(1, 1)]


@pytest.mark.parametrize("break_off", [end, reset])
async def test_what_dies_on_the_new_connection_too_is_a_failure(break_off):
    def says(connection, request):
        return GOOD if (connection, request) == (1, 1) else break_off

    async with KeepingServer(says) as server, Http(server.url, {}) as http:
        await http.request("POST", "/contacts", {})
        with pytest.raises(OutageError, match="BROKEN_ANSWER"):
            await http.request("POST", "/contacts", {})
    assert server.heard == [(1, 1), (1, 2), (2, 1)]


@pytest.mark.parametrize("break_off", [end, reset])
@pytest.mark.parametrize("said", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_nothing_is_repeated_after_a_byte_of_an_answer(said, break_off):
    def begin(writer):
        writer.write(said)
        # What is written is not lost by the reset that follows.
        asyncio.get_running_loop().call_later(0.05, break_off, writer)

    async def serve(reader, writer):
        nonlocal requests
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                requests += 1
                if requests == 1:
                    writer.write(GOOD)
                else:
                    begin(writer)

    requests = 0
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Http(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", {}) as http:
        await http.request("GET", "/contacts")
        with pytest.raises(OutageError, match="BROKEN_ANSWER"):
            await http.request("GET", "/contacts")
    assert requests == 2


async def test_a_server_that_breaks_the_second_request_of_each_connection_costs_nobody_anything():
    async with (
        KeepingServer(lambda _, request: GOOD if request == 1 else end) as server,
        Http(server.url, {}) as http,
    ):
        for _ in range(5):
            answers = await asyncio.gather(*(http.request("POST", "/contacts", {"n": n}) for n in range(16)))
            assert [answer.get("id") for answer in answers] == [7] * 16
    assert sum(request == 1 for _, request in server.heard) == 80


async def test_a_second_try_has_no_more_time_than_is_left():
    def says(connection, request):
        return GOOD if (connection, request) == (1, 1) else end if request == 2 else None

    async with KeepingServer(says) as server, Http(server.url, {}, timeout_s=1.0) as http, asyncio.timeout(TIMEOUT_S):
        await http.request("POST", "/contacts", {})
        with pytest.raises(OutageError, match=r"TIMEOUT: no answer within 1 s"):
            await http.request("POST", "/contacts", {})
    assert server.heard == [(1, 1), (1, 2), (2, 1)]


async def test_what_may_be_at_work_in_the_crm_is_not_repeated():
    """A request that was received, and whose connection dies later, was not on a stale connection."""

    def says(connection, request):
        return GOOD if (connection, request) == (1, 1) else end

    connections = Connections(5.0, stale_s=0.0)
    await connections.open()
    async with KeepingServer(says) as server:
        request = Request("POST", URL(server.url), {})
        assert (await connections.send(request)).status == 200
        with pytest.raises(OutageError, match="BROKEN_ANSWER"):
            await connections.send(request)
    await connections.close()
    assert server.heard == [(1, 1), (1, 2)]


def test_no_connection_is_kept_for_as_long_as_node_and_apache_keep_it():
    assert KEEP_ALIVE_S < 5


async def test_a_connection_that_the_server_has_closed_while_it_idled_is_no_trouble():
    """A server that says keep-alive and closes, as after an idle timeout."""

    def says(_, __):
        def answer_and_close(writer):
            writer.write(GOOD)
            writer.close()

        return answer_and_close

    async with KeepingServer(says) as server, Http(server.url, {}) as http:
        for _ in range(20):
            assert (await http.request("POST", "/contacts", {})).get("id") == 7


@pytest.mark.parametrize(
    "unasked",
    [
        pytest.param(GOOD.replace(b"7", b"9"), id="an answer"),
        pytest.param(b"HTTP/1.0 408 Request Time-out\r\nConnection: close\r\n\r\n<html>", id="a timeout"),
        pytest.param(b"HTTP/1.1 200", id="half an answer"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="an early answer"),
        pytest.param(b"0\r\n\r\n", id="the end of a body"),
    ],
)
async def test_what_a_server_says_unasked_is_no_answer_to_the_next_request(unasked, monkeypatch):
    arrived, answered = asyncio.Event(), asyncio.Event()
    data_received = _Line.data_received

    def listening(self, data):
        data_received(self, data)
        if data == unasked:
            arrived.set()

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError), closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(GOOD)
            await answered.wait()
            writer.write(unasked)
            await reader.read()

    connections = 0
    monkeypatch.setattr(_Line, "data_received", listening)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with (
        server,
        Http(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", {}, timeout_s=TIMEOUT_S) as http,
        asyncio.timeout(TIMEOUT_S),
    ):
        assert (await http.request("GET", "/contacts")).get("id") == 7
        answered.set()
        await arrived.wait()
        answered.clear()
        assert (await http.request("GET", "/contacts")).get("id") == 7
    assert connections == 2


async def test_an_endless_series_of_early_answers_is_no_answer_and_read_no_further():
    """Each is parsed as an answer, which would keep the event loop from serving other CRMs."""
    sent = 0

    async def flood(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        nonlocal sent
        with suppress(ConnectionError), closing(writer):
            while True:
                writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" * 40)
                await writer.drain()
                sent += 80
                await asyncio.sleep(0.001)  # so that they come one by one

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    async with server, Http(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", {}, timeout_s=30.0) as http:
        with pytest.raises(OutageError, match="BROKEN_ANSWER: the connection or the answer broke"):
            await http.request("GET", "/contacts")
    assert sent < 1000


async def test_a_body_that_speaks_of_answers_is_none_of_them():
    body = b'{"id": 7, "log": "%s"}' % (b"HTTP/1.1 100 Continue " * 500)
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with KeepingServer(lambda *_: answer + body) as server, Http(server.url, {}) as http:
        for _ in range(2):
            assert (await http.request("POST", "/contacts", {})).get("id") == 7


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + GOOD, id="early answers first"
        ),
        pytest.param(GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(
            GOOD.replace(b"OK\r\n", b"OK\r\n" + b"".join(b"Set-Cookie: n%d=1\r\n" % n for n in range(60))), id="60 cookies"
        ),
    ],
)
async def test_an_unusual_answer_is_an_answer(answer):
    async with KeepingServer(lambda *_: answer) as server, Http(server.url, {}) as http:
        for _ in range(2):
            assert (await http.request("POST", "/contacts", {})).get("id") == 7


async def test_connections_that_were_never_opened_can_be_closed():
    await Connections(1.0).close()


@pytest.mark.parametrize("first", [True, False], ids=["a new connection", "a kept one"])
async def test_a_request_that_may_not_go_on_is_not_sent_and_its_connection_is_kept(first):
    async with KeepingServer(lambda *_: GOOD) as server, Http(server.url, {}) as http:
        if not first:
            await http.request("POST", "/contacts", {})
        before = [*server.heard]
        with followed("brevo", "upsert", lambda: False) as trail, pytest.raises(HeldBackError, match="the session was lost"):
            await http.request("POST", "/contacts", {})
        assert server.heard == before
        assert not trail.all_written
        await http.request("POST", "/contacts", {})
        assert server.heard == [*before, (1, len(before) + 1)]


async def test_a_delivery_of_several_requests_ends_where_it_may_not_go_on():
    async with KeepingServer(lambda *_: GOOD) as server, Http(server.url, {}) as http:
        may = iter([True, False])
        with followed("brevo", "upsert", lambda: next(may)):
            await http.request("GET", "/contacts")
            with pytest.raises(HeldBackError):
                await http.request("POST", "/contacts", {})
    assert server.heard == [(1, 1)]
