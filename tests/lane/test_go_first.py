"""Requests go out before the lane asks the database for more."""

import asyncio
import socket

from yarl import URL

from crm_sync.crm.connections import Connections
from crm_sync.crm.exchange import Request
from crm_sync.lane.dispatch import TURNS_TO_SEND
from crm_sync.lane.wake import Wake
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until, until_asleep
from tests.steps import insert

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


async def test_a_request_is_written_within_these_turns_of_the_event_loop():
    loop = asyncio.get_running_loop()
    connections = Connections(5.0)
    await connections.open()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        request = Request("POST", URL(f"http://127.0.0.1:{server.getsockname()[1]}/"), {}, b"{}", False, False)
        try:
            first = asyncio.create_task(connections.send(request))
            peer, _ = await loop.sock_accept(server)
            with peer:
                await loop.sock_recv(peer, 65_536)
                await loop.sock_sendall(peer, ANSWER)
                await first
                second = asyncio.create_task(connections.send(request))
                for _ in range(TURNS_TO_SEND):
                    await asyncio.sleep(0)
                assert b"{}" in peer.recv(65_536, socket.MSG_DONTWAIT)
                await loop.sock_sendall(peer, ANSWER)
                await second
        finally:
            await connections.close()


async def test_the_lane_asks_for_no_more_until_the_request_has_begun(app, url, monkeypatch):
    crm, rest, begun = ScriptedCrm(), Wake.rest, []

    async def spied(wake, claimed, limit):
        begun.append((claimed, len(crm.requests)))
        await rest(wake, claimed, limit)

    monkeypatch.setattr(Wake, "rest", spied)
    async with running(url, crm):
        await until_asleep(app)
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
    assert [requests for claimed, requests in begun if claimed] == [1]
