"""What the application pays: single-row flips by 16 clients, the worker awake and its lane paused.

pgbench flips contacts that are New, each once, in a transaction of its own: in a table without our triggers, in one with them,
and in one with a trigger that does nothing but NOTIFY, as most queues once had. In short rounds, one after the other, for a
disk that is shared has a speed of its own from second to second: what counts is the ratio within a round.
"""

import asyncio
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg

from crm_sync.sandbox.postgres import Postgres
from crm_sync.table.schema import TRIGGERS
from tests.bench import ours
from tests.bench.peers.process import running_worker

CLIENTS = 16
ROUNDS = 8
SECONDS = 3
SHARE = 8_000  # contacts that are there for one client in one round
CONTACTS = CLIENTS * ROUNDS * SHARE
PAUSED = (sys.executable, "-m", "tests.bench.worker_ours", "paused")

SCRIPT = f"""
\\set i :i + 1
\\set n (:round * {CLIENTS} + :client_id) * {SHARE} + :i
UPDATE contacts SET brevo_sync_status = 'Queued'
WHERE id = ('00000000-0000-4000-8000-' || lpad(to_hex((:n)::bigint), 12, '0'))::uuid;
"""
MORE_THAN_ITS_HANDS_HOLD = """
    INSERT INTO contacts (email, brevo_sync_status)
    SELECT n || '@example.org', 'Queued' FROM generate_series(1, 100) AS n
"""
NO_TRIGGERS = "".join(f"DROP TRIGGER crm_sync_brevo_{case} ON contacts;" for case in TRIGGERS)
NOTIFY_EACH = """
CREATE FUNCTION notify_each() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('each', 'brevo');
    RETURN NEW;
END;
$$;
CREATE TRIGGER notify_each BEFORE UPDATE OF brevo_sync_status ON contacts FOR EACH ROW EXECUTE FUNCTION notify_each();
"""


CASES = {"no trigger": NO_TRIGGERS, "crm-sync": "", "NOTIFY in each": NO_TRIGGERS + NOTIFY_EACH}


async def flips_per_second(server: Postgres, rounds: int = ROUNDS) -> list[dict[str, float]]:
    """Commits a second by case, for each round."""
    connections = {}
    for case, change in CASES.items():
        url = server.create_database(_database(case))
        await ours.fill(url, CONTACTS)
        connections[case] = await asyncpg.connect(url)
        if change:
            await connections[case].execute(change)
        await connections[case].execute("VACUUM ANALYZE contacts", timeout=120)
    await connections["crm-sync"].execute(MORE_THAN_ITS_HANDS_HOLD)
    with ours.environment(DATABASE_URL=server.url(_database("crm-sync"))):
        async with running_worker(PAUSED) as worker:
            await worker.says("busy", 30)
            await connections["crm-sync"].execute("CHECKPOINT", timeout=120)
            results = [
                {case: await _pgbench(server, case, connection, number) for case, connection in connections.items()}
                for number in range(rounds)
            ]
    for case, connection in connections.items():
        await connection.close()
        server.drop_database(_database(case))
    return results


def _database(case: str) -> str:
    return f"application {case}".replace(" ", "_")


async def _pgbench(server: Postgres, case: str, connection: asyncpg.Connection, number: int) -> float:
    counted = "SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Queued'"
    before = await connection.fetchval(counted)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "flip.sql"
        await asyncio.to_thread(script.write_text, SCRIPT)
        variables = ["-D", "i=0", "-D", f"round={number}"]
        command = [server.binaries / "pgbench", "-n", "-M", "prepared", *variables, "-f", script]
        command += ["-c", str(CLIENTS), "-j", "2", "-T", str(SECONDS)]
        command += ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", _database(case)]
        run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"pgbench failed: {run.stderr[-500:]}")
    flipped = await connection.fetchval(counted) - before
    transactions = int(re.search(r"transactions actually processed: (\d+)", run.stdout)[1])  # type: ignore[index]
    # A contact flipped twice would cost less: it keeps its place in line.
    if abs(flipped - transactions) > CLIENTS:
        raise RuntimeError(f"pgbench ran {transactions} transactions, but {flipped} contacts were flipped: it came round")
    return float(re.search(r"tps = ([\d.]+)", run.stdout)[1])  # type: ignore[index]
