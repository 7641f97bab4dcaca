"""The cost to Postgres is bounded, however many contacts there are: measured in rows read, not in seconds."""

import json

import asyncpg
import pytest

from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query, render
from crm_sync.reports.status_reading import CODES, MOST, NEWEST
from crm_sync.table.schema import read_schema
from tests.roles import as_worker
from tests.tiers import slow

CONTACTS = 60_000
# What a transaction has read so far. The planner looks at the end of an index now and then.
READ = (
    "SELECT coalesce(sum(seq_scan) FILTER (WHERE relname = 'contacts'), 0)::bigint AS scans, "
    "coalesce(sum(idx_tup_fetch) FILTER (WHERE relname = 'contacts'), 0)::bigint AS contacts, "
    "coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FILTER (WHERE relname <> 'contacts'), 0)::bigint AS others "
    "FROM pg_stat_xact_user_tables"
)


@pytest.fixture
async def crowded(app: asyncpg.Connection) -> asyncpg.Connection:
    """Half of the contacts are in line, and half of them have failed."""
    await app.execute("SET session_replication_role = replica")
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status, brevo_processing_status, brevo_processing_error, brevo_contact_id) "
        "SELECT n || '@example.com', (CASE n % 2 WHEN 0 THEN 'Error' ELSE 'Complete' END)::crm_sync_status, "
        "(CASE n % 2 WHEN 0 THEN 'Error' ELSE 'Complete' END)::crm_processing_status, "
        "CASE n % 2 WHEN 0 THEN 'CODE_' || n % 7 || ': ' || n END, n::text FROM generate_series(1, $1::integer) AS n",
        CONTACTS,
    )
    await app.execute("SET session_replication_role = origin")
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued' WHERE brevo_sync_status = 'Complete'")
    await app.execute("VACUUM ANALYZE")
    return app


async def read_by(database: Database, statement: str, *arguments: object) -> dict[str, int]:
    """What one run of it reads, run as by a worker."""
    async with database.connection() as connection, connection.transaction():
        before = await connection.fetchrow(READ)
        await connection.fetch(statement, *arguments)
        after = await connection.fetchrow(READ)
        return {name: after[name] - before[name] for name in after.keys()}  # noqa: SIM118 (a record is no mapping)


@slow
async def test_a_look_reads_no_more_than_it_counts(crowded, url):
    async with Database(as_worker(url), size=1) as database:
        variables = (await read_schema(database)).lanes["brevo"].variables
        for statement, arguments, most in (
            ("count_line", (MOST + 1, NEWEST), 2 * (MOST + 1) + NEWEST),
            ("count_codes", (2 * MOST, CODES), 2 * MOST + 2 * CODES),
            ("estimate_line", (), 0),
            ("count_tombstones", (), 0),
        ):
            read = await read_by(database, render(statement, variables), *arguments)
            assert read["scans"] == 0, statement
            assert read["contacts"] <= most, statement
            assert read["others"] <= 3 * MOST + 200 * 500, statement
        for statement in ("read_snapshot", "read_pace", "list_workers", "list_lane_states", "age_snapshot"):
            assert (await read_by(database, query(statement)))["contacts"] == 0, statement


@slow
async def test_why_reads_a_row_and_what_stands_before_it_in_line(crowded, url):
    last, failed = await crowded.fetchrow(
        "SELECT (SELECT id::text FROM contacts WHERE brevo_due_at IS NOT NULL ORDER BY brevo_due_at DESC LIMIT 1), "
        "(SELECT id::text FROM contacts WHERE brevo_sync_status = 'Error' LIMIT 1)"
    )
    async with Database(as_worker(url), size=1) as database:
        facts = {row["crm"]: json.loads(row["facts"]) for row in await database.fetch(query("tell_verdicts"), last)}
        assert facts["brevo"]["line"] | {"before_about": 0} == {
            "has_line": True, "before": 1_001, "before_is_all": False, "behind": 0, "before_about": 0,
        }  # fmt: skip
        assert 0.8 < facts["brevo"]["line"]["before_about"] / (CONTACTS / 2) < 1.2
        for key, most in ((last, 20), (failed, 20), ("nobody", 0)):
            read = await read_by(database, query("tell_verdicts"), key)
            assert read["scans"] == 0, key
            assert read["contacts"] <= most, key


@slow
async def test_a_count_of_all_reads_the_table_once_for_all_crms(crowded, url):
    async with Database(as_worker(url), size=1) as database:
        read = await read_by(database, query("count_contacts"))
    assert (read["scans"], read["contacts"]) == (1, 0)
