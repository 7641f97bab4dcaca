"""A receiver of alerts: a server that accepts webhooks and pings, and answers as the test says."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.harness import TIMEOUT_S
from tests.loopback import serving


@dataclass(frozen=True)
class Told:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class Receiver:
    """statuses: of the next answers, then 200."""

    url: str = ""
    heard: list[Told] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def serve(self, request: web.BaseRequest) -> web.Response:
        status = self.statuses.pop(0) if self.statuses else 200
        self.heard.append(Told(request.method, request.raw_path, dict(request.headers), await request.read()))
        async with self.arrived:
            self.arrived.notify_all()
        await self.gate.wait()
        return web.Response(status=status, text="so it is")

    async def until(self, holds: Callable[[list[Told]], bool]) -> list[Told]:
        """Returns when this holds for what was received."""
        async with asyncio.timeout(TIMEOUT_S), self.arrived:
            await self.arrived.wait_for(lambda: holds(self.heard))
        return self.heard

    def messages(self, event: str | None = None) -> list[dict[str, Any]]:
        bodies = [told.json for told in self.heard if told.method == "POST"]
        return [body for body in bodies if event is None or body["event"] == event]

    async def message(self, alert: str, event: str = "raised") -> dict[str, Any]:
        """The first of this kind."""

        def meant() -> list[dict[str, Any]]:
            return [body for body in self.messages(event) if body["alert"] == alert]

        await self.until(lambda _: bool(meant()))
        return meant()[0]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    receiver.gate.set()
    async with serving(receiver.serve) as receiver.url:
        try:
            yield receiver
        finally:
            receiver.gate.set()
