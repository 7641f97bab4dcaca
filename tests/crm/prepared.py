"""Prepared answers for testing a client alone: no server, and no request that the test does not name.

aioresponses 0.7.9 builds a ClientResponse without the `stream_writer` that aiohttp 3.14 requires (pnuckowski/aioresponses,
issue 289). `Response` adds it. Once a release passes it itself, a test in test_prepared.py fails: delete `stream_writer` here.
"""

import asyncio
import json
from types import SimpleNamespace
from typing import Any, NamedTuple, Self
from unittest.mock import patch

from aiohttp import ClientResponse, ClientSession
from aioresponses import aioresponses
from multidict import CIMultiDict
from yarl import URL


class Response(ClientResponse):
    """A response to a request that was sent completely."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options["stream_writer"] = SimpleNamespace(output_size=0)
        # aioresponses' loop claims to be in debug mode, which makes each response read the source of its callers.
        options["loop"] = asyncio.get_running_loop()
        super().__init__(*args, **options)


class Sent(NamedTuple):
    """A request as the client gave it to aiohttp. url: percent-encoded, with its query. content: the bytes of the body."""

    method: str
    url: str
    headers: CIMultiDict[str]
    content: bytes | None

    @property
    def body(self) -> Any:
        """Its parsed JSON, None if there is no body."""
        return None if self.content is None else json.loads(self.content)


class PreparedAnswers:
    """Answers every request of aiohttp inside the context, in the order in which the answers were prepared.

    An AssertionError fails the test for a request whose answer is not the next one, even if the client hides the error, and at
    the end for an answer that was not requested. sent: the requests, in order.
    """

    def __init__(self, base_url: str) -> None:
        """base_url: what the paths of the answers are added to."""
        self.base_url = base_url
        self.sent: list[Sent] = []
        self._awaited: list[tuple[str, str]] = []
        self._unexpected: list[tuple[str, str]] = []
        self._mock = aioresponses()

        async def request(session: ClientSession, method: str, url: URL, **options: Any) -> ClientResponse:
            self._expect(Sent(method, str(url), CIMultiDict(options["headers"]), options["data"]))
            return await self._mock._request_mock(session, method, url, **options)

        # The patcher of aioresponses creates a mock spec each time, which takes longer than a server on loopback.
        self._mock.patcher = patch.object(ClientSession, "_request", request)

    def answer(self, request: tuple[str, str], status: int = 200, body: Any = None, **headers: str) -> None:
        """Prepares an answer. request: method, and path with its query as they are sent.

        body: None as nothing, bytes as they are, anything else as JSON; 128 KiB at most, beyond which aiohttp wants a transport.
        """
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        kind = "application/octet-stream" if body is None or isinstance(body, bytes) else "application/json"
        method, url = request[0], self.base_url + request[1]
        self._awaited.append((method, url))
        options = {"status": status, "body": content, "content_type": kind, "headers": headers}
        self._mock.add(URL(url, encoded=True), method, response_class=Response, **options)

    def __enter__(self) -> Self:
        self._mock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._mock.stop()
        assert not self._unexpected, f"no answer was prepared for {self._unexpected}"
        assert not self._awaited, f"nothing asked for {self._awaited}"

    def _expect(self, sent: Sent) -> None:
        self.sent.append(sent)
        request = (sent.method, sent.url)
        if self._awaited[:1] != [request]:
            self._unexpected.append(request)
            raise AssertionError(f"no answer was prepared for {request}, but for {self._awaited}")
        del self._awaited[0]
