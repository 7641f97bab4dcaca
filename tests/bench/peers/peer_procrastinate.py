"""procrastinate: asyncio, psycopg."""

import sys
import time

import psycopg
from procrastinate import App, PsycopgConnector

from tests.bench.peers.measuring import drain_rate, latency_samples, worker_url
from tests.bench.sink import Sink

NAME = "procrastinate"
WORKER = (sys.executable, "-m", "tests.bench.peers.worker_procrastinate")
UNFINISHED = "SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))"
ENQUEUE_BATCH = 5_000


def _app(database_url: str) -> App:
    return App(connector=PsycopgConnector(conninfo=database_url))


async def drain(database_url: str, jobs: int = 20_000) -> float:
    async with _app(database_url).open_async() as app:
        await app.schema_manager.apply_schema_async()
        for start in range(0, jobs, ENQUEUE_BATCH):
            keys = range(start, min(start + ENQUEUE_BATCH, jobs))
            await app.configure_task("deliver").batch_defer_async(*({"key": str(key)} for key in keys))
    return await drain_rate([*WORKER, "drain", worker_url(database_url), str(jobs)], database_url, jobs, UNFINISHED)


async def latency(database_url: str, sink: Sink, samples: int = 200) -> list[float]:
    async with (
        _app(database_url).open_async() as app,
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
    ):
        await app.schema_manager.apply_schema_async()
        deliver = app.configure_task("deliver", connection=connection)

        async def enqueue(key: str) -> int:
            async with connection.transaction():
                await deliver.defer_async(key=key)
                # Read before the COMMIT, which leaving the block sends.
                return time.perf_counter_ns()

        return await latency_samples([*WORKER, "latency", worker_url(database_url), sink.url], sink, enqueue, samples)
