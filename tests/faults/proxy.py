"""A TCP proxy between a worker and Postgres that behaves like a bad network. It can be switched while it runs.

It knows just enough of the protocol to lose the answer to a certain statement: a message is a type, a length and a body; a
statement is prepared under a name and run by that name.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

ENCRYPTION_REQUESTS = (80877103, 80877104)  # for TLS and for GSSAPI; the answer to these is a single byte
READY_FOR_QUERY = b"Z"
NO_LINGER = struct.pack("ii", 1, 0)  # closing sends a reset


class LostAnswer:
    """The next answer to a statement whose text contains `statement` will not arrive, although the server executed it.

    keep_bytes: this much of it arrives. silent: nothing happens after that; otherwise the connection is reset.
    """

    def __init__(self, statement: str, *, keep_bytes: int, silent: bool) -> None:
        self.statement = statement.encode()
        self.keep_bytes = keep_bytes
        self.silent = silent
        self.happened = asyncio.Event()


class Link:
    """One connection: the worker's side, and the server's."""

    def __init__(self, proxy: "Proxy", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.silent = False  # nothing passes any more, not even that one side has hung up
        self.cut_after: int | None = None  # bytes of answers that still pass before the connection is reset
        self._proxy = proxy
        self._client = reader, writer
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._statements: dict[bytes, bytes] = {}  # text by name
        self._single_byte = False
        self._losing: LostAnswer | None = None

    async def run(self) -> None:
        """Until one side hangs up, or for as long as the proxy runs if nothing passes any more."""
        await self._proxy.reachable.wait()
        self._server = await asyncio.open_connection(*self._proxy.target)
        directions = [asyncio.create_task(self._carry(self._to_server)), asyncio.create_task(self._carry(self._to_client))]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    @property
    def server_port(self) -> int | None:
        """The port that the server sees, None before it is connected."""
        return None if self._server is None else int(self._server[1].get_extra_info("sockname")[1])

    def reset(self) -> None:
        """Ends both sides like a broken connection."""
        for _, writer in filter(None, (self._client, self._server)):
            line = writer.get_extra_info("socket")  # None if it is closed already
            if line is not None:
                with suppress(OSError, ValueError):  # closed meanwhile: uvloop says ValueError
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            writer.transport.abort()

    async def _carry(self, carry: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await carry()
        if self.silent:
            await asyncio.Event().wait()

    async def _to_server(self) -> None:
        reader = self._client[0]
        while True:
            length = await reader.readexactly(4)
            body = await reader.readexactly(_size(length))
            self._single_byte = int.from_bytes(body[:4]) in ENCRYPTION_REQUESTS
            await self._send_to_server(length + body)
            if not self._single_byte:
                break
        while True:
            head = await reader.readexactly(5)
            body = await reader.readexactly(_size(head[1:]))
            self._note(head[:1], body)
            await self._send_to_server(head + body)

    async def _to_client(self) -> None:
        assert self._server is not None
        reader = self._server[0]
        while True:
            kind = await reader.readexactly(1)
            if self._single_byte:
                self._single_byte = False
                await self._send_to_client(kind)
                continue
            length = await reader.readexactly(4)
            message = kind + length + await reader.readexactly(_size(length))
            if self._losing is None:
                await self._send_to_client(message)
            else:
                await self._lose(self._losing, message)

    def _note(self, kind: bytes, body: bytes) -> None:
        """Records prepared statements, and notices when one runs whose answer is to be lost."""
        if kind == b"P":
            name, text = body.split(b"\0")[:2]
            self._statements[name] = text
        elif kind == b"B":
            self._losing = self._proxy.take_lost_answer(self._statements.get(body.split(b"\0")[1], b""))
        elif kind == b"Q":
            self._losing = self._proxy.take_lost_answer(body)

    async def _lose(self, losing: LostAnswer, message: bytes) -> None:
        """The server is ready for the next statement once this one is committed: the connection must not break before that."""
        await self._send_to_client(message[: losing.keep_bytes])
        losing.keep_bytes = max(0, losing.keep_bytes - len(message))
        if message[:1] == READY_FOR_QUERY:
            self._losing = None
            if losing.silent:
                self.silent = True
            else:
                self.reset()
            losing.happened.set()

    async def _send_to_server(self, data: bytes) -> None:
        assert self._server is not None
        await self._send(self._server[1], data)

    async def _send_to_client(self, data: bytes) -> None:
        if self.cut_after is not None:
            data = data[: self.cut_after]
            self.cut_after -= len(data)
        await self._send(self._client[1], data)
        if self.cut_after == 0:
            self.reset()

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self._proxy.delay_s:
            await asyncio.sleep(self._proxy.delay_s)
        if data and not self.silent:
            writer.write(data)
            await writer.drain()

    def close(self) -> None:
        for _, writer in filter(None, (self._client, self._server)):
            writer.close()


class Proxy:
    """Passes everything on by default. attempts: how many connections were tried so far.

    on_link is called with every new link, before anything passes.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self.target = (self._url.hostname, self._url.port)
        self.delay_s = 0.0
        self.attempts = 0
        self.links: set[Link] = set()
        self.on_link: Callable[[Link], None] = lambda link: None
        self.reachable = asyncio.Event()
        self.reachable.set()
        self._attempted = asyncio.Condition()
        self._refusing = False
        self._lost_answers: list[LostAnswer] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Proxy":
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        user = self._url.netloc.rpartition("@")[0]
        self.url = urlunsplit(self._url._replace(netloc=f"{user}@127.0.0.1:{port}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def black_hole(self) -> None:
        """A silent drop: existing connections are dead without knowing it, and new ones get no answer."""
        self.reachable.clear()
        for link in self.links:
            link.silent = True

    def refuse(self) -> None:
        """Nothing listens any more: existing connections are reset, and new ones too."""
        self._refusing = True
        self.reset()

    def reset(self) -> None:
        """Breaks existing connections. New ones pass."""
        for link in self.links:
            link.reset()

    def heal(self) -> None:
        """New connections pass, and so do those tried meanwhile. Silently dropped ones stay dead."""
        self._refusing = False
        self.reachable.set()

    def lose_answer(self, statement: str, *, keep_bytes: int = 0, silent: bool = False) -> LostAnswer:
        """Loses one answer, see LostAnswer."""
        lost = LostAnswer(statement, keep_bytes=keep_bytes, silent=silent)
        self._lost_answers.append(lost)
        return lost

    async def attempted(self, attempts: int) -> None:
        """Returns when this many connections have been tried."""
        async with self._attempted:
            await self._attempted.wait_for(lambda: self.attempts >= attempts)

    def take_lost_answer(self, statement: bytes) -> LostAnswer | None:
        for lost in self._lost_answers:
            if lost.statement in statement:
                self._lost_answers.remove(lost)
                return lost
        return None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attempts += 1
        link = Link(self, reader, writer)
        self.links.add(link)
        self.on_link(link)
        task = asyncio.create_task(self._run(link))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, link: Link) -> None:
        try:
            async with self._attempted:
                self._attempted.notify_all()
            if self._refusing:
                link.reset()
                return
            with suppress(OSError):
                await link.run()
        finally:
            self.links.discard(link)
            link.close()


def _size(length: bytes) -> int:
    """Of a message's body: its length includes the length field itself."""
    return int.from_bytes(length) - 4
