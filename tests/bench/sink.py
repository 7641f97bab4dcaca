"""An HTTP endpoint in the benchmark's own process that records when each request arrives.

Both ends of a latency are then read from one clock in one process: the enqueue just before its COMMIT, the arrival when the
first byte of the request is read from the socket.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import cast

ANSWER_BODY = b'{"id": 1}'
ANSWER = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(ANSWER_BODY),
    ANSWER_BODY,
)
REFUSAL = b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
HEAD_END = b"\r\n\r\n"

KeysOf = Callable[[str, bytes], Iterable[str]]


def last_path_segment(path: str, _body: bytes) -> Iterable[str]:
    """The key of a request to `/deliver/<key>`."""
    return (path.rpartition("/")[2],)


class Sink:
    """When each key arrived, in nanoseconds of `time.perf_counter_ns`, the first time if it arrived again."""

    def __init__(self, keys_of: KeysOf = last_path_segment) -> None:
        self.keys_of = keys_of
        self.arrivals: dict[str, int] = {}
        self.requests = 0
        self.url = ""
        self._awaited: dict[str, asyncio.Future[int]] = {}

    async def arrival(self, key: str, timeout_s: float) -> int:
        """Waits for the key if it is not there yet."""
        if key not in self.arrivals:
            self._awaited[key] = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(timeout_s):
                await self._awaited[key]
        return self.arrivals[key]

    def forget(self) -> None:
        """Clears the sink for another system, whose keys may be the same."""
        self.arrivals.clear()
        self._awaited.clear()
        self.requests = 0

    def note(self, path: str, body: bytes, first_byte_ns: int) -> None:
        self.requests += 1
        for key in self.keys_of(path, body):
            self.arrivals.setdefault(key, first_byte_ns)
            waiting = self._awaited.pop(key, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(first_byte_ns)


class _Connection(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection: requests with a Content-Length, or without a body."""

    def __init__(self, sink: Sink, connections: set[asyncio.Transport]) -> None:
        self.sink = sink
        self.connections = connections
        self.received = bytearray()
        self.first_byte_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are not subclasses of asyncio.Transport.
        self.transport = cast("asyncio.Transport", transport)
        self.connections.add(self.transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self.connections.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        now_ns = time.perf_counter_ns()
        if not self.received:
            self.first_byte_ns = now_ns
        self.received += data
        while self._take_request():
            self.first_byte_ns = now_ns

    def _take_request(self) -> bool:
        head_length = self.received.find(HEAD_END)
        if head_length < 0:
            return False
        request_line, *header_lines = bytes(self.received[:head_length]).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(":", 1) for line in header_lines)
        if "transfer-encoding" in headers:
            self.transport.write(REFUSAL)
            self.transport.close()
            return False
        body_start = head_length + len(HEAD_END)
        body_end = body_start + int(headers.get("content-length", 0))
        if len(self.received) < body_end:
            return False
        # The caller is answered first: processing the arrival is not its worker's time.
        self.transport.write(ANSWER)
        body = bytes(self.received[body_start:body_end])
        del self.received[:body_end]
        self.sink.note(request_line.split(" ")[1], body, self.first_byte_ns)
        return bool(self.received)


@asynccontextmanager
async def running_sink(keys_of: KeysOf = last_path_segment) -> AsyncIterator[Sink]:
    sink = Sink(keys_of)
    connections: set[asyncio.Transport] = set()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(sink, connections), "127.0.0.1", 0)
    sink.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield sink
    finally:
        server.close()
        for transport in list(connections):
            transport.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await server.wait_closed()
