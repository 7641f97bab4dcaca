"""How many requests a lane has in flight at a time.

The CRM's concurrency is for all workers together. Each of its permits is a row of `crm_sync.permits`, which names the worker that
holds it: so there are never more, a dead worker's are free at once, and a request costs no statement. A worker holds its fair
share, one at least, because it may be the keeper of the bell. Workers that come ask the others to share again, by the news of the
breaker; anyone who missed that shares at the next tick, and gives back what is too much as its requests end.

A worker that stands still gives nothing back. Who has waited for longer than any request lasts takes a spare one, for the
requests of those permits are over.
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
    """To be entered for a request: `async with permits`. First come, first served."""

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
        """most: of all workers together. on_more: called when this worker gets more of them; on_surplus: when it has some to
        give back, which `share` does.
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
        """0 if other workers have all permits."""
        held = min(len(self._held), self._share) if self._held_in == self._session.openings else 0
        return min(self.ramp.limit(held), held if self.adaptive is None else self.adaptive.limit)

    def answered(self, contacts: int, took_s: float, *, told: bool) -> None:
        """A request of this many contacts was answered after this many seconds. told: of all of them, for a refusal is no
        work.
        """
        self.ramp.answered()
        if self.adaptive is not None and told:
            self.adaptive.answered(contacts, took_s, self.running, time.time())
        self._let_in()

    def failed(self, took_s: float) -> None:
        """A request was not answered, or with an error of the CRM."""
        if self.adaptive is not None:
            # By the clock of the wall, which all workers have: they measure the CRM alone at the same time.
            self.adaptive.failed(took_s, time.time())

    async def share(self, alive: int) -> None:
        """Takes what is missing to our share, gives back what is too much, where this many workers live. Nothing after `leave`.

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
        """Gives all of them back, for good: a worker that asks for its share would have them taken again.

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
        """How many can be given back now."""
        spare = len(self._held) > 1 and self._held[-1] > self._most
        return max(0, min(len(self._held) - self.running, max(len(self._held) - self._share, int(spare))))

    @asynccontextmanager
    async def ahead(self) -> AsyncIterator[None]:
        """As entering it, before all that wait: for contacts that are asked about again."""
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
                with suppress(ValueError):  # passed over already
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
        # Who waits here when all permits are lost comes to know it only when let in.
        while self._waiting and self.running < max(self.limit, 1):
            turn = self._waiting.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)
