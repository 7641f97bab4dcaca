"""The direct connection of a worker. It shows that the worker is alive and awake. A separate one listens:
`crm_sync.postgres.ear`.

    alive      an advisory lock on the worker's id. When the process dies, the kernel closes the socket and Postgres frees the
               lock: others see at once that its contacts in flight are orphaned. No heartbeat, no lease to guess.
    awake      the bell of each lane: see `crm_sync.postgres.bell`.
    alone      an advisory lock that a worker can hold if there is no other: see `crm_sync.postgres.company`.

`crm_sync.postgres.registration` handles ids. Any role that may connect can take any advisory lock. So the lock counts only
together with the session in the registry (`crm_sync.living_workers`), and everything else that workers share is in tables: the
permits, and the keeper of each lane.

Clocks: the database's for due times; the worker's own monotonic clock for the tick and for backoff.

What happens when a part fails:
    process dies            its locks go; the next tick of another worker, or its own restart, puts its contacts back in line
    network drops silently  the tick gets no answer, the session is closed here; keepalives end it on the server
    session is killed       noticed at once by the driver; reconnected with a growing, jittered pause
    database restarts       the same
    failover                a standby grants locks too: only a writable primary is accepted
    lone worker is frozen   other workers wait at most 3 s for it; its requests in flight are at least that old
While there is no session, nothing is claimed and no delivery starts. Requests in flight may still arrive, and their contacts are
finished unless another worker took them over: claims carry a fencing token.
"""

import asyncio
import secrets
import select
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import asyncpg
import structlog

from crm_sync import events
from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import DatabaseTroubleError
from crm_sync.log import Trouble
from crm_sync.measurements import Statement, measure
from crm_sync.postgres.backoff import Backoff
from crm_sync.postgres.company import Company
from crm_sync.postgres.ear import Ear
from crm_sync.postgres.listen_check import CHANNEL
from crm_sync.postgres.pool import Database, connect
from crm_sync.postgres.registration import Registration
from crm_sync.postgres.safety_look import SafetyLook
from crm_sync.postgres.session_settings import OF_SESSION
from crm_sync.postgres.session_statements import SessionStatements
from crm_sync.postgres.statements import query
from crm_sync.postgres.translation import translated

NEWS = "news "  # prefix of a CRM's name: not its bell, but news of its breaker
COMPANY = "a worker has come"  # not the name of a CRM

HUNG_UP = getattr(select, "POLLRDHUP", select.POLLHUP)  # POLLRDHUP is Linux's; it shows even before pending data is read

log = structlog.get_logger()


