"""procrastinate's worker process: `drain DATABASE_URL JOBS` or `latency DATABASE_URL SINK_URL`."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvloop
from procrastinate import App, PsycopgConnector
from psycopg_pool import AsyncConnectionPool

from tests.bench.peers.telling import Counter, limit_lifetime, tell

# One worker claims one job at a time, so eight of them run in the process, each with two jobs, to claim while others finish:
# 1,300 jobs/s. One worker gave 900 with any concurrency from 10 to 30, sixteen 1,100. Deleting finished jobs was no faster.
DRAIN_WORKERS = 8
DRAIN_CONCURRENCY = 2
DRAIN_POOL_SIZE = 10
# The concurrency of its guide. One job at a time needs few connections.
LATENCY_CONCURRENCY = 30
LATENCY_POOL_SIZE = 4


@asynccontextmanager
async def opened(app: App, database_url: str, pool_size: int) -> AsyncIterator[None]:
    """With a pool of ours, which it takes as well: its own asks the server for a sign of life before each statement, and reached
    two thirds to four fifths of the rate."""
    async with (
        AsyncConnectionPool(database_url, min_size=pool_size, max_size=pool_size, open=False) as pool,
        app.open_async(pool),
    ):
        yield


async def drain(database_url: str, jobs: int) -> None:
    counter = Counter(jobs)
    app = App(connector=PsycopgConnector())

    @app.task(name="deliver")
    async def deliver(key: str) -> None:
        counter.handle()

    async with opened(app, database_url, DRAIN_POOL_SIZE):
        # The handlers of several workers for the same signals would be in each other's way.
        workers = (
            app.run_worker_async(concurrency=DRAIN_CONCURRENCY, install_signal_handlers=False) for _ in range(DRAIN_WORKERS)
        )
        await asyncio.gather(*workers)


async def latency(database_url: str, sink_url: str) -> None:
    app = App(connector=PsycopgConnector())
    async with aiohttp.ClientSession() as session, opened(app, database_url, LATENCY_POOL_SIZE):

        @app.task(name="deliver")
        async def deliver(key: str) -> None:
            async with session.post(f"{sink_url}/deliver/{key}", json={}) as answer:
                await answer.read()

        tell("ready")
        # It listens for notifications by default; polling every 5 s is only its safety net.
        await app.run_worker_async(concurrency=LATENCY_CONCURRENCY)


def main() -> None:
    limit_lifetime()
    task, database_url, argument = sys.argv[1:]
    uvloop.run(drain(database_url, int(argument)) if task == "drain" else latency(database_url, argument))


if __name__ == "__main__":
    main()
