"""A front in front of a CRM that answers in its place, byte by byte."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from crm_sync.sandbox.server import Sandbox
from tests.harness import TIMEOUT_S

MEGABYTE = 1024 * 1024

Says = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]] | None


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    """An answer as bytes. Without a length, its body ends with the connection."""
    lines = [f"HTTP/1.1 {status} Said", "Content-Type: application/json", *headers, "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Front:
    """Answers with these bytes, or with a function that writes them; with None, the CRM behind it answers.

    heard: what came in, while it answered itself.
    """

    def __init__(self, url: str, says: Says, tls: ssl.SSLContext | None = None) -> None:
        """url: of the CRM. tls: for connections to this front."""
        self.says = says
        self.heard: list[bytes] = []
        self._port = int(url.rpartition(":")[2])
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Front":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await (self._hand_on(reader, writer) if self.says is None else self._answer(reader, writer))
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        self.heard.append(head + await reader.readexactly(int(length[1]) if length else 0))
        if callable(self.says):
            await self.says(writer)
        else:
            writer.write(self.says or b"")
            await writer.drain()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)

        async def pour(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while part := await source.read(65536):
                    target.write(part)
                    await target.drain()
            target.close()

        await asyncio.gather(pour(reader, there_writer), pour(there_reader, writer))

    async def answered(self, times: int) -> None:
        """Returns when it has answered this often itself."""
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.heard) < times:  # noqa: ASYNC110 (a server has no events)
                await asyncio.sleep(0.005)


@asynccontextmanager
async def fronts(there: Mapping[str, Sandbox], says: Says) -> AsyncIterator[dict[str, Front]]:
    """One in front of each of these CRMs."""
    before = {crm: Front(sandbox.url, says) for crm, sandbox in there.items()}
    for front in before.values():
        await front.__aenter__()
    try:
        yield before
    finally:
        for front in before.values():
            await front.__aexit__()
