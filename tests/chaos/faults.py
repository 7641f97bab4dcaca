"""The faults: each is a context in which something is broken, and which heals it at the end. It yields its target.

The target is drawn before anything is awaited, so that the same seed has the same targets.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from random import Random

import asyncpg

from tests.chaos.application import AWAY
from tests.chaos.moods import MOODS
from tests.chaos.stage import Stage
from tests.chaos.workers import Worker
from tests.faults.proxy import Proxy

CLAIM, FINISH = 'claimed_by" = $2::bigint', "finished AS ("  # texts that only these statements contain
LONGEST_CALL_S = 8.0  # a request in flight when its CRM goes down is not older than this

Fault = Callable[[Stage, Random], AbstractAsyncContextManager[str]]


@asynccontextmanager
async def _struck(stage: Stage, chance: Random) -> AsyncIterator[Worker]:
    """A worker that no other fault affects."""
    worker = chance.choice(stage.workers)
    async with worker.busy:
        yield worker


def _some_proxies(worker: Worker, chance: Random) -> tuple[Proxy, ...]:
    return chance.choice([worker.proxies, (worker.pool,), (worker.session,)])


def reset(proxy: Proxy) -> None:
    for link in list(proxy.links):
        with suppress(ValueError):  # its socket is closed already
            link.reset()


def refuse(proxy: Proxy) -> None:
    with suppress(ValueError):
        proxy.refuse()
    reset(proxy)


@asynccontextmanager
async def kill(stage: Stage, chance: Random) -> AsyncIterator[str]:
    async with _struck(stage, chance) as worker:
        await worker.kill()
        try:
            yield f"worker {worker.number}"
        finally:
            await worker.start()


@asynccontextmanager
async def terminate(stage: Stage, chance: Random, signals: tuple[int, ...]) -> AsyncIterator[str]:
    async with _struck(stage, chance) as worker:
        await worker.end(*signals)
        try:
            yield f"worker {worker.number}"
        finally:
            await worker.start()


@asynccontextmanager
async def pause(stage: Stage, chance: Random) -> AsyncIterator[str]:
    async with _struck(stage, chance) as worker:
        worker.pause()
        try:
            yield f"worker {worker.number}"
        finally:
            worker.resume()


@asynccontextmanager
async def unreachable(stage: Stage, chance: Random, how: Callable[[Proxy], None]) -> AsyncIterator[str]:
    async with _struck(stage, chance) as worker:
        proxies = _some_proxies(worker, chance)
        for proxy in proxies:
            how(proxy)
        try:
            yield f"worker {worker.number}"
        finally:
            for proxy in proxies:
                proxy.heal()


@asynccontextmanager
async def delayed(stage: Stage, chance: Random) -> AsyncIterator[str]:
    async with _struck(stage, chance) as worker:
        for proxy in worker.proxies:
            proxy.delay_s = chance.uniform(0.005, 0.1)
        try:
            yield f"worker {worker.number}"
        finally:
            for proxy in worker.proxies:
                proxy.delay_s = 0.0


@asynccontextmanager
async def lost_answer(stage: Stage, chance: Random, statement: str) -> AsyncIterator[str]:
    """The next few answers to this statement are lost, with the connection reset or silent."""
    async with _struck(stage, chance) as worker:
        for _ in range(2):
            worker.pool.lose_answer(statement, keep_bytes=chance.choice([0, 7]), silent=chance.random() < 0.3)
        try:
            yield f"worker {worker.number}"
        finally:
            while worker.pool.take_lost_answer(statement.encode()):
                pass  # those that were not run meanwhile


@asynccontextmanager
async def ended_backend(stage: Stage, _chance: Random, which: str) -> AsyncIterator[str]:
    found = f"SELECT pid FROM pg_stat_activity WHERE application_name = '{which}' ORDER BY random() LIMIT 1"
    await stage.execute(f"SELECT pg_terminate_backend(pid) FROM ({found}) AS found")
    yield "some worker"


@asynccontextmanager
async def restarted(stage: Stage, chance: Random, mode: str) -> AsyncIterator[str]:
    down_s = chance.uniform(0, 2)
    async with stage.serving:
        if mode == "immediate":
            stage.crashes.append(time.time())
        await asyncio.to_thread(stage.server.stop, mode)
        try:
            await asyncio.sleep(down_s)
        finally:
            await asyncio.to_thread(stage.server.start)
        yield "the server"


@asynccontextmanager
async def crashed(stage: Stage, _chance: Random) -> AsyncIterator[str]:
    """A backend dies by SIGKILL: the server ends all others and recovers."""
    async with stage.serving:
        with suppress(*AWAY, asyncpg.PostgresError):
            async with stage.application() as app:
                pid = await app.fetchval("SELECT pid FROM pg_stat_activity WHERE application_name = 'crm-sync' LIMIT 1")
                if pid is not None:
                    stage.crashes.append(time.time())
                    os.kill(pid, signal.SIGKILL)
                    await asyncio.sleep(0.1)
        await stage.accepting()
        yield "the server"


@asynccontextmanager
async def moody(stage: Stage, chance: Random, mood: str) -> AsyncIterator[str]:
    crm = stage.crms[chance.choice(list(stage.crms))]
    async with stage.moods[crm.crm]:
        crm.mood = MOODS[mood](crm, chance)
        try:
            yield crm.crm
        finally:
            crm.mood = None


@asynccontextmanager
async def gone(stage: Stage, chance: Random) -> AsyncIterator[str]:
    """Nothing listens at the CRM's address."""
    crm = stage.crms[chance.choice(list(stage.crms))]
    async with stage.moods[crm.crm]:
        crm.break_off(time.time() - LONGEST_CALL_S)
        await crm.stop()
        try:
            yield crm.crm
        finally:
            await crm.start()


