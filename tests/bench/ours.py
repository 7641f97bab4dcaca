"""crm-sync, measured like its peers."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import aiohttp
import asyncpg

from crm_sync import __version__
from crm_sync.core.outcome import Finish, Kind
from crm_sync.postgres.pool import Database
from crm_sync.sandbox.postgres import free_port
from crm_sync.table.contacts import Contacts
from crm_sync.table.schema import read_schema
from tests.bench.peers.measuring import drain_rate, latency_samples
from tests.bench.sink import Sink
from tests.roles import adopt
from tests.telling.scrape import get

NAME = f"crm-sync {__version__}"
RUN = (sys.executable, "-m", "tests.bench.run_telling")  # the real command; its log shows when it is ready
NOOP = (sys.executable, "-m", "tests.bench.worker_ours", "noop")
UNFINISHED = "SELECT EXISTS (SELECT FROM contacts WHERE brevo_due_at IS NOT NULL)"
BATCH = 500
FIELDS = {"FIRSTNAME": "first_name", "LASTNAME": "last_name", "SMS": "phone"}

PEOPLE = """
    INSERT INTO contacts (id, email, first_name, last_name, phone, company, city)
    SELECT
        ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
        'person.' || n || '@example.com', 'Ada', 'Lovelace', '+3363998' || n, 'Analytical Engines', 'London'
    FROM generate_series(1, $1) AS n
"""
FLIP = "UPDATE contacts SET brevo_sync_status = 'Queued'"


@contextmanager
def environment(**settings: str) -> Iterator[None]:
    """The settings of a worker started inside this context."""
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


async def fill(database_url: str, contacts: int) -> None:
    adopt(database_url)
    connection = await asyncpg.connect(database_url)
    await connection.execute(PEOPLE, contacts, timeout=600)
    await connection.close()


async def fill_and_flip(database_url: str, contacts: int) -> None:
    """The application's part: older contacts, flipped in one statement."""
    await fill(database_url, contacts)
    connection = await asyncpg.connect(database_url)
    await connection.execute("VACUUM ANALYZE contacts", timeout=600)
    await connection.execute(FLIP, timeout=600)
    await connection.close()


async def register(database: Database) -> int:
    """A worker that only claims. Returns its first token; the following ones are also its own."""
    worker: int = await database.value("INSERT INTO crm_sync.workers (host, pid, version) VALUES ('bench', 0, '') RETURNING id")
    return (worker << 32) + 1


async def drain(database_url: str, jobs: int = 20_000, **settings: str) -> float:
    """Contacts a second through the real daemon, with a client that does nothing."""
    await fill_and_flip(database_url, jobs)
    with environment(DATABASE_URL=database_url, **settings):
        return await drain_rate([*NOOP, str(jobs)], database_url, jobs, UNFINISHED)


async def drain_with_metrics(database_url: str, jobs: int = 20_000) -> float:
    """The same, while the worker counts, and is scraped every second; Prometheus usually scrapes every 15."""
    address = f"127.0.0.1:{free_port()}"
    scraping = asyncio.create_task(_scrape(address))
    try:
        with environment(METRICS_LISTEN=address):
            return await drain(database_url, jobs)
    finally:
        scraping.cancel()


async def _scrape(address: str) -> None:
    while True:
        with suppress(aiohttp.ClientError, OSError):
            await get(address, "/metrics")
        await asyncio.sleep(1)


async def drain_bare(database_url: str, jobs: int = 20_000) -> float:
    """Contacts a second with the same two statements, in a loop of a bare script on one connection."""
    await fill_and_flip(database_url, jobs)
    async with Database(database_url, size=1) as database:
        await database.fetch("VACUUM ANALYZE")
        await database.fetch("CHECKPOINT")
        contacts = Contacts(database, (await read_schema(database)).lanes["brevo"], "email", FIELDS)
        token = await register(database)
        claimed = (await contacts.claim(BATCH, token)).contacts
        started = time.perf_counter()
        while claimed:
            await contacts.finish([Finish(contact.id, token, Kind.DELIVERED, None, str(token)) for contact in claimed])
            token += 1
            claimed = (await contacts.claim(BATCH, token)).contacts
        return jobs / (time.perf_counter() - started)


def email_of(_path: str, body: bytes) -> Iterable[str]:
    """Of a contact. A request without a body is about the account's fields."""
    return (json.loads(body)["email"],) if body else ()


async def latency(database_url: str, sink: Sink, samples: int = 200, *, run: Sequence[str] = RUN, **further: str) -> list[float]:
    """Milliseconds from the COMMIT of a flip to the first byte of Brevo's request. run: the worker."""
    await fill(database_url, 1)
    connection = await asyncpg.connect(database_url)

    async def enqueue(key: str) -> int:
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO contacts (email, brevo_sync_status) VALUES ($1, 'Queued')", f"{key}@example.com"
            )
            commit_ns = time.perf_counter_ns()
        return commit_ns  # noqa: RET504 (taken before the commit)

    sink.keys_of = lambda path, body: (email.partition("@")[0] for email in email_of(path, body))
    settings = {"BREVO_API_KEY": "bench", "BREVO_BASE_URL": sink.url, "BREVO_LIMITS": "none", **further}
    with environment(DATABASE_URL=database_url, **settings):
        try:
            return await latency_samples(run, sink, enqueue, samples)
        finally:
            await connection.close()