class Session(SessionStatements):
    """Keeps one session open for as long as `run` runs. All statements on it run one after another.

    on_bell is called with the name of a CRM whose bell rang, on_news with one whose breaker has changed, on_company when we are
    no longer alone, on_lost when others may take over our claims, on_deaf when no bell is heard for a while, on_clock_back when
    the database's clock was set back. on_open and on_tick are called with the ids of dead workers; on_open finishes before
    anything else learns that the session is open.
    """

    def __init__(
        self,
        url: str,
        database: Database,
        *,
        on_bell: Callable[[str], None],
        on_news: Callable[[str], None],
        on_open: Callable[[Sequence[int]], Awaitable[None]],
        on_tick: Callable[[Sequence[int]], Awaitable[None]],
        on_company: Callable[[], Awaitable[None]],
        on_lost: Callable[[], None],
        on_deaf: Callable[[], None],
        on_clock_back: Callable[[], None],
        waits: Waits = USUAL,
    ) -> None:
        self._url = url
        self._database = database
        self._on_bell = on_bell
        self._on_gate = on_news
        self._on_open = on_open
        self._on_tick = on_tick
        self._on_lost = on_lost
        self._on_deaf = on_deaf
        self._waits = waits
        self._connection: asyncpg.Connection | None = None
        self._line = select.poll()  # shows whether the server has hung up
        self._turn = asyncio.Lock()
        self._lost = asyncio.Event()
        self._ended = asyncio.Event()
        self._ear = Ear(url, database, on_word=self._when_told, on_deaf=self._when_deaf, waits=waits)
        # Starts at random, so that no claim of an earlier worker with this id is taken for one of ours.
        self._claims = secrets.randbelow(2**32 - 1)
        self._former_claims = self._claims  # at the last opening
        self._registration = Registration(self._fetch, waits)
        self._company = Company(
            self._fetch, ask=partial(self.notify, COMPANY), hears=lambda: self.hears, on_company=on_company, waits=waits
        )
        self._look = SafetyLook(self._fetch, self._registration, on_clock_back=on_clock_back)
        self.opened = asyncio.Event()
        self.trouble: str | None = None  # why it was not opened, the last time that it was not
        self.openings = 0  # incremented with every reconnect: locks held before are gone

    @property
    def worker_id(self) -> int | None:
        """None before the session was first opened."""
        return self._registration.worker_id

    @property
    def known_id(self) -> int:
        """The worker's id. Only valid after the session was first opened."""
        if self.worker_id is None:
            raise RuntimeError("no session has been opened yet")
        return self.worker_id

    def next_token(self) -> int:
        """A fencing token for one claim: the worker's id in the upper 32 bits, a running number, never 0, in the lower."""
        self._claims = self._claims % (2**32 - 1) + 1
        return (self.known_id << 32) | self._claims

    def holds(self, tokens: Iterable[int]) -> bool:
        """Whether no other worker can have taken over these claims: they were made in the session that is open now."""
        return self.intact and all(0 < (token - self._former_claims) % 2**32 < 2**31 for token in tokens)

    @property
    def alive(self) -> int:
        """Number of workers at the last tick."""
        return self._look.alive

    @property
    def with_deletions(self) -> Collection[str]:
        """CRMs with tombstones that were due, at the last tick."""
        return self._look.with_deletions

    @property
    def table_now(self) -> str | None:
        """A fingerprint of the contacts table at the last tick."""
        return self._look.table_now

    @property
    def alone(self) -> bool:
        """Whether no other worker sends anything."""
        return self._company.alone

    @property
    def times_alone(self) -> int:
        """How often that has begun."""
        return self._company.times_alone

    @property
    def hears(self) -> bool:
        """Whether a bell that rings now would be heard."""
        return self._ear.hears

    @property
    def intact(self) -> bool:
        """Whether it is open according to the kernel too: a process that was frozen has not yet read that its session is gone."""
        gone = self._connection is None or self._connection.is_closed() or self._lost.is_set()
        return self.opened.is_set() and not gone and not self._line.poll(0)

    async def run(self) -> None:
        """Opens the session, ticks, and reopens it whenever it is lost. Raises ConfigurationError."""
        backoff = Backoff(self._waits)
        trouble = Trouble(loop="session")
        while not self._ended.is_set():
            try:
                await self._open()
                trouble.over()
                backoff.reset()
                await self._tick_until_lost()
            except DatabaseTroubleError as error:
                if self._ended.is_set():
                    return
                if self.opened.is_set():
                    log.warning(events.SESSION_LOST, reason=str(error))
                else:
                    self.trouble = str(error)
                    trouble.tell(error)
            finally:
                self._close()
            # The pool's connections may be as dead as the session was, without the driver knowing.
            await self._database.renew()
            await asyncio.sleep(backoff.pause_s())

    async def end(self, *, unsure: bool) -> None:
        """Signs off: everything this worker had in flight is finished, so no worker needs to look for its orphans.

        unsure: that is not certain, so another worker looks. The session is not reopened: that would register this worker again.
        """
        self._ended.set()
        if self.opened.is_set() and not unsure:
            with suppress(DatabaseTroubleError):
                await self._fetch("forget_workers", [self.worker_id])
        self._close()

    async def tell_news(self, crm: str) -> None:
        """Tells all workers to check a lane's breaker and permits. They also do so at each tick."""
        await self.notify(NEWS + crm)

    async def notify(self, crm: str) -> None:
        """Rings for a CRM, so that other workers help. They also look at each tick, so a failure costs nothing."""
        with suppress(DatabaseTroubleError):
            await self._database.fetch(query("send_notification"), CHANNEL, crm)

    async def _open(self) -> None:
        self._lost.clear()
        self._connection = connection = await connect(self._url, OF_SESSION, self._waits.statement_timeout_s)
        connection.add_termination_listener(self._when_terminated)
        self._line = select.poll()
        transport = connection._transport  # type: ignore[attr-defined]  # the driver has no public name for its socket
        self._line.register(transport.get_extra_info("socket"), HUNG_UP)
        await self._ear.open()
        await self._registration.open()
        await self._company.open()
        await self._on_open(await self._look.dead_workers())
        self.openings += 1
        self._former_claims = self._claims
        self.opened.set()
        log.info(events.SESSION_OPENED, worker=self.worker_id)

    async def _tick_until_lost(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._waits.tick_s):
                    await self._lost.wait()
            if self._lost.is_set():
                raise DatabaseTroubleError("the connection was closed")
            await self._on_tick(await self._look.dead_workers())
            await self._ear.tend()
            await self._company.tick(self.alive)

    async def _fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        text = query(statement)
        began = time.monotonic()
        rows: list[asyncpg.Record] = await self._run(lambda connection: connection.fetch(text, *arguments))
        measure(Statement(statement, time.monotonic() - began))
        return rows

    async def _run(self, work: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
        async with self._turn:
            connection = self._connection
            if connection is None:
                raise DatabaseTroubleError("the session is lost")
            try:
                async with translated(), asyncio.timeout(self._waits.session_timeout_s):
                    return await work(connection)
            except DatabaseTroubleError:
                self._lost.set()
                raise

    def _close(self) -> None:
        self.opened.clear()
        self._ear.close()
        self._company.lost()
        self._on_lost()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.remove_termination_listener(self._when_terminated)
            # Not close(): that waits for a server that may have vanished silently.
            connection.terminate()

    def _when_terminated(self, _connection: object) -> None:
        self._lost.set()

    def _when_deaf(self) -> None:
        self._company.asked()
        self._on_deaf()

    def _when_told(self, word: str) -> None:
        if word.startswith(NEWS):
            self._on_gate(word.removeprefix(NEWS))
        elif word == COMPANY:
            self._company.asked()
        else:
            self._on_bell(word)