@asynccontextmanager
async def statement(stage: Stage, chance: Random, texts: tuple[str, ...]) -> AsyncIterator[str]:
    name = f"chaos_{chance.randrange(10**9)}"
    await stage.execute(*(text.format(name=name) for text in texts))
    yield "the table"


@asynccontextmanager
async def locked_table(stage: Stage, chance: Random) -> AsyncIterator[str]:
    held_s = chance.uniform(0.5, 1.5)
    with suppress(*AWAY, asyncpg.PostgresError):
        async with stage.application() as app, app.transaction():
            await app.execute("LOCK TABLE contacts IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(held_s)
    yield "the table"


@asynccontextmanager
async def long_snapshot(stage: Stage, _chance: Random) -> AsyncIterator[str]:
    """A long-running report."""
    connection: asyncpg.Connection | None = None
    with suppress(*AWAY, asyncpg.PostgresError):
        connection = await asyncpg.connect(stage.url, timeout=10)
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await connection.fetchval("SELECT count(*) FROM contacts")
    try:
        yield "the table"
    finally:
        if connection is not None:
            connection.terminate()


TERM = signal.SIGTERM
COLUMN = ("ALTER TABLE contacts ADD COLUMN {name} integer", "ALTER TABLE contacts DROP COLUMN {name}")
INDEX = ("CREATE INDEX CONCURRENTLY {name} ON contacts (last_name)", "DROP INDEX CONCURRENTLY IF EXISTS {name}")
# By kind: relative frequency, shortest and longest duration in seconds, and the fault.
FAULTS: dict[str, tuple[int, tuple[float, float], Fault]] = {
    "worker killed": (8, (0, 3), kill),
    "worker stopped and continued": (5, (0.5, 8), pause),
    "worker ended by SIGTERM": (4, (0, 2), partial(terminate, signals=(TERM,))),
    "worker ended by two SIGTERMs": (2, (0, 2), partial(terminate, signals=(TERM, TERM))),
    "Postgres silent": (4, (2, 12), partial(unreachable, how=Proxy.black_hole)),
    "Postgres refuses": (4, (1, 8), partial(unreachable, how=refuse)),
    "connections reset": (4, (0, 0), partial(unreachable, how=reset)),
    "connections delayed": (3, (1, 4), delayed),
    "answer to a claim lost": (5, (2, 4), partial(lost_answer, statement=CLAIM)),
    "answer to a finish lost": (5, (2, 4), partial(lost_answer, statement=FINISH)),
    "session ended by the server": (4, (0, 0), partial(ended_backend, which="crm-sync session")),
    "pool connection ended": (4, (0, 0), partial(ended_backend, which="crm-sync")),
    "server restarted, fast": (2, (0, 0), partial(restarted, mode="fast")),
    "server restarted, immediate": (2, (0, 0), partial(restarted, mode="immediate")),
    "server backend crashed": (2, (0, 0), crashed),
    **{kind: (3, (1, 7), partial(moody, mood=kind)) for kind in MOODS},
    "CRM gone": (3, (1, 7), gone),
    "column added and dropped": (2, (0, 0), partial(statement, texts=COLUMN)),
    "index built and dropped": (2, (0, 0), partial(statement, texts=INDEX)),
    "table vacuumed": (2, (0, 0), partial(statement, texts=("VACUUM (ANALYZE) contacts",))),
    "table locked": (2, (0, 0), locked_table),
    "long snapshot": (2, (5, 20), long_snapshot),
}
