"""PgQueuer's worker process: `drain DATABASE_URL JOBS` or `latency DATABASE_URL SINK_URL`."""

import sys

import aiohttp
import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job
from pgqueuer.types import QueueExecutionMode

from tests.bench.peers.telling import Counter, limit_lifetime, tell

# The default of 10 gave 3,700 jobs/s, 100 gave 10,400, 500 to 2,000 the same 11,000 to 14,000.
DRAIN_BATCH_SIZE = 500
# The pool its performance guide begins with: outcomes are written while the next batch is claimed. About 5 % over one connection;
# two managers, or the five of its own benchmark, in the one process were no faster.
DRAIN_POOL_SIZE = 5


async def drain(database_url: str, jobs: int) -> None:
    counter = Counter(jobs)
    async with asyncpg.create_pool(database_url, min_size=DRAIN_POOL_SIZE, max_size=DRAIN_POOL_SIZE) as pool:
        manager = PgQueuer.from_asyncpg_pool(pool)

        @manager.entrypoint("deliver")
        async def deliver(_job: Job) -> None:
            counter.handle()

        # As in its own drain benchmark: this mode writes the last outcomes at once, the other up to 0.1 s later.
        await manager.run(batch_size=DRAIN_BATCH_SIZE, mode=QueueExecutionMode.drain)


async def latency(database_url: str, sink_url: str) -> None:
    # One direct connection, as its performance guide asks for a worker that listens: 0.6 ms sooner than through a pool. The batch
    # size is the default, others made no difference.
    connection = await asyncpg.connect(database_url)
    manager = PgQueuer.from_asyncpg_connection(connection)
    async with aiohttp.ClientSession() as session:

        @manager.entrypoint("deliver")
        async def deliver(job: Job) -> None:
            key = (job.payload or b"").decode()
            async with session.post(f"{sink_url}/deliver/{key}", json={}) as answer:
                await answer.read()

        tell("ready")
        await manager.run()


def main() -> None:
    limit_lifetime()
    task, database_url, argument = sys.argv[1:]
    # uvloop as in its own benchmark.
    uvloop.run(drain(database_url, int(argument)) if task == "drain" else latency(database_url, argument))


if __name__ == "__main__":
    main()
