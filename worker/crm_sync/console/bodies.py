"""Reads what a request sends before anything is done with it: not without end, and only what our forms are."""

import asyncio

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from crm_sync.console.answers import is_api
from crm_sync.console.guard import SAFE, Handler

PATIENCE_S = 10.0  # for a whole body, which is small


class Bodies:
    """base: the path before each page."""

    def __init__(self, base: str) -> None:
        self._base = base

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Runs after the guard: nothing is read of a request that is refused. What is read stays with the request.

        Raises HTTPException if it is not read.
        """
        if request.method not in SAFE and request.body_exists:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await request.read()
                if not is_api(request.path.removeprefix(self._base)):
                    await _read_form(request)
            except TimeoutError:
                raise web.HTTPRequestTimeout(text="The rest of the request did not come in time.\n") from None
            except (RequestPayloadError, LookupError, ValueError):  # compressed, or encoded, in another way than it says
                raise web.HTTPBadRequest(text="What was sent cannot be read.\n") from None
            except ConnectionError:
                raise web.HTTPBadRequest(text="Nobody waits for the answer.\n") from None
        return await handler(request)


async def _read_form(request: web.Request) -> None:
    """Raises LookupError or ValueError. Forms of several parts are refused: none of ours is one, and files would be kept."""
    if request.content_type.startswith("multipart/"):
        raise ValueError(request.content_type)
    await request.post()
