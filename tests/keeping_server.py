"""A server that keeps connections open, and answers or breaks each request as a test says."""

import asyncio
import socket
import struct
from contextlib import suppress

GOOD = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"id": 7}'


def end(writer):
    writer.close()


def reset(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class KeepingServer:
    """Keeps connections open, and answers with the result of `says`: bytes, a function of the writer that ends the connection, or
    nothing.

    says: called with the number of the connection and of the request on it, from 1 on. heard: these pairs.
    """

    def __init__(self, says):
        self.heard = []
        self.bodies = []
        self._says = says
        self._connections = 0
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader, writer):
        self._connections += 1
        self._tasks.add(asyncio.create_task(self._serve(reader, writer, self._connections)))

    async def _serve(self, reader, writer, connection):
        requests = 0
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    requests += 1
                    lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
                    self.bodies.append(await reader.readexactly(int(lengths[0]) if lengths else 0))
                    self.heard.append((connection, requests))
                    said = self._says(connection, requests)
                    if said is None:
                        await asyncio.Event().wait()
                    if callable(said):
                        said(writer)
                        break
                    writer.write(said)
                    await writer.drain()
        finally:
            writer.close()
