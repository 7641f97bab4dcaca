"""PgQueuer: asyncio, asyncpg."""

import sys
import time

import asyncpg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from tests.bench.peers.measuring import drain_rate, latency_samples, worker_url
from tests.bench.sink import Sink

NAME = "pgqueuer"
WORKER = (sys.executable, "-m", "tests.bench.peers.worker_pgqueuer")
# A finished job is deleted and its outcome written to the log table.
UNFINISHED = "SELECT EXISTS (SELECT FROM pgqueuer)"
ENQUEUE_BATCH = 5_000


async def _install(connection: asyncpg.Connection) -> Queries:
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    # Its check-list for performance begins with this: fillfactor and autovacuum for tables that change much. Its second item,
    # unlogged tables for the log of outcomes ("balanced"), was no faster here: the outcomes stay durable.
    await queries.optimize_autovacuum()
    return queries


async def drain(database_url: str, jobs: int = 20_000) -> float:
    connection = await asyncpg.connect(database_url)
    try:
        queries = await _install(connection)
        for start in range(0, jobs, ENQUEUE_BATCH):
            count = min(ENQUEUE_BATCH, jobs - start)
            await queries.enqueue(["deliver"] * count, [b"%d" % (start + i) for i in range(count)], [0] * count)
    finally:
        await connection.close()
    return await drain_rate([*WORKER, "drain", worker_url(database_url), str(jobs)], database_url, jobs, UNFINISHED)


async def latency(database_url: str, sink: Sink, samples: int = 200) -> list[float]:
    connection = await asyncpg.connect(database_url)
    try:
        queries = await _install(connection)

        async def enqueue(key: str) -> int:
            async with connection.transaction():
                await queries.enqueue("deliver", key.encode())
                # Read before the COMMIT, which leaving the block sends.
                return time.perf_counter_ns()

        return await latency_samples([*WORKER, "latency", worker_url(database_url), sink.url], sink, enqueue, samples)
    finally:
        await connection.close()
