"""What the application pays: single-row flips by 16 clients, compared with alternatives.

pgbench flips New contacts, each once, in a separate transaction. Rounds are short, case after case, because the speed of a shared
disk changes every second: only the ratio within a round counts. All cases use copies of one table, with no or with seven further
indexes. Our worker is awake and its lane busy, as during a backlog.
"""

import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from crm_sync.sandbox.postgres import Postgres
from crm_sync.table.schema import TRIGGERS
from tests.bench import ours
from tests.bench.peers import peer_graphile
from tests.bench.peers.process import running_worker
from tests.bench.written import FURTHER, add_further

CLIENTS = 16
ROUNDS = 6
SECONDS = 2
A_SECOND = 2_700  # contacts available to one client; it flips fewer
BEFORE = "no trigger"
PAUSED = (sys.executable, "-m", "tests.bench.worker_ours", "paused")

CONTACT = """
\\set i :i + 1
\\set n (:round * {clients} + :client_id) * :share + :i
"""
FLIP = """
UPDATE contacts SET brevo_sync_status = 'Queued'
WHERE id = ('00000000-0000-4000-8000-' || lpad(to_hex((:n)::bigint), 12, '0'))::uuid
"""
# As one statement, which is the minimum cost: an ORM sends two, between BEGIN and COMMIT.
FLIP_AND_OUTBOX = f"WITH flipped AS ({FLIP} RETURNING id) INSERT INTO outbox (contact_id) SELECT id FROM flipped"
MORE_THAN_ITS_HANDS_HOLD = """
    INSERT INTO contacts (email, brevo_sync_status)
    SELECT n || '@example.org', 'Queued' FROM generate_series(1, 100) AS n
"""
NO_TRIGGERS = "".join(f"DROP TRIGGER crm_sync_brevo_{case} ON contacts;" for case in TRIGGERS)
OUTBOX = """
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    contact_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
"""
TRIGGER = """
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM {what};
    RETURN NEW;
END;
$$;
CREATE TRIGGER tell {when} UPDATE OF brevo_sync_status ON contacts FOR EACH ROW EXECUTE FUNCTION tell();
"""
NOTIFY = TRIGGER.format(when="BEFORE", what="pg_notify('each', 'brevo')")
ADD_JOB = TRIGGER.format(when="AFTER", what="graphile_worker.add_job('deliver', json_build_object('id', NEW.id))")


@dataclass(frozen=True, slots=True)
class Case:
    """change: of the table that ours is on. peer: Graphile Worker is installed next to it."""

    name: str
    change: str
    statement: str = FLIP
    peer: bool = False


CASES = (
    Case(BEFORE, NO_TRIGGERS),
    Case("crm-sync", ""),
    Case("an outbox INSERT", NO_TRIGGERS + OUTBOX, FLIP_AND_OUTBOX),
    Case("a trigger that calls add_job", NO_TRIGGERS + ADD_JOB, peer=True),
    Case("a NOTIFY in each commit", NO_TRIGGERS + NOTIFY),
)
TABLES = (0, len(FURTHER))  # further indexes


async def flips_per_second(
    server: Postgres, cases: Sequence[Case], further: int, rounds: int = ROUNDS, seconds: int = SECONDS
) -> list[dict[str, float]]:
    """Commits a second by case, for each round."""
    share = A_SECOND * seconds
    async with AsyncExitStack() as stack:
        filled = await stack.enter_async_context(_filled(server, CLIENTS * rounds * share, further))
        connections: dict[str, asyncpg.Connection] = {}
        for number, case in enumerate(cases):
            connections[case.name] = await stack.enter_async_context(_copy(server, filled, f"application_{number}", case))
        for number, case in enumerate(cases):
            if not case.change:
                await connections[case.name].execute(MORE_THAN_ITS_HANDS_HOLD)
                stack.enter_context(ours.environment(DATABASE_URL=server.url(f"application_{number}")))
                worker = await stack.enter_async_context(running_worker(PAUSED))
                await worker.says("busy", 30)
        await connections[BEFORE].execute("CHECKPOINT", timeout=120)
        return [
            {
                case.name: await _pgbench(
                    server, connections[case.name], case, variables={"i": 0, "round": number, "share": share}, seconds=seconds
                )
                for case in cases
            }
            for number in range(rounds)
        ]


@asynccontextmanager
async def _filled(server: Postgres, contacts: int, further: int) -> AsyncIterator[str]:
    """The name of a database with the adopted table."""
    name = "application_filled"
    url = server.create_database(name)
    try:
        await ours.fill(url, contacts)
        connection = await asyncpg.connect(url)
        await add_further(connection, further)
        await connection.execute("VACUUM ANALYZE contacts", timeout=600)
        await connection.close()
        yield name
    finally:
        server.drop_database(name)


@asynccontextmanager
async def _copy(server: Postgres, filled: str, name: str, case: Case) -> AsyncIterator[asyncpg.Connection]:
    url = server.create_database(name, filled)
    try:
        if case.peer:
            await peer_graphile.install(url)
        connection = await asyncpg.connect(url)
        if case.change:
            await connection.execute(case.change)
        yield connection
        await connection.close()
    finally:
        server.drop_database(name)


async def _pgbench(
    server: Postgres, connection: asyncpg.Connection, case: Case, *, variables: Mapping[str, int], seconds: int
) -> float:
    counted = "SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Queued'"
    before = await connection.fetchval(counted)
    database = await connection.fetchval("SELECT current_database()")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "flip.sql"
        await asyncio.to_thread(script.write_text, f"{CONTACT.format(clients=CLIENTS)}{case.statement};\n")
        defined = [word for name, value in variables.items() for word in ("-D", f"{name}={value}")]
        command = [server.binaries / "pgbench", "-n", "-M", "prepared", *defined, "-f", script]
        command += ["-c", str(CLIENTS), "-j", "2", "-T", str(seconds)]
        command += ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", database]
        run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"pgbench failed: {run.stderr[-500:]}")
    flipped = await connection.fetchval(counted) - before
    transactions = int(re.search(r"transactions actually processed: (\d+)", run.stdout)[1])
    # Flipping a contact twice would cost less: it keeps its place in line.
    if abs(flipped - transactions) > CLIENTS:
        raise RuntimeError(f"pgbench ran {transactions} transactions, but {flipped} contacts were flipped: it came round")
    return float(re.search(r"tps = ([\d.]+)", run.stdout)[1])
