"""The limit of any worker notified by Postgres: a bare listener, which does the minimum for one row.

It listens, claims a row with FOR UPDATE SKIP LOCKED, and writes to a socket. It has no CRM client, no retries, no fence and no
limits, and costs a NOTIFY in each commit. Python can hardly be faster from COMMIT to the socket.

python -m tests.bench.bare_listener DATABASE_URL SINK_URL
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import asyncpg
import uvloop

from tests.bench.peers.measuring import latency_samples, worker_url
from tests.bench.peers.telling import limit_lifetime, tell
from tests.bench.sink import Sink

NAME = "the limit: a bare listener"
RUN = (sys.executable, "-m", "tests.bench.bare_listener")
CHANNEL = "bare"
TABLE = "CREATE TABLE bare (key text PRIMARY KEY, claimed_at timestamptz)"
ENQUEUE = "INSERT INTO bare (key) VALUES ($1)"
TELL = f"SELECT pg_notify('{CHANNEL}', '')"
CLAIM = """
    UPDATE bare SET claimed_at = now()
    WHERE key = (SELECT key FROM bare WHERE claimed_at IS NULL LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING key
"""


async def latency(database_url: str, sink: Sink, samples: int = 200, *, run: Sequence[str] = ()) -> list[float]:
    """Milliseconds from COMMIT to the first byte of the request, as for all others. run: the worker, if it is another one."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(TABLE)

    async def enqueue(key: str) -> int:
        async with connection.transaction():
            await connection.execute(ENQUEUE, key)
            await connection.execute(TELL)
            commit_ns = time.perf_counter_ns()
        return commit_ns  # noqa: RET504 (taken before the commit)

    try:
        return await latency_samples(run or [*RUN, worker_url(database_url), sink.url], sink, enqueue, samples)
    finally:
        await connection.close()


async def listen(database_url: str, sink_url: str) -> None:
    told = asyncio.Event()
    address = urlsplit(sink_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    connection = await asyncpg.connect(database_url)
    claim = await connection.prepare(CLAIM)
    await connection.add_listener(CHANNEL, lambda *_: told.set())
    tell("ready")
    while True:
        await told.wait()
        told.clear()
        while (key := await claim.fetchval()) is not None:
            writer.write(f"POST /deliver/{key} HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode())
            await reader.read(65_536)


def main() -> None:
    limit_lifetime()
    database_url, sink_url = sys.argv[1:]
    uvloop.run(listen(database_url, sink_url))


if __name__ == "__main__":
    main()
