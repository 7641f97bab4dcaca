"""Records once a day that a token is used: this shows tokens that nobody uses any more, and tokens that nobody should use."""

from collections.abc import Callable
from datetime import UTC, date, datetime

from aiohttp import web
from aiohttp.log import server_logger

from crm_sync.console.answers import is_api
from crm_sync.console.guard import VISITOR, Handler
from crm_sync.console.tokens import Tokens, Visitor
from crm_sync.postgres.pool import Database
from crm_sync.telling import deeds
from crm_sync.telling.deeds import API, CONSOLE, Doer


def today() -> date:
    return datetime.now(UTC).date()


class Uses:
    """For this process: another one records the same token once more. If the role may not write events, that is reported once."""

    def __init__(self, tokens: Tokens, database: Database, base: str, *, day: Callable[[], date] = today) -> None:
        self._tokens = tokens
        self._database = database
        self._base = base
        self._day = day
        self._noted: dict[str, date] = {}
        self._is_told = False

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Runs after the guard: these requests were accepted."""
        visitor = request.get(VISITOR)
        if visitor is not None and self._tokens.has(visitor):
            await self._note(visitor, API if is_api(request.path.removeprefix(self._base)) else CONSOLE)
        return await handler(request)

    async def _note(self, visitor: Visitor, via: str) -> None:
        if self._noted.get(visitor.name) == (day := self._day()):
            return
        self._noted[visitor.name] = day  # set before it is written: concurrent requests count as one use
        problem = await deeds.note(self._database, deeds.TOKEN_USED, by=Doer(visitor.name, via))
        if problem is not None and not self._is_told:
            self._is_told = True
            server_logger.warning("that a token is used cannot be written down: %s", problem)
