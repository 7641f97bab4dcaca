"""How many requests a lane may have in flight at once.

The limit applies to all workers together. Each permit is a row of `crm_sync.permits` with the worker that holds it: so there are
never more permits than the limit, those of a dead worker are free at once, and a request costs no statement. A worker holds its
fair share, at least one, because it may be the keeper of the bell. A worker that joins asks the others to share again, through
the breaker's notifications; a worker that missed that shares at the next tick, and returns surplus permits as its requests end.

A worker that hangs returns nothing. After waiting for longer than any request can last, a worker takes a spare permit, because
the requests of the hung worker are over.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType

from crm_sync.core.breaker import Ramp
from crm_sync.core.concurrency import AdaptiveConcurrency
from crm_sync.core.waits import USUAL, Waits
from crm_sync.postgres.session import Session


class ConcurrencyLimit:
    """Enter it for a request: `async with permits`. First come, first served."""

    def __init__(
        self,
        crm: str,
        lane_id: int,
        session: Session,
        *,
        most: int,
        adaptive: bool,
        on_more: Callable[[], None],
        on_surplus: Callable[[], None],
        waits: Waits = USUAL,
    ) -> None:
        """most: for all workers together. on_more: called when this worker gets more permits. on_surplus: called when it has some
        to give back, which `share` does.
        """
        self.ramp = Ramp()
        self.adaptive = AdaptiveConcurrency(most) if adaptive else None
        self.running = 0
        self._crm = crm
        self._lane_id = lane_id
        self._session = session
        self._most = most
        self._on_more = on_more
        self._on_surplus = on_surplus
        self._patience_s = waits.permit_patience_s
        self._sharing = asyncio.Lock()
        self._left = False
        self._share = most
        self._held: list[int] = []  # in order; those above `most` are spare
        self._held_in = 0  # the opening of the session in which they were taken
        self._empty_since = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """0 if other workers hold all permits."""
        held = min(len(self._held), self._share) if self._held_in == self._session.openings else 0
        return min(self.ramp.limit(held), held if self.adaptive is None else self.adaptive.limit)

    def answered(self, contacts: int, took_s: float, *, told: bool) -> None:
        """A request with this many contacts was answered after this many seconds. told: the CRM gave verdicts on all of them; a
        refusal takes no work and is not measured.
        """
        self.ramp.answered()
        if self.adaptive is not None and told:
            self.adaptive.answered(contacts, took_s, self.running, time.time())
        self._let_in()

    def failed(self, took_s: float) -> None:
        """A request was not answered, or answered with an error of the CRM."""
        if self.adaptive is not None:
            # By the wall clock, which all workers share: they measure the CRM alone at the same time.
            self.adaptive.failed(took_s, time.time())

    async def share(self, alive: int) -> None:
        """Takes what is missing from our share, and returns the surplus, with this many workers alive. Does nothing after
        `leave`.

        Raises DatabaseTroubleError when the session is lost.
        """
        async with self._sharing:
            if self._left:
                return
            newcomer = self._held_in != self._session.openings
            if newcomer:
                self._held, self._held_in, self._empty_since = [], self._session.openings, time.monotonic()
            self._share = math.ceil(self._most / max(alive, 1))
            missing = self._share - len(self._held)
            if missing > 0:
                await self._take(self._most, missing)
                if newcomer and len(self._held) < self._share:
                    await self._session.tell_news(self._crm)
            if not self._held and self._most >= alive and time.monotonic() > self._empty_since + self._patience_s:
                await self._take(self._most + alive, 1)
            if surplus := self._surplus:
                given, self._held = self._held[-surplus:], self._held[:-surplus]
                await self._session.give_permits(self._lane_id, given)
                await self._session.tell_news(self._crm)
        self._let_in()

    async def leave(self) -> None:
        """Returns all permits for good: otherwise another worker's request to share would make this one take them again.

        Raises as share does.
        """
        self._left = True
        async with self._sharing:
            held, self._held = self._held, []
            if held and self._held_in == self._session.openings:
                await self._session.give_permits(self._lane_id, held)
                await self._session.tell_news(self._crm)

    async def _take(self, most: int, wanted: int) -> None:
        taken = await self._session.take_permits(self._lane_id, most, self._held, wanted)
        if taken:
            self._held = sorted(self._held + taken)
            self._on_more()

    @property
    def _surplus(self) -> int:
        """How many can be returned now."""
        spare = len(self._held) > 1 and self._held[-1] > self._most
        return max(0, min(len(self._held) - self.running, max(len(self._held) - self._share, int(spare))))

    @asynccontextmanager
    async def ahead(self) -> AsyncIterator[None]:
        """Like entering it, but ahead of all that wait: for contacts that are sent again."""
        await self._enter(first=True)
        try:
            yield
        finally:
            self._leave()

    async def __aenter__(self) -> None:
        await self._enter(first=False)

    async def _enter(self, *, first: bool) -> None:
        if (first or not self._waiting) and self.running < max(self.limit, 1):
            self.running += 1
            return
        turn = asyncio.get_running_loop().create_future()
        if first:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):  # already skipped
                    self._waiting.remove(turn)
            else:
                self._leave()
            raise

    async def __aexit__(self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None) -> None:
        self._leave()

    def _leave(self) -> None:
        self.running -= 1
        self._let_in()
        if self._surplus:
            self._on_surplus()

    def _let_in(self) -> None:
        # A waiter learns that all permits were lost only when it is let in.
        while self._waiting and self.running < max(self.limit, 1):
            turn = self._waiting.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)
