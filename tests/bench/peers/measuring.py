"""The two measurements, the same for every peer.

- Drain: all jobs are in the queue before the worker starts. The clock runs from the first handled job, so that start-up and
  imports do not count, to the moment the database holds no unfinished job, so that all of the peer's bookkeeping does.
  One claim is left out by that, in the peer's favour.
- Latency: one job at a time in an idle system. The clock runs from just before the enqueue's COMMIT is sent to the first byte of
  the handler's HTTP request at the sink.

The peers' workers commit asynchronously, because crm-sync's does: a crash of the database then repeats the last jobs, which
at-least-once allows. Their queues stay in ordinary, logged tables, fsync stays on, and the application's enqueue is committed
the durable way.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from tests.bench.peers.process import WorkerError, running_worker
from tests.bench.sink import Sink

START_TIMEOUT_S = 30
DRAIN_TIMEOUT_S = 300
EMPTY_TIMEOUT_S = 30
EMPTY_POLL_S = 0.001

WARM_UP_SAMPLES = 10
ARRIVAL_TIMEOUT_S = 30
PAUSE_SEED = 20
PAUSE_MIN_S = 0.020
PAUSE_MAX_S = 0.060

# Sends one job with this key and returns when its COMMIT was about to be sent, in nanoseconds.
Enqueue = Callable[[str], Awaitable[int]]


def worker_url(database_url: str) -> str:
    """The database as the workers reach it: a session option in the URL is the same for asyncpg, psycopg and node-postgres."""
    return f"{database_url}{'&' if '?' in database_url else '?'}options=-c%20synchronous_commit%3Doff"


async def drain_rate(command: Sequence[str], database_url: str, jobs: int, unfinished: str) -> float:
    """Jobs per second. `unfinished` is SQL that tells whether any job is unfinished; it is run only after the last job was
    handled, so that it costs the worker nothing."""
    connection = await asyncpg.connect(database_url)
    try:
        # Autovacuum and the checkpointer would do this within a minute: without it, plans are made for an empty table.
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
        if not await connection.fetchval(unfinished):
            raise RuntimeError("the queue is empty before the worker starts")
        async with running_worker(command) as worker:
            first_ns = await worker.says("first", START_TIMEOUT_S)
            await worker.says("last", DRAIN_TIMEOUT_S)
            async with asyncio.timeout(EMPTY_TIMEOUT_S):
                while await connection.fetchval(unfinished):  # noqa: ASYNC110 (no event says when a table is empty)
                    await asyncio.sleep(EMPTY_POLL_S)
            empty_ns = time.perf_counter_ns()
    finally:
        await connection.close()
    return jobs / ((empty_ns - first_ns) / 1e9)


async def latency_samples(command: Sequence[str], sink: Sink, enqueue: Enqueue, samples: int) -> list[float]:
    """Milliseconds, in the order they were taken."""
    sink.forget()
    pause = random.Random(PAUSE_SEED)
    result = []
    async with running_worker(command) as worker:
        await worker.says("ready", START_TIMEOUT_S)
        for number in range(-WARM_UP_SAMPLES, samples):
            key = f"job{number}"
            commit_ns = await enqueue(key)
            try:
                arrival_ns = await sink.arrival(key, ARRIVAL_TIMEOUT_S)
            except TimeoutError:
                raise WorkerError(f"{key} was not sent within {ARRIVAL_TIMEOUT_S} s: {worker.complaint()}") from None
            if number >= 0:
                result.append((arrival_ns - commit_ns) / 1e6)
            await asyncio.sleep(pause.uniform(PAUSE_MIN_S, PAUSE_MAX_S))
    return result
