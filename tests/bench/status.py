"""The cost of `crm-sync status` on ten thousand and on two million contacts, with equally many in line, and of watching.

Contacts in line were flipped in table order, as by one statement. The looks alternate between two databases of one server, so
that the machine is the same for both.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from crm_sync.commands.status import SHARE, WATCH_INTERVAL_S
from crm_sync.postgres.pool import Database
from crm_sync.reports.status_reading import read_status
from crm_sync.sandbox.postgres import Postgres
from crm_sync.telling.snapshot import count
from tests.bench.promises import Promise, at_most, told
from tests.roles import adopt

SIZES = (10_000, 2_000_000)
READY, WAITING, FAILED = 5_000, 200, 1_000
LOOKS = 21
MOST_TIMES = 1.5
MOST_SHARE_PERCENT = 1.0
PATIENCE_S = 600.0

# Most were delivered an hour ago, some failed; those flipped after that are in line.
PEOPLE = """
    INSERT INTO contacts (
        email, first_name, brevo_sync_status, brevo_processing_status, brevo_processing_error, brevo_synced_at,
        brevo_contact_id
    )
    SELECT
        'person.' || n || '@example.com',
        'Ada',
        CASE WHEN n <= $2 THEN 'Error' ELSE 'Complete' END::crm_sync_status,
        CASE WHEN n <= $2 THEN 'Error' ELSE 'Complete' END::crm_processing_status,
        CASE WHEN n <= $2 THEN (ARRAY['REJECTED', 'DUPLICATE', 'INVALID_EMAIL'])[1 + n % 3] || ': no' END,
        now() - interval '1 hour',
        n::text
    FROM generate_series(1, $1::integer) AS n
"""
FLIP = """
    UPDATE contacts SET brevo_sync_status = 'Queued'
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM contacts WHERE brevo_sync_status = 'Complete' LIMIT $1))
"""
WAIT = """
    WITH claimed AS (
        SELECT id FROM contacts WHERE brevo_due_at IS NOT NULL ORDER BY brevo_due_at LIMIT $1
    ), retried AS (
        UPDATE contacts
        SET brevo_due_at = brevo_due_at + interval '1 day'
        WHERE id IN (SELECT id FROM claimed)
        RETURNING id, brevo_due_at
    )
    INSERT INTO crm_sync.brevo_line (due_at, key) SELECT brevo_due_at, id FROM retried
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """look_ms: by size, elapsed. busy_ms: server time for one look at the larger size. pass_s: of one count."""

    look_ms: Sequence[float]
    busy_ms: float
    pass_s: float

    def promises(self) -> list[Promise]:
        few, many = self.look_ms
        interval_s = max(WATCH_INTERVAL_S, SHARE * many / 1000)
        return [
            told(f"a look, {SIZES[0]:,} contacts", few, "ms", 1),
            told(f"a look, {SIZES[1]:,} contacts", many, "ms", 1),
            at_most("the latter, to the former", many / few, MOST_TIMES, "times", 2),
            at_most("of one connection, while it watches", self.busy_ms / interval_s / 10, MOST_SHARE_PERCENT, "%", 2),
            told("a count of all contacts", self.pass_s, "s", 1),
            at_most(
                "of one connection, all counts", 100 * self.pass_s / max(60.0, 100 * self.pass_s), MOST_SHARE_PERCENT, "%", 2
            ),
        ]


def measure(server: Postgres) -> Figures:
    return asyncio.run(_measure(server))


async def _measure(server: Postgres) -> Figures:
    urls = [server.create_database(f"status_{size}") for size in SIZES]
    for url, size in zip(urls, SIZES, strict=True):
        await asyncio.to_thread(adopt, url)
        await _fill(url, size)
    took: list[list[float]] = [[] for _ in urls]
    async with Database(urls[0], size=1, timeout_s=PATIENCE_S) as few, Database(urls[1], size=1, timeout_s=PATIENCE_S) as many:
        pass_s = await count(many, PATIENCE_S)
        await count(few, PATIENCE_S)
        application = await asyncpg.connect(urls[1])
        before = await _busy_ms(application)
        for _ in range(LOOKS):
            for database, samples in zip((few, many), took, strict=True):
                started = time.perf_counter()
                current = await read_status(database)
                samples.append((time.perf_counter() - started) * 1000)
                [brevo] = [lane for lane in current.lanes if lane.crm == "brevo"]
                if (brevo.ready, brevo.waiting, brevo.error) != (READY - WAITING, WAITING, FAILED):
                    raise RuntimeError(f"a look has counted {brevo}")
        await few.renew()
        await many.renew()
        busy_ms = (await _busy_ms(application) - before) / LOOKS
        await application.close()
    for size in SIZES:
        server.drop_database(f"status_{size}")
    return Figures([statistics.median(samples) for samples in took], busy_ms, pass_s)


async def _fill(url: str, size: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(PEOPLE, size, FAILED, timeout=PATIENCE_S)
    await connection.execute("SET session_replication_role = origin")
    await connection.execute("VACUUM (ANALYZE) contacts", timeout=PATIENCE_S)
    await connection.execute(FLIP, READY, timeout=PATIENCE_S)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(WAIT, WAITING, timeout=PATIENCE_S)
    await connection.execute("VACUUM (ANALYZE)", timeout=PATIENCE_S)
    await connection.close()


async def _busy_ms(application: asyncpg.Connection) -> float:
    """Of all sessions in this database, according to the server. A session reports it at the latest when it ends."""
    await asyncio.sleep(1.5)
    await application.execute("SELECT pg_stat_clear_snapshot()")
    return float(await application.fetchval("SELECT active_time FROM pg_stat_database WHERE datname = current_database()"))
